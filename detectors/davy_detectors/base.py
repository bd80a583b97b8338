"""The two contracts of a detector: `Scorer` gives every inference a number, `Monitor` watches a stream.

Both are vectorised over inferences; neither loops over rows. Both are made from a fitted
`Reference`. Third parties add their own by the entry point groups ``davy.scorers`` and ``davy.monitors`` and
prove them with `davy_detectors.checks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from davy.event import Evidence
from davy_detectors.batch import Batch, Floats

__all__ = ["Alarm", "Counts", "Floats", "Monitor", "Reading", "Scorer"]

Counts: TypeAlias = NDArray[np.int64]


class Scorer(Protocol):
    """Gives every inference a number: higher is more suspicious.

    `name` appears in flags, metrics and settings. `fit` learns from reference inferences and returns a new scorer;
    `score` gives an array of shape ``(n,)``, NaN where an inference has not what the scorer needs.
    `dump` and `load` carry the fitted state inside a reference; a scorer that learns nothing dumps an empty mapping.
    `stream` names the feature as which the score is watched for drift; None when it only ranks samples.
    """

    name: str
    stream: str | None

    @classmethod
    def fit(cls, batch: Batch) -> Self | None:
        """Learn from reference inferences; None when the batch has not what this scorer needs."""

    def score(self, batch: Batch) -> Floats:
        """Score every inference of `batch`, shape ``(n,)``."""

    def dump(self) -> Mapping[str, object]:
        """Return the fitted state: scalars, text, arrays, plain containers."""

    @classmethod
    def load(cls, state: Mapping[str, object]) -> Self:
        """Make a fitted scorer from what `dump` gave."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A monitor's verdict that the stream is no longer like the reference.

    `event` is the running number, from 0 for the first that was tested, of the inference that completed the evidence;
    `onset_event` that of the first inference after the estimated change. `features` are the guilty ones, most
    evidence first.
    """

    cause: str
    event: int
    onset_event: int
    statistic: float
    threshold: float
    features: Sequence[Evidence]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a monitor shows between alarms: evidence over threshold, all together and by feature."""

    ratio: float
    features: Mapping[str, float]


class Monitor(Protocol):
    """Watches the inferences of one model against a reference, in two halves that may be far apart.

    Counting looks at inferences, in any process and in any order, and gives counts that add up. Testing takes the sums
    in order, a step at a time, and keeps state. A step may have any number of inferences; its bounds must not depend
    on what these look like. State is a versioned value of bounded size. NaN, infinities, empty and constant columns
    are ordinary inputs.
    """

    name: str

    def count(self, batch: Batch, steps: NDArray[np.int64], total: int) -> Counts:
        """Count inferences by step, shape ``(total, ...)``: inference `i` belongs to step ``steps[i] < total``.

        Counts of two batches add up to the counts of both together. Changes no state.
        """

    def test(self, counts: Counts, sizes: Sequence[int]) -> list[Alarm]:
        """Take in steps of `sizes` inferences each, shape ``(steps, ...)``; return the alarms raised, in order.

        At most one alarm a step, and its event is the last inference of that step.
        """

    def reading(self) -> Reading:
        """What to show now."""

    def sample_scores(self, batch: Batch, alarm: Alarm) -> Floats:
        """How strongly each inference speaks for `alarm`, shape ``(n,)``: a log-likelihood ratio where there is one."""

    def to_bytes(self) -> bytes:
        """Return the state."""

    def restore(self, data: bytes) -> None:
        """Go on from what `to_bytes` gave; raises DecodeError on another version or reference."""
