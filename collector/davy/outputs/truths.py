"""One question that a model answers with yes or no, beside how sure it is."""

from __future__ import annotations

from typing import Final

from davy.outputs.fields import Fields
from davy.outputs.known import PROBS
from davy.outputs.labels import LABELS, VALUES
from davy.outputs.text import TEXTS
from davy.outputs.values import number, scalar

_CONFIDENCES: Final = (*PROBS, "confidence", "score", "prob")
_ABOUT_THE_CALL: Final = frozenset(
    {
        "cached",
        "from_cache",
        "cache_hit",
        "fallback",
        "truncated",
        "ok",
        "success",
        "finished",
        "done",
        "stream",
    }
)
"""Booleans that tell how the call went, not what was answered."""


def lone_truth(fields: Fields) -> bool | None:
    """Return the boolean that is the only one beside a probability, ``{"approved": True, "probability": 0.8}``.

    None where a field says by its name that it holds the answer.
    """
    if any(name in fields for name in (*LABELS, *VALUES)):
        return None
    truths = [
        found
        for name, value in fields.items()
        if name not in _ABOUT_THE_CALL and isinstance(found := scalar(value), bool)
    ]
    if len(truths) != 1:
        return None
    sure = number(fields.first(_CONFIDENCES))
    beside_text = not any(name in fields for name in PROBS) and any(name in fields for name in TEXTS)
    if len(fields) == 1 or (sure is not None and 0 <= sure <= 1 and not beside_text):
        return truths[0]
    return None
