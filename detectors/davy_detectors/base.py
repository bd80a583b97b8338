"""The two contracts of a detector: `Scorer` gives every inference a number, `Monitor` watches a stream.

Both are vectorised over inferences; neither loops over rows. A reference fits and holds scorers, so their contract
stands below it, in `davy_detectors.scorer`; monitors are made from a fitted `Reference`. Third parties add their own by
the entry point groups ``davy.scorers`` and ``davy.monitors`` and prove them with `davy_detectors.checks`. What else a
plug-in may be given is a `davy_detectors.context.PluginContext`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from davy.event import Evidence
from davy_detectors.batch import Floats
from davy_detectors.reference.reference import Reference, ScoredBatch
from davy_detectors.scorer import Attempt, Scorer, attempted

__all__ = ["Aggregate", "Alarm", "Attempt", "Floats", "Monitor", "Reading", "Scorer", "attempted"]


class Aggregate(Protocol):
    """What a monitor keeps of some inferences of a window: a value that merges with others of its window.

    `merge` is associative and commutative to the bit, and equal aggregates give equal bytes;
    `davy_detectors.aggregates` has ready-made ones. The engine keeps the bytes and knows nothing else of it.
    """

    def merge(self, other: Self) -> Self:
        """Return what of all the inferences of both would have been made; changes neither."""

    def to_bytes(self) -> bytes:
        """Return it as bytes."""

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Make it again from what `to_bytes` gave."""


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

    Aggregating looks at inferences, in any process and in any order. Testing takes the merged aggregates of windows in
    order, and keeps state. A window may have any number of inferences; its bounds do not depend on what these look
    like. State is a versioned value of bounded size. NaN, infinities, empty and constant columns are ordinary inputs.

    `name` appears in alarms, metrics and settings, `aggregate_type` reads the aggregates again from their bytes,
    `reference` is what it was made with. It is made of a reference and settings; one with a parameter `context` is
    given a `PluginContext` too.
    """

    name: str
    aggregate_type: type[Aggregate]
    reference: Reference

    def aggregate(self, scored: ScoredBatch, windows: NDArray[np.int64], total: int) -> Sequence[Aggregate]:
        """Return the aggregates of `total` windows; inference `i` belongs to window ``windows[i] < total``.

        Changes no state.
        """

    def test(self, aggregates: Sequence[Any], sizes: Sequence[int]) -> list[Alarm]:
        """Take in windows in order, of `sizes` inferences each, none empty; return the alarms raised, in order.

        At most one alarm a window, and its event is the last inference of that window.
        """

    def reading(self) -> Reading:
        """What to show now."""

    def sample_scores(self, scored: ScoredBatch, alarm: Alarm) -> Floats:
        """How strongly each inference speaks for `alarm`, shape ``(n,)``: a log-likelihood ratio where there is one."""

    def to_bytes(self) -> bytes:
        """Return the state."""

    def restore(self, data: bytes) -> None:
        """Go on from what `to_bytes` gave; raises DecodeError on another version or reference."""
