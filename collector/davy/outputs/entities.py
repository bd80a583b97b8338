"""Parts of a text, each of a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from davy.outputs.base import Answer, Unknown
from davy.outputs.fields import Fields
from davy.outputs.values import elements_of, number, scalar, text

_NAMES: Final = "entities"
_WORDS: Final = ("words", "tokens")
_SPANS: Final = "spans"
_SCORES: Final = "scores"
_PAIR: Final = 2


@dataclass(frozen=True, slots=True)
class Entities(Answer):
    """Entities found; `value` is a list of ``{"label": name, "text": words, "start": 0, "end": 4, "score": 0.9}``.

    All but `label` are left out where the model gives none. The list is empty when nothing was found.
    """

    task: ClassVar[str] = "entities"
    form: ClassVar[str] = "entities"

    @classmethod
    def of(cls, fields: Fields) -> Self | Unknown | None:
        """Read lists of one length: ``entities``, with ``words``, ``spans`` and ``scores`` beside them."""
        names = elements_of(fields.get(_NAMES))
        if names is None or not any(name in fields for name in (*_WORDS, _SPANS, _SCORES)):
            return None
        labels = [scalar(one) for one in names]
        if any(one is None for one in labels):
            return Unknown.because("outputs.entities is no list of names")
        words, scores = (elements_of(fields.first(wanted)) or [] for wanted in (_WORDS, (_SCORES,)))
        spans = [elements_of(one) or [] for one in elements_of(fields.get(_SPANS)) or []]
        found = []
        for at, label in enumerate(labels):
            one: dict[str, Any] = {"label": text(label)}
            if len(words) == len(labels):
                one["text"] = text(scalar(words[at]))
            if len(spans) == len(labels) and len(spans[at]) == _PAIR:
                one["start"], one["end"] = (number(place) for place in spans[at])
            if len(scores) == len(labels) and (score := number(scores[at])) is not None:
                one["score"] = score
            found.append(one)
        sure = [one["score"] for one in found if 0 <= one.get("score", -1.0) <= 1]
        return cls(found, fields.class_names(), round(float(min(sure)), 6) if sure else None)

    def shown(self) -> str:
        """Return the entities as they stand in the text."""
        return ", ".join(f"{one.get('text', '')} ({one['label']})".strip() for one in self.value) or "nothing"

    @classmethod
    def same(cls, one: Any, other: Any) -> bool | None:
        """Return whether two lists have the same entities, by place where both know it, else by their words."""
        first, second = (_keys(value) for value in (one, other))
        return None if first is None or second is None else first == second


def _keys(value: Any) -> list[tuple[str, ...]] | None:
    if not isinstance(value, (list, tuple)) or not all(
        isinstance(one, dict) and "label" in one for one in value
    ):
        return None
    placed = all("start" in one and "end" in one for one in value)
    named = ("start", "end", "label") if placed else ("text", "label")
    return sorted(tuple(str(one.get(name, "")) for name in named) for one in value)
