"""How samples of an open incident are recognised among new inferences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from davy.codec import dump, load
from davy.event import Evidence
from davy.runtime import Runtime
from davy.store import Batch as Changes
from davy.store import Collection, plain
from davy_detectors.base import Alarm, Floats
from davy_detectors.flagging.arms import Arm, uniform
from davy_detectors.history.record_slice import RecordSlice

INCIDENT: Final = "incident"
_LOOK_EVERY_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SampleMatcher:
    """An alarm and the level its evidence set: what recognises the samples of one incident.

    The fields of the alarm are kept flat, so that the whole is an event like any other to the codec.
    """

    incident: str
    cause: str
    monitor: str
    event: int
    onset_event: int
    statistic: float
    threshold: float
    features: Sequence[Evidence]
    level: float
    probability: float
    examined: int

    @property
    def alarm(self) -> Alarm:
        """The alarm, with events as the monitor counts them."""
        return Alarm(self.cause, self.event, self.onset_event, self.statistic, self.threshold, self.features)

    def arm(self, records: RecordSlice, model: str, scores: Floats) -> Arm:
        """Choose the samples of the incident among inferences, by their sample scores for its alarm."""
        drawn = uniform(records.ids, model, INCIDENT) < self.probability
        chosen = (scores >= self.level) & drawn
        probability = np.full(records.count, self.probability)
        return Arm(f"{INCIDENT}:{self.incident}", chosen, probability, scores, self.incident)


class _Matchers(NamedTuple):
    """The sample matchers of a model, and the version of its reference that they were found with."""

    reference: str
    matchers: Sequence[SampleMatcher]


def _read(found: dict[str, Any]) -> _Matchers:
    return _Matchers(found["reference"], [load(SampleMatcher, one) for one in found["matchers"]])


MATCHERS: Final[Collection[_Matchers]] = plain(
    "matchers",
    _Matchers,
    writer="detect",
    write=lambda kept: {"reference": kept.reference, "matchers": [dump(one) for one in kept.matchers]},
    read=_read,
)
"""What those who count look for, by model."""


def end(model: str, changes: Changes) -> None:
    """Recognise samples of no incident of `model` any more."""
    MATCHERS.delete(changes, model)


class SampleMatchers:
    """The sample matchers of every model asked for, looked up at most once a second by the runtime's clock."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._looked: int | None = None
        self._found: dict[str, _Matchers] = {}

    def current(self, model: str, reference: str) -> Sequence[SampleMatcher]:
        """Return the matchers of the open incidents of `model` that were found with this version of its reference."""
        now = self._runtime.clock()
        if self._looked is None or not 0 <= now - self._looked < _LOOK_EVERY_NS:
            self._found = dict(MATCHERS.items(self._runtime.store))
            self._looked = now
        version, matchers = self._found.get(model, ("", []))
        return matchers if version == reference else []


def announce(model: str, reference: str, matchers: Sequence[SampleMatcher], changes: Changes) -> None:
    """Publish to those who count what to look for; nothing ends it."""
    if matchers:
        MATCHERS.put(changes, model, _Matchers(reference, matchers))
    else:
        MATCHERS.delete(changes, model)
