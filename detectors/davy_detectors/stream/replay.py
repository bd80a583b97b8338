"""What would have been raised: detection run again over what the log still holds, with any settings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from davy.event import INFERENCES
from davy.meter import Meter
from davy.models import RETIRED
from davy.store import Batch
from davy.store.memory import MemoryStore
from davy_detectors.history.log_view import LogView
from davy_detectors.incidents.incident import INCIDENTS, Incident
from davy_detectors.models.known import DETECTED
from davy_detectors.reference.active import REFERENCES
from davy_detectors.reference.active import put as put_reference
from davy_detectors.stream.context import SECOND
from davy_detectors.stream.role import DetectTarget
from davy_detectors.stream.totals import Totals

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy.runtime import Runtime

_TURN_SECONDS: Final = 10
"""Of the log's time between two tests: what was counted meanwhile is held in memory."""


@dataclass(frozen=True, slots=True)
class Flagged:
    """What was read of a model, and how many samples would have been flagged, by reason."""

    model: str
    inferences: int
    flags: dict[str, int]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay found.

    Attributes
    ----------
    incidents
        In the order they were raised.
    models
        What was read.
    seconds, log_seconds
        How long it took, and the time between the first append and the last.
    """

    incidents: Sequence[Incident]
    models: Sequence[Flagged]
    seconds: float
    log_seconds: float


def replay(
    runtime: Runtime,
    *,
    since: int | None = None,
    until: int | None = None,
    settings: DetectSettings | None = None,
) -> Replayed:
    """Detect over a slice of the log with the references in force; nothing is changed or published.

    Parameters
    ----------
    runtime
        Whose log and references.
    since, until
        Append times ``since <= at < until``, nanoseconds since the epoch; None for all the log holds.
    settings
        How to detect; those of `runtime` when None.
    """
    begun = time.perf_counter()
    view = LogView(runtime.log, INFERENCES, since=since, until=until)
    first, detect = view.newest, settings or runtime.settings.detect
    store = detected(replace(runtime, settings=replace(runtime.settings, detect=detect)), view)
    incidents = INCIDENTS.values(store)
    totals = {model: Totals.load(state) for model, state in DETECTED.items(store)}
    return Replayed(
        incidents=sorted(incidents, key=lambda incident: incident.raised_at),
        models=[_flagged(model, found) for model, found in totals.items() if found.events],
        seconds=time.perf_counter() - begun,
        log_seconds=(view.newest - first) / SECOND,
    )


def detected(runtime: Runtime, view: LogView) -> MemoryStore:
    """Detect over all that `window` shows, with the references in force; return the state that this leads to."""
    store = MemoryStore()
    for model, data in REFERENCES.items(runtime.store):
        put_reference(store, model, data)
    for model, found in RETIRED.items(runtime.store):
        store.apply(RETIRED.put(Batch(), model, found))
    detect, settled = runtime.settings.detect, 0

    def clock() -> int:
        return view.newest + settled

    target = DetectTarget(replace(runtime, log=view, store=store, meter=Meter(), clock=clock))
    tested = view.newest
    while target.counting.step():
        if abs(view.newest - tested) >= _TURN_SECONDS * SECOND:  # a clock that was ahead was set back
            target.testing.turn()
            tested = view.newest
    settled = int(2 * (detect.lateness_seconds + detect.window_seconds) * SECOND)
    target.testing.turn()
    target.close()
    return store


def _flagged(model: str, totals: Totals) -> Flagged:
    return Flagged(model, totals.events, dict(totals.flags))
