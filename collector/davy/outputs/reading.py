"""From the outputs of one inference to the model's answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from davy.outputs.base import Answer, Unknown
from davy.outputs.classification import Classification
from davy.outputs.detection import Detection
from davy.outputs.entities import Entities
from davy.outputs.fields import CLASS_NAMES, Fields
from davy.outputs.multilabel import MultiLabel
from davy.outputs.probabilities import weights
from davy.outputs.ranking import Ranking
from davy.outputs.regression import Regression
from davy.outputs.segmentation import Segmentation
from davy.outputs.text import Text
from davy.outputs.values import kind

TASKS: Final[tuple[type[Answer], ...]] = (
    Segmentation,
    Detection,
    Entities,
    MultiLabel,
    Classification,
    Text,
    Ranking,
    Regression,
)
"""Every task type, in the order they are tried: what says most about itself comes first."""
_DEEP: Final = 4


def read(outputs: Mapping[str, Any], *, task: str = "") -> Answer:
    """Return what a model answered.

    Whatever the outputs are, this raises nothing: what cannot be read is `Unknown`, with the reason.

    Parameters
    ----------
    outputs
        The outputs of one inference, as captured.
    task
        The task type of the model where it is known. Probabilities of labels that can hold together sum to one by
        chance now and then; with ``"multi-label"`` they are read as that all the same.

    Examples
    --------
    >>> read({"probs": [0.1, 0.9], "class_names": ["dog", "cat"]})
    Classification(value='cat', class_names=('dog', 'cat'), confidence=0.9, note='')
    >>> read({"probs": [0.9, 0.8, 0.1], "class_names": ["indoor", "people", "night"]}).value
    ['indoor', 'people']
    >>> read({"label": "unsure", "probs": [0.5, 0.5], "class_names": ["a", "b"]}).shown()
    'unsure'
    >>> read({"embedding": [0.1, 0.2]}).task
    'unknown'
    """
    try:
        fields = Fields(outputs)
        if task == MultiLabel.task and Detection.of(fields) is None:
            if isinstance(listed := MultiLabel.of(fields), MultiLabel):
                return listed
            found = weights(fields)
            if found is not None and found.probable and len(found.values) > 1:
                return MultiLabel.above(found, fields.class_names())
        return _read(fields, _DEEP) or _none_in(fields)
    except Exception as error:  # noqa: BLE001 - outputs come from anywhere: what breaks every rule is not understood
        return Unknown.because(f"cannot be read: {type(error).__name__}: {error}")


def _read(fields: Fields, depth: int) -> Answer | None:
    doubt: Unknown | None = None
    for task in TASKS:
        found = task.of(fields)
        if isinstance(found, Unknown):
            if (
                task is Detection
            ):  # damaged boxes are boxes: their labels and scores are no answer of another task
                return found
            doubt = doubt or found
        elif found is not None:
            return found
    if depth and doubt is None:
        for nested in fields.nested():
            inner = _read(nested, depth - 1)
            if isinstance(inner, Unknown):
                doubt = doubt or inner
            elif inner is not None:
                return inner
    return doubt


def _none_in(fields: Fields) -> Unknown:
    sent, gone = sorted(set(fields) - set(CLASS_NAMES)), ", ".join(sorted(fields.absent))[:200]
    beside = f"; {gone} is missing (None, NaN, or what cannot travel)" if gone else ""
    if not sent:
        named = f" but {', '.join(sorted(fields))}" if fields else ""
        return Unknown.because(f"there are no outputs{named}{beside}")
    if len(sent) == 1:
        told = f"outputs.{sent[0]} is {kind(fields[sent[0]])}, which is no answer that is known"
    else:
        told = f"none of outputs {', '.join(sent)[:200]} is an answer"
    return Unknown.because(f"{told}{beside}: send probs, label, value, text or boxes")
