"""Tests the models whose lease this process holds, over the tallies of all partitions and processes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final

from davy.codec import load_any
from davy.consume import Failures, Leases, Outbox, stored_position
from davy.event import INFERENCES
from davy.store import Batch as Changes
from davy_detectors import _tally
from davy_detectors._counting import Counting
from davy_detectors._display import Display
from davy_detectors._examination import Examination
from davy_detectors._tally import MODELS, WATERMARKS, Tally
from davy_detectors._tools import SECOND, Tools
from davy_detectors._unread import Unread

if TYPE_CHECKING:
    from davy.log import Partition
    from davy.store import Lease

_EVERY_SECONDS: Final = 0.2
_ASK_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 2.0
"""A fraction of a lease: whoever tests longer loses what it found, and so does whoever takes over."""


@dataclass(slots=True)
class _Tenure:
    """A model while this process holds its lease."""

    lease: Lease
    outbox: Outbox
    display: Display
    examination: Examination | None = None
    taken_in: bytes = b""
    """What `MODELS` said when tallies were last read: as long as it says the same, there are no new ones."""


class Reducer:
    """Takes turns over all models: of each that it holds or can get, tests what all partitions have counted.

    Parameters
    ----------
    tools
        What detection shares in this process.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._runtime = tools.runtime
        self._failures = Failures(tools.runtime, Counting.name)
        self._leases = Leases(tools.runtime.store)
        self._producer = tools.runtime.log.producer()
        self._tenures: dict[str, _Tenure] = {}
        self._asked: dict[str, int] = {}
        self._next = 0.0
        self._unread = Unread(tools.runtime.meter)

    def step(self) -> None:
        """Take a turn, five times a second at most, and in half of the time at most: counting goes on between."""
        begun = time.monotonic()
        if begun >= self._next:
            self.turn(_PATIENCE_SECONDS)
            ended = time.monotonic()
            self._next = max(begun + _EVERY_SECONDS, 2 * ended - begun)

    def turn(self, patience: float = inf) -> None:
        """Test every model as far as it is counted; a model that fails is tried again and stops no other.

        Of a model that takes longer than `patience` seconds the rest is left to the next turn.
        """
        closed = self._closed()
        for model, newest in self._runtime.store.items(MODELS):
            try:
                tenure = self._hold(model)
                if tenure is not None:
                    self._turn(model, tenure, newest, closed, patience)
            except Exception as error:  # noqa: BLE001 - counted and logged; the next turn starts from what is stored
                self._failures.count(error, f"testing {model} goes on from what is stored")
                self._let_go(model)

    def stand_aside(self) -> None:
        """Leave every model to whoever waits for it; the next turn takes up what is stored."""
        for model in list(self._tenures):
            self._let_go(model)
        self._leases.close()

    def close(self) -> None:
        """Leave every model to whoever waits for it; what is shown stays, for the last scrape."""
        self._tenures.clear()
        self._producer.close()
        self._leases.close()

    def _closed(self) -> int:
        """Give the start of the last epoch of which every partition has counted all that was appended in time.

        A partition that is read to its end is counted up to now, any other up to the append of the last record
        handled. It is now at least as late as the newest append, however far this machine's clock is behind the log's.
        What is appended up to `lateness_seconds` after its event time is in time.
        """
        store, settings = self._runtime.store, self._runtime.settings.detect
        now = self._runtime.clock()
        marks = {int(partition): int(load_any(data)) for partition, data in store.items(WATERMARKS)}
        through = max([now, *marks.values()])
        unread = self._positions()  # asked after the time: what is appended meanwhile is after it
        self._unread.show(unread, now)
        for (_, partition), offset in unread.items():
            if offset is not None:
                through = min(through, marks.get(partition, 0))
        through -= int(settings.lateness_seconds * SECOND)
        length = int(settings.epoch_seconds * SECOND)
        return through - through % length - length

    def _positions(self) -> dict[Partition, int | None]:
        """Give where every partition is read next, None where all is read."""
        log, store = self._runtime.log, self._runtime.store
        starts = log.start(INFERENCES)
        found: dict[Partition, int | None] = {}
        for place, end in log.end(INFERENCES).items():
            offset = max(starts.get(place, 0), stored_position(store, Counting.name, place) or 0)
            found[place] = offset if end > offset else None
        return found

    def _hold(self, model: str) -> _Tenure | None:
        """Give the model if its lease can be had; others' leases are asked for once a second."""
        tenure, now = self._tenures.get(model), self._runtime.clock()
        if tenure is None and 0 <= now - self._asked.get(model, -SECOND) < _ASK_SECONDS * SECOND:
            return None
        self._asked[model] = now
        lease = self._leases.hold(f"model/{model}")
        if tenure is not None and tenure.lease == lease:
            return tenure
        self._let_go(model)
        if lease is None:
            return None
        outbox = Outbox(self._runtime.store, self._producer, f"model/{model}", self._failures)
        outbox.publish_again(lease)
        self._tenures[model] = _Tenure(lease, outbox, Display(self._runtime.meter, model))
        return self._tenures[model]

    def _let_go(self, model: str) -> None:
        tenure = self._tenures.pop(model, None)
        if tenure is not None:
            tenure.display.close()

    def _turn(self, model: str, tenure: _Tenure, newest: bytes, closed: int, patience: float) -> None:
        begins = tenure.examination is None
        if tenure.examination is None:
            tenure.examination = Examination(model, self._tools)
        examination, changes = tenure.examination, Changes()
        tallies: list[tuple[str, Tally]] = []
        if newest != tenure.taken_in:
            stored = self._runtime.store.items(_tally.collection(model))
            tallies = [(key, Tally.from_bytes(data)) for key, data in stored]
        messages = examination.turn(closed, tallies, changes, patience)
        if changes.operations:
            self._leases.confirm(tenure.lease)
            tenure.outbox.finish(changes, messages, tenure.lease)
        tenure.taken_in = newest
        if changes.operations or begins:
            tenure.display.totals(examination.totals, examination.open_causes)
            tenure.display.evidence(*examination.readings())
        silence = self._runtime.clock() - examination.totals.heard_at
        tenure.display.silent(silence > self._runtime.settings.detect.blind_seconds * SECOND)
