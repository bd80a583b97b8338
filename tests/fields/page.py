"""Writes docs/fields.md from the list of kinds: ``make generate``, or ``PYTHONPATH=tests python -m fields.page``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from davy.fields.losses import REMEDIES

from .catalogue import KINDS
from .kinds import ANSWER, TEXT, Kind
from .losing import EXAMPLES
from .sources import SOURCES, holds

PAGE: Final = Path(__file__).parents[2] / "docs" / "fields.md"
_BEGIN, _END = "<!-- {}: written by `make generate` -->", "<!-- end -->"
_NAMES: Final = {
    tuple(sorted(TEXT)): "the streams of a text",
    tuple(sorted(ANSWER)): "the streams of an answer",
}


def filled(page: str) -> str:
    """Return the page with its tables written anew."""
    for name, lines in {"values": _values(), "matrix": _matrix(), "reasons": _reasons()}.items():
        begin = _BEGIN.format(name)
        before, found, rest = page.partition(begin)
        assert found, f"the page has no {begin}"
        page = before + begin + "\n\n" + "\n".join(lines) + "\n\n" + _END + rest.partition(_END)[2]
    return page


def _values() -> Iterable[str]:
    for group in dict.fromkeys(kind.group for kind in KINDS):
        yield f"### {group}"
        yield ""
        yield "| what an app holds | what it becomes | the log keeps | streams |"
        yield "|---|---|---|---|"
        for kind in KINDS:
            if kind.group == group:
                yield f"| {kind.name} | {kind.becomes} | {_kept(kind)} | {_watched(kind)} |"
        yield ""


def _matrix() -> Iterable[str]:
    yield "| kind | " + " | ".join(SOURCES) + " |"
    yield "|---|" + "---|" * len(SOURCES)
    for kind in KINDS:
        marks = " | ".join("✓" if holds(kind, source) else "–" for source in SOURCES)  # noqa: RUF001
        yield f"| {kind.group}: {kind.name} | {marks} |"


def _reasons() -> Iterable[str]:
    yield "| reason | for example | what to do |"
    yield "|---|---|---|"
    for reason, remedy in REMEDIES.items():
        yield f"| `{reason}` | {EXAMPLES[reason]} | {remedy} |"


def _kept(kind: Kind) -> str:
    return f"`{kind.kept}`"


def _watched(kind: Kind) -> str:
    section, _, name = kind.field.partition(".")
    field = section if name in {"probs", "logits"} else kind.field
    known = _NAMES.get(tuple(sorted(kind.watched)))
    if known:
        return f"`{field}` and {known}" if "" in kind.watched else f"{known}"
    return ", ".join(f"`{field}{part}`" for part in kind.watched)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
