"""What a model answered, and among which classes, read from the outputs of one inference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from davy.errors import LabelError

_NAMES: Final = ("class_names", "classes", "names")


@dataclass(frozen=True, slots=True)
class Answer:
    """The class a model chose.

    Attributes
    ----------
    name
        Its name; without names in ``outputs.class_names`` the number of the class as text.
    confidence
        The probability the model gave it, in [0, 1].
    classes
        The names of all classes.
    """

    name: str
    confidence: float
    classes: tuple[str, ...]


def classification(outputs: Mapping[str, Any]) -> Answer:
    """Read the answer of a classifier: ``probs`` or ``logits``, and ``label`` and ``class_names`` where given.

    Raises
    ------
    LabelError
        These are not the outputs of a classifier, or names and numbers do not fit together.

    Examples
    --------
    >>> classification({"probs": np.array([0.1, 0.9])})
    Answer(name='1', confidence=0.9, classes=('0', '1'))
    """
    probs = _probabilities(outputs)
    names = next((outputs[name] for name in _NAMES if outputs.get(name) is not None), None)
    classes = tuple(map(str, range(len(probs)) if names is None else names))
    if len(classes) != len(probs):
        raise LabelError(
            "outputs.class_names", len(classes), f"give one name for each of {len(probs)} outputs"
        )
    index = _index(outputs.get("label"), probs, classes)
    return Answer(classes[index], round(float(probs[index]), 6), classes)


def _probabilities(outputs: Mapping[str, Any]) -> NDArray[np.float64]:
    found = outputs.get("probs")
    logits = outputs.get("logits")
    if found is None and logits is not None:
        shifted = np.exp(np.asarray(logits, dtype=np.float64) - np.max(logits))
        found = shifted / shifted.sum()
    if found is None:
        raise LabelError(
            "outputs", sorted(outputs), "only classifications can be labelled: send probs or logits"
        )
    probs = np.asarray(found, dtype=np.float64)
    if probs.ndim != 1 or len(probs) < 2 or not np.isfinite(probs).all():
        raise LabelError("outputs.probs", probs.shape, "send one finite vector of at least two classes")
    return np.clip(probs, 0.0, 1.0)


def _index(label: Any, probs: NDArray[np.float64], classes: tuple[str, ...]) -> int:
    if label is None:
        return int(probs.argmax())
    if str(label) in classes:
        return classes.index(str(label))
    if not isinstance(label, str) and 0 <= int(label) < len(classes):
        return int(label)
    raise LabelError(
        "outputs.label", label, "name the classes, in the order of probs, in outputs.class_names"
    )
