"""``python -m davy_dashboards`` writes the generated files again from the catalogues."""

from __future__ import annotations

from pathlib import Path

from davy.console import say
from davy_dashboards import generated

if __name__ == "__main__":
    root = Path(__file__).parents[2]
    for name, text in generated().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        say(f"wrote {path}")
