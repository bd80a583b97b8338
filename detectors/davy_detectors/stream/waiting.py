"""Waits until what the log held at a moment is tested: from then on no incident of it is still to come."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from davy.consume import stored_offset
from davy.event import INFERENCES
from davy.models import MODELS
from davy_detectors.models.known import tested_through
from davy_detectors.stream import windows
from davy_detectors.stream.partial_aggregate import PARTIALS
from davy_detectors.stream.partition_counter import PartitionCounter

if TYPE_CHECKING:
    from davy.log import Log
    from davy.store import Store

_POLL_SECONDS: Final = 0.1


def wait_until_tested(log: Log, store: Store, model: str = "", *, seconds: float) -> bool:
    """Wait until every inference that is in the log now is tested; whether that came to pass within `seconds`.

    Parameters
    ----------
    log, store
        Of a deployment whose detectors run in other processes.
    model
        Only this one's inferences; those of every model when it is empty.
    """
    until = time.monotonic() + seconds
    ends = log.end(INFERENCES)

    def counted() -> bool:
        starts, name = log.start(INFERENCES), log.identity(INFERENCES)  # what retention removed nobody counts
        return all(
            max(starts.get(place, 0), stored_offset(store, PartitionCounter.name, place, name)) >= end
            for place, end in ends.items()
        )

    if not _wait(counted, until):
        return False
    models = [model] if model else list(MODELS.keys(store))
    return all(_wait_for(store, name, until) for name in models)


def _wait_for(store: Store, model: str, until: float) -> bool:
    """Wait until the partial aggregates that lie there are taken in and the windows they fell into are tested."""
    waiting = set(PARTIALS.of(model).keys(store))

    def taken_in() -> bool:
        return waiting.isdisjoint(PARTIALS.of(model).keys(store))

    if not _wait(taken_in, until):
        return False
    newest = windows.newest(store, model)
    return _wait(lambda: tested_through(store, model) >= newest, until)


def _wait(done: Callable[[], bool], until: float) -> bool:
    while not done():
        if time.monotonic() >= until:
            return False
        time.sleep(_POLL_SECONDS)
    return True
