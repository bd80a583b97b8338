"""First half of the way from a framework to a person: it answers under watch, in the environment of its group.

``tests/integrations/GROUP/loop.py`` has a function for each row of the table in docs/integrations.md. Run as a program
it calls them all and writes the answers, as the framework itself gave them, to a file; tests/loop/test_integrations.py
runs it and takes what was captured from there to Label Studio and back.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import davy

Capture: TypeAlias = Callable[[str], list[Any]]
"""Lets a model answer under watch, under the name it is given; returns its answers, in order."""
CAPTURES: dict[str, Capture] = {}


def model_of(name: str) -> str:
    """Return the name of the model for a row of the table: ``XGBoost, `Booster` `` is ``xgboost-booster:1``."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ":1"


def captures(name: str) -> Callable[[Capture], Capture]:
    """Say which row of the table a function is for."""

    def register(function: Capture) -> Capture:
        CAPTURES[name] = function
        return function

    return register


def main() -> None:
    """Let everything that is registered answer; one that fails says so and holds up no other."""
    told: dict[str, Any] = {}
    for name, capture in CAPTURES.items():
        try:
            told[name] = {"answers": capture(model_of(name))}
        except Exception:  # noqa: BLE001 - the test of this row shows it
            told[name] = {"failed": traceback.format_exc()}
    flushed = davy.flush(60)
    stats = davy.stats()
    lost = {key: stats[key] for key in ("integration_failed", "not_watchable") if stats.get(key)}
    text = json.dumps({"flushed": flushed, "lost": lost, "rows": told}, default=_plain)
    Path(sys.argv[1]).write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value.item()
