"""How far the inputs of an inference lie from those of the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from davy_detectors import Batch
from davy_detectors.base import Floats


class FarInput:
    """The largest distance of a numeric input from its median, in median absolute deviations.

    Parameters
    ----------
    medians, deviations
        Of each numeric input, by name.

    References
    ----------
    Iglewicz and Hoaglin, "How to detect and handle outliers", ASQC 1993 (the modified z-score).

    Examples
    --------
    >>> reference = Batch.from_columns("m:1", {"inputs.x": [1.0, 2.0, 3.0, 4.0, 5.0]})
    >>> FarInput.fit(reference).score(Batch.from_columns("m:1", {"inputs.x": [3.0, 5.0, -1.0]})).tolist()
    [0.0, 2.0, 4.0]
    """

    name = "far-input"
    stream = None  # it ranks samples; the inputs themselves are watched for drift already

    def __init__(self, medians: Mapping[str, float], deviations: Mapping[str, float]) -> None:
        self._medians = dict(medians)
        self._deviations = dict(deviations)

    @classmethod
    def fit(cls, batch: Batch) -> Self | None:
        """Learn medians and deviations; None when there is no numeric input that varies."""
        medians, deviations = {}, {}
        for name, values in _numbers(batch).items():
            finite = values[np.isfinite(values)]
            if len(finite) == 0:
                continue
            median = float(np.median(finite))
            deviation = float(np.median(np.abs(finite - median)))
            if deviation > 0:
                medians[name], deviations[name] = median, deviation
        return cls(medians, deviations) if medians else None

    def score(self, batch: Batch) -> Floats:
        """Score every inference, shape ``(n,)``; NaN where it has none of the inputs as a finite number."""
        found: Floats = np.full(len(batch), np.nan)
        for name, values in _numbers(batch).items():
            if name in self._medians:
                distance = np.abs(values - self._medians[name]) / self._deviations[name]
                distance[~np.isfinite(distance)] = np.nan
                found = np.fmax(found, distance)
        return found

    def dump(self) -> Mapping[str, object]:
        """Return what was learned."""
        return {"medians": self._medians, "deviations": self._deviations}

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Self:
        """Make a scorer of what `dump` gave."""
        return cls(state["medians"], state["deviations"])


def _numbers(batch: Batch) -> dict[str, Floats]:
    """Return the inputs that are one number each, NaN where they are missing."""
    found = {}
    for path, column in batch.fields.items():
        if path[0] == "inputs" and column.values.ndim == 1 and column.values.dtype.kind in "iuf":
            values = column.values.astype(np.float64)
            values[~column.present] = np.nan
            found[path[1]] = values
    return found
