"""Confidence that the model states beside its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from davy.event import Array, Column
from davy.fields.reading import array_of, numbers, rows_of
from davy.outputs import CONFIDENCES, LABELS, find
from davy_detectors.batch import Batch, Floats

_EACH: Final = ("scores", "confidences", "detection_scores", "conf")
_BOXES: Final = ("boxes", "bboxes", "pred_boxes", "detection_boxes", "xyxy")
_NO_ANSWERS: Final = frozenset({*CONFIDENCES, *_EACH, "class_names"})
_HALF: Final = 0.5
_OFTEN: Final = 0.05
_PROBABLE: Final = 0.99
_CLASSES: Final = 2
_NONE, _POSITIVE, _ALL, _COUNTED = "", "positive", "all", "counted"


class StatedConfidence:
    """One minus the confidence a model states beside its answer, where it gives no probabilities of all classes.

    That is the score of the best class of many, of an answer to a question, of the least certain of several entities.
    Of objects in a picture it is the least certain that counts, with a score of one half or more, as in
    `davy.outputs.Detection`; where none counts, the most certain of those that were let go: 0 for a model that saw
    nothing at all. Of two classes, a score that is often below one half is taken for the probability of one of them.

    Parameters
    ----------
    field
        The output that holds the confidence.
    how
        What it says: of the answer, of one of two classes, of several parts, of objects that count.

    References
    ----------
    Hendrycks and Gimpel, "A baseline for detecting misclassified and out-of-distribution examples", ICLR 2017; of
    objects: Brust, Käding and Denzler, "Active learning for deep object detection", VISAPP 2019 (maximum over objects).

    Examples
    --------
    >>> batch = Batch.from_columns("m:1", {"outputs.label": ["cat", "dog", "cow"], "outputs.score": [0.9, 0.4, 0.75]})
    >>> scorer = StatedConfidence.fit(batch)
    >>> scorer.score(batch).round(2).tolist()
    [0.1, 0.6, 0.25]
    """

    name: Final = "confidence"
    stream: Final = None

    def __init__(self, field: str, how: str) -> None:
        self._field = field
        self._how = how

    @classmethod
    def fit(cls, batch: Batch) -> Self | None:
        """Find the output that holds the confidence; None without one, or beside probabilities of all classes."""
        if batch.probs is not None and batch.probs.shape[1] > 1:
            return None
        outputs = {path[1]: column for path, column in batch.fields.items() if path[0] == "outputs"}
        if outputs.keys() <= _NO_ANSWERS:
            return None
        own = find(outputs, "confidence")
        if "." in own and not any(own.rpartition(".")[0] + f".{label}" in outputs for label in LABELS):
            own = ""  # of a part of the answer, which is not what it answers
        for name in (*CONFIDENCES, own):
            if name not in outputs or _Parts.of(outputs[name]).listed:
                continue
            if _probable(stated := numbers(outputs[name])):
                return cls(name, _POSITIVE if _of_two(stated, batch) else _NONE)
        for name in (*_EACH, *CONFIDENCES):  # of several records, one may be called as that of one is
            for field in (name, *(each for each in outputs if each.endswith(f".{name}"))):
                parts = _Parts.of(outputs[field]) if field in outputs else None
                if parts is not None and (name in _EACH or parts.listed) and _probable(parts.values):
                    beside = field.removesuffix(name)
                    return cls(field, _COUNTED if any(beside + box in outputs for box in _BOXES) else _ALL)
        return None

    def score(self, batch: Batch) -> Floats:
        """Score every inference, shape ``(n,)``, higher is less certain; NaN where nothing is stated."""
        column = batch.fields.get(("outputs", self._field))
        if column is None:
            return np.full(len(batch), np.nan)
        if self._how in {_ALL, _COUNTED}:
            parts = _Parts.of(column)
            return parts.least_certain() if self._how == _ALL else parts.least_that_counts()
        stated = numbers(column)
        sure = np.maximum(stated, 1.0 - stated) if self._how == _POSITIVE else stated
        with np.errstate(invalid="ignore"):
            scores: Floats = np.where(np.isfinite(sure), 1.0 - sure, np.nan)
        return scores

    def dump(self) -> Mapping[str, object]:
        """Return which output it is, and what that says."""
        return {"field": self._field, "how": self._how}

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Self:
        """Make a fitted scorer from what `dump` returned."""
        return cls(str(state["field"]), str(state["how"]))


class _Parts:
    """The scores of the parts of each answer, side by side; `listed` where answers are lists of any number."""

    def __init__(self, rows: Sequence[Floats | None], *, listed: bool = False) -> None:
        self.listed = listed
        self._given = np.fromiter((row is not None for row in rows), bool, len(rows))
        self._sizes = np.fromiter((0 if row is None else len(row) for row in rows), np.int64, len(rows))
        self.values: Floats = np.concatenate([*(row for row in rows if row is not None), np.empty(0)])

    @classmethod
    def of(cls, column: Column) -> _Parts:
        """Read a column of lists of any length."""
        found = [array_of(value) for value in rows_of(column)]
        flat = [None if row is None else row.reshape(-1).astype(np.float64) for row in found]
        return cls(flat, listed=any(row is not None and row.ndim and row.size != 1 for row in found))

    def least_certain(self) -> Floats:
        """Return one minus the smallest; 0 without any."""
        return self._masked(self._of(np.fmax, 1.0 - self.values, 0.0))

    def least_that_counts(self) -> Floats:
        """Return one minus the smallest from one half; where there is none, the largest; 0 without any."""
        counts = self.values >= _HALF
        least = self._of(np.fmax, np.where(counts, 1.0 - self.values, -1.0), -1.0)
        return self._masked(np.where(least >= 0.0, least, self._of(np.fmax, self.values, 0.0)))

    def _of(self, most: np.ufunc, values: Floats, without: float) -> Floats:
        found = np.full(len(self._sizes), without)
        filled = np.flatnonzero(self._sizes)
        if len(filled):
            found[filled] = most.reduceat(values, (np.cumsum(self._sizes) - self._sizes)[filled])
        return found

    def _masked(self, found: Floats) -> Floats:
        scores: Floats = np.where(self._given, found, np.nan)
        return scores


def _probable(stated: NDArray[np.float64]) -> bool:
    known = stated[np.isfinite(stated)]
    return bool(len(known)) and float(((known >= 0.0) & (known <= 1.0)).mean()) >= _PROBABLE


def _of_two(stated: Floats, batch: Batch) -> bool:
    """Return whether a score is that of one of two classes: the likelier of two has at least one half."""
    label = _answer(batch) if batch.label is None else batch.label
    if label is None or len({str(one) for one in label.tolist()}) > _CLASSES:
        return False
    return float((stated < _HALF).mean()) >= _OFTEN


def _answer(batch: Batch) -> Array | None:
    """Return the only output that is called a class, or is true or false; None without one, or several."""
    found = [
        column.values
        for path, column in batch.fields.items()
        if path[0] == "outputs" and (path[-1].rpartition(".")[2] in LABELS or column.values.dtype == bool)
    ]
    return found[0] if len(found) == 1 else None
