"""Tests the models whose lease this process holds, over the partial aggregates of all partitions and processes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final

from davy.consume import Failures, Leases, Outbox, stored_offset
from davy.event import INFERENCES
from davy.retired import is_retired
from davy.store import Batch as Changes
from davy_detectors.models.known import state_of
from davy_detectors.models.roster import UNLISTED
from davy_detectors.stream import partial_aggregate
from davy_detectors.stream.clocks import Clocks, read_marks
from davy_detectors.stream.context import SECOND, DetectContext
from davy_detectors.stream.label_counter import LabelCounter
from davy_detectors.stream.model_metrics import ModelMetrics
from davy_detectors.stream.model_run import ModelRun
from davy_detectors.stream.partial_aggregate import MODELS, PartialAggregate
from davy_detectors.stream.partition_counter import PartitionCounter

if TYPE_CHECKING:
    from davy.log import Partition
    from davy.store import Lease

_EVERY_SECONDS: Final = 0.2
_ASK_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 2.0
"""A fraction of a lease: whoever tests longer loses what it found, and so does whoever takes over."""


@dataclass(slots=True)
class _LeasedModel:
    """A model while this process holds its lease."""

    lease: Lease
    outbox: Outbox
    display: ModelMetrics
    run: ModelRun | None = None
    taken_in: bytes = b""
    """What `MODELS` said when partial aggregates were last read: as long as it says the same, there are no new ones."""
    heard: tuple[int, float] = (0, 0.0)
    """When the model was heard last, and since when, by a clock nobody sets, that is so."""
    silent: int = 0
    """For how long the model is silent, nanoseconds."""

    def listen(self, heard_at: int, now: int, through: int) -> None:
        """Take in when the model was heard last, also by a clock that was ahead.

        It is silent up to `through`, where reading has got: what nobody has read yet may be its own.
        """
        if heard_at != self.heard[0]:
            self.heard = heard_at, time.monotonic()
        by_own_clock = int((time.monotonic() - self.heard[1]) * SECOND)
        self.silent = by_own_clock if heard_at > now else max(0, through - heard_at)


@dataclass(frozen=True, slots=True)
class _Present:
    """What a turn takes for the present: the clock of appends, up to when all is counted, the last complete window."""

    clocks: Clocks
    through: int
    closed: int


class Coordinator:
    """Takes turns over all models: of each that it holds or can get, tests what all partitions have counted.

    Parameters
    ----------
    context
        What detection shares in this process.
    """

    def __init__(self, context: DetectContext) -> None:
        self._context = context
        self._runtime = context.runtime
        self._failures = Failures(context.runtime, PartitionCounter.name)
        self._leases = Leases(context.runtime.store)
        self._producer = context.runtime.log.producer()
        self._leased: dict[str, _LeasedModel] = {}
        self._asked: dict[str, int] = {}
        self._next = 0.0

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
        present = self._present()
        retired = self._context.roster.retirements
        for model in retired.take():
            self._let_go(model)
            self._asked.pop(model, None)
            self._context.forget(model)
        for model, newest in self._runtime.store.items(MODELS):
            try:
                leased = self._hold(model)
                if leased is not None and model in retired.current():
                    self._retire(model, leased, present.clocks)
                elif leased is not None:
                    self._turn(model, leased, newest, present, patience)
                    self._tell_state(leased)
            except Exception as error:  # noqa: BLE001 - counted and logged; the next turn starts from what is stored
                self._failures.count(error, f"testing {model} goes on from what is stored")
                self._let_go(model)

    def stand_aside(self) -> None:
        """Leave every model to whoever waits for it; the next turn takes up what is stored."""
        for model in list(self._leased):
            self._let_go(model)
        self._leases.close()

    def close(self) -> None:
        """Leave every model to whoever waits for it; what is shown stays, for the last scrape."""
        self._leased.clear()
        self._producer.close()
        self._leases.close()

    def _clocks(self, topic: str = INFERENCES) -> Clocks:
        return Clocks(read_marks(self._runtime.store, topic), self._runtime.clock())

    def _present(self) -> _Present:
        """Return up to when everything is counted, and the start of the last window that is complete by then.

        A partition that is read to its end is counted up to now, any other up to the append of the last record
        handled. What is appended up to `lateness_seconds` after its event time is in time.
        """
        settings, clocks = self._runtime.settings.detect, self._clocks()
        through = clocks.now
        roles = [(PartitionCounter.name, INFERENCES)]
        if self._context.plugins.labelled:
            roles += [(LabelCounter.name, topic) for topic in LabelCounter.topics]
        for role, topic in roles:
            unread = self._positions(
                role, topic
            )  # asked after the time: what is appended meanwhile is after it
            counted = clocks if topic == INFERENCES else self._clocks(topic)
            for (_, partition), offset in unread.items():
                if offset is not None:
                    through = min(through, counted.through(partition))
        length = int(settings.window_seconds * SECOND)
        complete = through - int(settings.lateness_seconds * SECOND)
        return _Present(clocks, through, complete - complete % length - length)

    def _positions(self, role: str, topic: str) -> dict[Partition, int | None]:
        """Return where a role reads every partition of a topic next, None where all is read."""
        log, store = self._runtime.log, self._runtime.store
        starts, name = log.start(topic), log.identity(topic)
        found: dict[Partition, int | None] = {}
        for place, end in log.end(topic).items():
            offset = max(starts.get(place, 0), stored_offset(store, role, place, name))
            found[place] = offset if end > offset else None
        return found

    def _hold(self, model: str) -> _LeasedModel | None:
        """Return the model if its lease can be had; others' leases are asked for once a second."""
        leased, now = self._leased.get(model), self._runtime.clock()
        if leased is None and 0 <= now - self._asked.get(model, -SECOND) < _ASK_SECONDS * SECOND:
            return None
        self._asked[model] = now
        lease = self._leases.hold(f"model/{model}")
        if leased is not None and leased.lease == lease:
            return leased
        self._let_go(model)
        if lease is None:
            return None
        outbox = Outbox(self._runtime.store, self._producer, f"model/{model}", self._failures)
        outbox.publish_again(lease)
        self._leased[model] = _LeasedModel(lease, outbox, ModelMetrics(self._runtime.meter, model))
        return self._leased[model]

    def _let_go(self, model: str) -> None:
        leased = self._leased.pop(model, None)
        if leased is not None:
            leased.display.close()

    def _retire(self, model: str, leased: _LeasedModel, clocks: Clocks) -> None:
        """Take in what was counted of a model that is retired, end what is open, and let go of it until it is kept.

        Who is retired is looked up once a second, so the store is asked again: before, for a model that was kept since
        then stays, and after, for keeping it meanwhile listed it in vain.
        """
        store = self._runtime.store
        if not is_retired(model, store):
            return
        changes, stored = Changes(), store.items(partial_aggregate.collection(model))
        partials = [(key, PartialAggregate.from_bytes(data)) for key, data in stored]
        messages = ModelRun(model, self._context).retire(partials, clocks, changes)
        self._leases.confirm(leased.lease)
        leased.outbox.finish(changes, messages, leased.lease)
        if not is_retired(model, store):
            store.apply(Changes().add(MODELS, model, b""))
        self._let_go(model)
        self._asked.pop(model, None)
        self._leases.release(f"model/{model}")
        self._context.forget(model)

    def _turn(
        self, model: str, leased: _LeasedModel, newest: bytes, present: _Present, patience: float
    ) -> None:
        begins = leased.run is None
        if leased.run is None:
            leased.run = ModelRun(model, self._context)
        run, changes, clocks = leased.run, Changes(), present.clocks
        partials: list[tuple[str, PartialAggregate]] = []
        if newest != leased.taken_in:
            stored = self._runtime.store.items(partial_aggregate.collection(model))
            partials = [(key, PartialAggregate.from_bytes(data)) for key, data in stored]
            clocks = self._clocks()  # which tells at least what these do
        messages = run.turn(present.closed, partials, clocks, changes, patience)
        heard_at, now = run.totals.heard_at, self._runtime.clock()
        leased.listen(heard_at, now, present.through)
        if heard_at > now and leased.silent > self._runtime.settings.detect.blind_seconds * SECOND:
            run.hush(now - leased.silent, changes)
        if changes.operations:
            self._leases.confirm(leased.lease)
            leased.outbox.finish(changes, messages, leased.lease)
        leased.taken_in = newest
        if changes.operations or begins:
            leased.display.totals(run.totals, run.open_causes, run.scorers)
            leased.display.tested(run.tested_until)
            leased.display.evidence(*run.readings())
            leased.display.labelled(run.joined)

    def _tell_state(self, leased: _LeasedModel) -> None:
        """Show the state of a model; `UNLISTED` is many, in states of their own."""
        run = leased.run
        if run is None or run.model == UNLISTED:
            return
        seconds, blind_seconds = leased.silent / SECOND, self._runtime.settings.detect.blind_seconds
        silent = seconds if run.totals.heard_at else None
        leased.display.silent(silent is None or silent > blind_seconds)
        leased.display.suspended(run.suspended)
        leased.display.state(
            state_of(
                drifting=bool(run.open_causes),
                silent=silent,
                watched=run.watched,
                blind_seconds=blind_seconds,
            )
        )
