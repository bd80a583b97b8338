"""What outputs are called that say how sure a model is: the one table that answers, forms and detectors go by."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, TypeAlias

Meaning: TypeAlias = Literal["probs", "logits", "confidence"]

PROBS: Final = (
    "probs",
    "probabilities",
    "proba",
    "probability",
    "class_probs",
    "class_probabilities",
    "predict_proba",
    "softmax",
    "sigmoid",
)
LOGITS: Final = ("logits",)
CONFIDENCES: Final = ("score", "confidence", "prob", "probability", "label_score", "top_score")
_NAMES: Final[dict[Meaning, tuple[str, ...]]] = {
    "probs": PROBS,
    "logits": LOGITS,
    "confidence": CONFIDENCES,
}
_ENDS: Final[dict[Meaning, tuple[str, ...]]] = {
    "probs": ("_probs", "_probabilities", "_proba", "_softmax"),
    "logits": ("_logits",),
    "confidence": ("_confidence", "_probability", "_prob"),
}
"""What names of a model's own end with: ``cls_logits``, ``fraud_probability``."""


def find(names: Collection[str], meaning: Meaning) -> str:
    """Return which output has a meaning: the first of the table, else the only one whose last name says so; or none.

    Examples
    --------
    >>> find(["label", "fraud_probability"], "confidence"), find(["result.probs", "result.label"], "probs")
    ('fraud_probability', 'result.probs')
    >>> find(["intent_logits", "slot_logits"], "logits")
    ''
    """
    exact = next((name for name in _NAMES[meaning] if name in names), "")
    if exact:
        return exact
    found = [name for name in names if _says(name.rpartition(".")[2], meaning)]
    return found[0] if len(found) == 1 else ""


def _says(name: str, meaning: Meaning) -> bool:
    return name in _NAMES[meaning] or name.endswith(_ENDS[meaning])
