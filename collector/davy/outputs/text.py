"""Free text, as language models and transcribers answer."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from davy.outputs.base import Answer, Unknown
from davy.outputs.fields import CLASS_NAMES, Fields, rows_of
from davy.outputs.known import LOGITS, PROBS
from davy.outputs.labels import LABELS, VALUES, is_name
from davy.outputs.probabilities import LOG_PROBS, SCORES
from davy.outputs.values import elements_of, items, scalar

TEXTS: Final = (
    "text",
    "answer",
    "content",
    "output_text",
    "generated_text",
    "completion",
    "response",
    "reply",
    "message",
    "output",
    "summary",
    "summary_text",
    "translation",
    "translation_text",
    "transcript",
    "transcription",
    "caption",
    "generation",
    "result",
    "delta",
)
_LISTS: Final = ("choices", "generations", "candidates", "outputs", "parts", "messages")
_NUMBERS: Final = frozenset({*PROBS, *LOGITS, *LOG_PROBS, *SCORES, *CLASS_NAMES})
_SHOWN: Final = 2_000
_DEEP: Final = 5


@dataclass(frozen=True, slots=True)
class Text(Answer):
    """A text."""

    task: ClassVar[str] = "text"
    form: ClassVar[str] = "text"

    @classmethod
    def of(cls, fields: Fields) -> Self | Unknown | None:
        """Read a text by the name of its field, the message of a chat, or the first of several choices."""
        found = next(_texts(fields, _DEEP), None)
        if found is None:  # what stands for a class elsewhere, and is too long for a name
            others = (scalar(fields.get(name)) for name in (*LABELS, *VALUES))
            found = next((one for one in others if isinstance(one, str) and not is_name(one)), None)
        if found is None and len(fields) == 1:
            (name,) = fields
            alone = scalar(fields[name])
            found = alone if isinstance(alone, str) and name not in _NUMBERS else None
        return None if found is None else cls(found)

    def shown(self) -> str:
        """Return the text, cut where it is very long."""
        whole = str(self.value)
        return whole if len(whole) <= _SHOWN else f"{whole[:_SHOWN]}…"

    @classmethod
    def same(cls, one: Any, other: Any) -> bool | None:
        """Return whether two texts are the same but for white space."""
        first, second = scalar(one), scalar(other)
        if first is None or second is None:
            return None
        return _folded(str(first)) == _folded(str(second))


def _folded(value: str) -> str:
    return " ".join(unicodedata.normalize("NFC", value).split())


def _texts(fields: Fields, depth: int) -> Iterator[str]:
    if depth == 0:
        return
    for name in TEXTS:
        value = fields.get(name)
        if isinstance(found := scalar(value), str):
            yield found
        elif isinstance(value, Mapping):
            yield from _texts(Fields(value), depth - 1)
        elif (parts := _parts(value, depth)) is not None:
            yield parts
        elif (
            elements_of(value) is not None
            and (several := items(value))
            and all(isinstance(s, str) for s in several)
        ):
            yield str(several[0])
    for name in _LISTS:
        for row in (rows_of(fields.get(name)) or [])[:1]:
            yield from _texts(row, depth - 1)


def _parts(value: Any, depth: int) -> str | None:
    """The content of a message in parts: those that are text, joined."""
    found = [next(_texts(row, depth - 1), None) for row in rows_of(value) or ()]
    joined = [one for one in found if one is not None]
    return "".join(joined) if joined else None
