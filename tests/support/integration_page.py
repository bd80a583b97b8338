"""Writes the table of docs/integrations.md from ``integrations/rows.json``: ``make generate``.

The tests of each group make the file (``make rows``) and fail when a way in has become something else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).parents[1] / "integrations" / "rows.json"
PAGE: Final = Path(__file__).parents[2] / "docs" / "integrations.md"
_BEGIN, _END = "<!-- ways in: written by `make generate` -->", "<!-- end -->"
_OF_ALL: Final = {
    "a text": {"length", "letters", "digits", "topic[…]"},
    "a picture": {"brightness", "contrast", "sharpness"},
}
"""What a field is, by some of the streams that it is watched by; docs/fields.md has all of them."""


def filled(page: str) -> str:
    """Return the page with its table written anew."""
    before, found, rest = page.partition(_BEGIN)
    assert found, f"the page has no {_BEGIN}"
    return before + _BEGIN + "\n\n" + "\n".join(_table()) + "\n\n" + _END + rest.partition(_END)[2]


def _table() -> Iterable[str]:
    yield "| framework | call | fields and their kinds | bytes | watched | scorers | CPU |"
    yield "|---|---|---|---|---|---|---|"
    for row in json.loads(FILE.read_text()):
        cost = "in its worker" if row["micros"] is None else f"{row['micros']} µs"
        scorers = ", ".join(f"`{name}`" for name in row["scorers"]) or "none"
        cells = (
            row["framework"],
            row["call"],
            _fields(row["fields"]),
            row["bytes"],
            _watched(row["watched"]),
        )
        yield "| " + " | ".join(map(str, (*cells, scorers, cost))) + " |"


def _fields(fields: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}` {kind}" for name, kind in fields.items())


def _watched(streams: Iterable[str]) -> str:
    parts: dict[str, list[str]] = {}
    for name in streams:
        stem, part = _split(name)
        parts.setdefault(stem, []).append(part)
    return ", ".join(_spelt(stem, found) for stem, found in parts.items())


def _split(name: str) -> tuple[str, str]:
    """Return a field and what is watched of it; probabilities have their streams beside them."""
    section, _, rest = name.partition(".")
    field, _, part = rest.partition(".")
    if rest.endswith("[…]") and "." not in rest:
        return f"{section}.{rest[:-3]}", "[…]"
    return (name, "") if section == "embedding" else (f"{section}.{field}", part)


def _spelt(stem: str, parts: list[str]) -> str:
    whole = next((name for name, some in _OF_ALL.items() if some <= set(parts)), None)
    if whole is not None:
        return f"`{stem}` as {whole}"
    own = [
        f"`{stem}{part if part.startswith('[') else '.' + part if part else ''}`" for part in sorted(parts)
    ]
    return ", ".join(own)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
