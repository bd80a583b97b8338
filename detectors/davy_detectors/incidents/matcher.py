"""How samples of an open incident are recognised among new inferences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from davy.codec import dump, dump_any, load, load_any
from davy.event import Evidence
from davy.runtime import Runtime
from davy.store import Batch as Changes
from davy_detectors.base import Alarm

INCIDENT: Final = "incident"
COLLECTION: Final = "matchers"
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


def end(model: str, changes: Changes) -> None:
    """Recognise samples of no incident of `model` any more."""
    changes.delete(COLLECTION, model)


class SampleMatchers:
    """The sample matchers of every model asked for, looked up at most once a second by the runtime's clock."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._looked: int | None = None
        self._found: dict[str, tuple[str, list[SampleMatcher]]] = {}

    def current(self, model: str, reference: str) -> list[SampleMatcher]:
        """Return the matchers of the open incidents of `model` that were found with this version of its reference."""
        now = self._runtime.clock()
        if self._looked is None or not 0 <= now - self._looked < _LOOK_EVERY_NS:
            stored = self._runtime.store.items(COLLECTION)
            self._found = {name: _read(data) for name, data in stored}
            self._looked = now
        version, matchers = self._found.get(model, ("", []))
        return matchers if version == reference else []


def _read(stored: bytes) -> tuple[str, list[SampleMatcher]]:
    found: dict[str, Any] = load_any(stored)
    return found["reference"], [load(SampleMatcher, one) for one in found["matchers"]]


def announce(model: str, reference: str, matchers: Sequence[SampleMatcher], changes: Changes) -> None:
    """Publish to those who count what to look for; nothing ends it."""
    if matchers:
        kept = {"reference": reference, "matchers": [dump(matcher) for matcher in matchers]}
        changes.put(COLLECTION, model, dump_any(kept))
    else:
        changes.delete(COLLECTION, model)
