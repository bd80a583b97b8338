"""The contracts of a detector: `Scorer` gives every inference a number, `Monitor` and `LabelledMonitor` watch a stream.

Both are vectorised over inferences; neither loops over rows. Both are made from a fitted
`Reference`. Third parties add their own by the entry point groups ``davy.scorers`` and ``davy.monitors`` and
prove them with `davy_detectors.checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from davy.event import Evidence
from davy_detectors.batch import Batch, Floats

if TYPE_CHECKING:
    from davy_detectors.labelled.batch import LabelledBatch
    from davy_detectors.reference import Reference
    from davy_detectors.reference.scored import ScoredBatch

__all__ = [
    "Aggregate",
    "Alarm",
    "Attempt",
    "Floats",
    "LabelledMonitor",
    "Monitor",
    "Reading",
    "Scorer",
    "attempted",
    "watches",
]

T = TypeVar("T")
Watched: TypeAlias = Literal["inferences", "labelled"]
"""What a monitor sees: inferences as they come, or pairs of an inference and what became known about it."""


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


class Attempt(Protocol):
    """Calls a plug-in, known by its name; gives None where it failed and that is taken care of."""

    def __call__(self, name: str, work: Callable[[], T], /) -> T | None:
        """Return what `work` gives."""


def attempted(name: str, work: Callable[[], T], /) -> T | None:  # noqa: ARG001 - the protocol's
    """Call a plug-in and let it raise."""
    return work()


class Scorer(Protocol):
    """Scores every inference with a number: higher is more suspicious.

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

    Aggregating looks at inferences, in any process and in any order. Testing takes the merged aggregates of windows in
    order, and keeps state. A window may have any number of inferences; its bounds do not depend on what these look
    like. State is a versioned value of bounded size. NaN, infinities, empty and constant columns are ordinary inputs.

    `name` appears in alarms, metrics and settings, `aggregate_type` reads the aggregates again from their bytes,
    `reference` is what it was made with. What watches labelled inferences is a `LabelledMonitor`.
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


class LabelledMonitor(Protocol):
    """Watches the labelled inferences of one model: a `Monitor` to which `aggregate` gives pairs with their truth.

    `watches` stands on the class, or on whatever makes the monitor, too: by it Davy knows, before there is a model,
    that feedback and labels are to be joined. A pair counts in the window in which it became known, once; the events of
    `test` and of alarms are pairs.
    """

    name: str
    watches: Literal["labelled"]
    aggregate_type: type[Aggregate]
    reference: Reference

    def aggregate(
        self, labelled: LabelledBatch, windows: NDArray[np.int64], total: int
    ) -> Sequence[Aggregate]:
        """Return the aggregates of `total` windows; pair `i` belongs to window ``windows[i] < total``.

        Changes no state.
        """

    def test(self, aggregates: Sequence[Any], sizes: Sequence[int]) -> list[Alarm]:
        """Take in windows in order, of `sizes` pairs each, none empty; return the alarms raised, in order."""

    def reading(self) -> Reading:
        """What to show now."""

    def sample_scores(self, scored: ScoredBatch, alarm: Alarm) -> Floats:
        """How strongly each inference, whose truth is not known, speaks for `alarm`; NaN where nothing can be said."""

    def to_bytes(self) -> bytes:
        """Return the state."""

    def restore(self, data: bytes) -> None:
        """Go on from what `to_bytes` gave; raises DecodeError on another version or reference."""


def watches(monitor: object) -> Watched:
    """Return what a monitor, or what makes it, watches: inferences where it does not say."""
    found: Watched = getattr(monitor, "watches", "inferences")
    return found
