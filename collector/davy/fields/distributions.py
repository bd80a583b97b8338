"""Probabilities that an answer holds by the names of their classes: ``{"probs": {"cat": 0.9, "dog": 0.1}}``.

They become one vector, as of any other classifier, and the names become the class names of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from davy.event import Array

PROBS: Final = "probs"
_FIELDS: Final = ("probs", "probabilities", "proba", "class_probs", "class_probabilities", "scores")
_SLACK: Final = 0.01
"""How far the sum may be from one: what rounding to two digits leaves."""


class Distributions:
    """Joins the probabilities of one model, decided by its first answer; it changes its mind at most once.

    Once an answer has other classes, or numbers that are no distribution, those of the model stay fields of their own.

    Examples
    --------
    >>> found = Distributions()
    >>> found.join({"probs.dog": 0.1, "probs.cat": 0.9}), found.names
    ({'probs': array([0.9, 0.1])}, ('cat', 'dog'))
    """

    __slots__ = ("_field", "names")

    def __init__(self) -> None:
        self._field: str | None = None
        self.names: tuple[str, ...] = ()

    def join(self, fields: dict[str, Any], said: Sequence[str] | None = None) -> dict[str, Any]:
        """Return fields with dotted names, or columns of a batch, the probabilities among them as ``probs``.

        They are in the order of the class names that the app has `said`, else in that of the alphabet, for other
        processes may meet them in another one.
        """
        if self._field is None:
            self._decide(fields, said)
        if not self._field:
            return fields
        parts = _parts(fields, self._field)
        vector = _joined([parts.get(name) for name in self.names])
        if parts.keys() != set(self.names) or vector is None:
            if parts:
                self._field = ""
            return fields
        gone = {f"{self._field}.{name}" for name in parts}
        return {name: value for name, value in fields.items() if name not in gone} | {PROBS: vector}

    def _decide(self, fields: Mapping[str, Any], said: Sequence[str] | None) -> None:
        for field in _FIELDS:
            parts = _parts(fields, field)
            if parts:
                names = tuple(sorted(parts) if said is None else said)
                vector = _joined([*parts.values()]) if {*names} == parts.keys() else None
                decided = (
                    len(parts) > 1 and PROBS not in fields and vector is not None and _sums_to_one(vector)
                )
                self._field, self.names = (field, names) if decided else ("", ())
                return


def _parts(fields: Mapping[str, Any], field: str) -> dict[str, Any]:
    start = f"{field}."
    return {name[len(start) :]: value for name, value in fields.items() if name.startswith(start)}


def _joined(values: list[Any]) -> Array | None:
    """Return one number a class, or one column, as an array whose last axis is the classes; None for anything else."""
    for value in values:
        if not isinstance(value, (float, int, np.number)) and not (
            type(value) is np.ndarray and value.ndim == 1 and value.dtype.kind in "fiu"
        ):
            return None
    return np.stack(values, axis=-1).astype(np.float64)


def _sums_to_one(array: Array) -> bool:
    inside = array.size and (array >= 0).all() and (array <= 1 + _SLACK).all()
    return bool(inside and (np.abs(array.sum(axis=-1) - 1) < _SLACK).all())
