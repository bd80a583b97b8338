"""How every role reads the log: poll, decode, compute, one store transaction, publish, commit.

The transaction holds the role's state, its position and an outbox with what it is about to publish. A role that dies
at any point starts again from the stored position and publishes the outbox once more: effects in the store happen
exactly once, messages at least once and with the same ids.

A failure has one of two owners. Log and store are nobody's record: the loop waits and goes on from the stored
position. Everything else that `Role.handle` raises belongs to a record: the records of the poll are handled one by
one, each in a transaction of its own, and the one that fails three times in the same way goes to the dead letters.

A role runs in one process at a time: `Loop.run` holds a lease, and a transaction without it is refused. A second
process waits and takes over when the first leaves, or ten seconds after its death. While `davy forget` works a role
stands aside, and begins again from the stored state.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, Generic, Protocol, TypeVar

from davy import metrics
from davy.codec import dump_any, load_any
from davy.dead_letters import attempts as attempts_before
from davy.dead_letters import explain
from davy.errors import DecodeError, LeaseLost, LogError, StoreError
from davy.event import dead_letters
from davy.forgetting import asked_aside
from davy.forgetting.records import OUTBOX
from davy.log import Consumer, Message, Partition, Position, Record
from davy.runtime import Runtime
from davy.store import Batch, Lease

T = TypeVar("T")
_POSITIONS: Final = "positions"
_ATTEMPTS: Final = 3
_PAUSE_SECONDS: Final = 0.5
_LEASE_SECONDS: Final = 10.0
_REASONS: Final = 1000
_HAS_VALUE: Final = attrgetter("value")
_logger = logging.getLogger("davy.consume")


class Role(Protocol[T]):
    """What a role does with records; everything else is `Loop`'s."""

    name: str
    topics: Sequence[str]

    def restore(self) -> None:
        """Take up the stored state; called before the first record and whenever state in memory may not be trusted."""

    def decode(self, record: Record) -> T:
        """Read one record; raises DecodeError on bytes that cannot be read."""

    def handle(self, items: Sequence[tuple[Record, T]], batch: Batch) -> list[Message]:
        """Take in records, add the changes of state to `batch`, give what to publish."""

    def idle(self, batch: Batch) -> list[Message]:
        """Do what is due by time; called between polls, also when records keep coming."""


@dataclass(slots=True)
class _Work:
    """What one transaction will do."""

    batch: Batch = field(default_factory=Batch)
    messages: list[Message] = field(default_factory=list)
    dead: list[tuple[str, str]] = field(default_factory=list)


class _HandlingFailed(Exception):
    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Loop(Generic[T]):
    """Runs one role until the runtime stops.

    Parameters
    ----------
    runtime
        Log, store, meter and stop signal.
    role
        What to do with the records.
    max_records
        Records handled in one transaction.
    """

    def __init__(self, runtime: Runtime, role: Role[T], *, max_records: int = 64) -> None:
        self._runtime = runtime
        self._role = role
        self._max_records = max_records
        self._reasons: set[str] = set()
        self._lost = self._stale = False
        self._owner = secrets.token_hex(8)
        self._lease: Lease | None = None
        self._renewed = 0.0
        self._producer = runtime.log.producer()
        self._consumer = self._join()

    def run(self) -> None:
        """Work until the runtime's stop signal; a failed transaction is counted, logged and tried again."""
        while not self._runtime.stop.is_set():
            self._runtime.pulse.beat(self._role.name)
            try:
                if asked_aside(self._runtime.store, self._runtime.clock()):
                    self._release()
                    self._runtime.stop.wait(_PAUSE_SECONDS)
                elif self._hold_lease():
                    self.step(timeout=0.2)
                else:
                    self._runtime.stop.wait(_PAUSE_SECONDS)
            except Exception as error:
                level = logging.ERROR if self._count(error) else logging.DEBUG  # once per reason
                _logger.log(level, "%s: goes on from the stored position", self._role.name, exc_info=True)
                self._runtime.stop.wait(_PAUSE_SECONDS)

    def step(self, *, timeout: float = 0.0) -> int:
        """Handle the records of one poll; give their number.

        Raises
        ------
        DavyError
            Log or store failed, or the role failed at what is due by time. The next step after a failure goes on
            from the stored position.
        """
        try:
            return self._step(timeout)
        except BaseException:
            self._lost = True
            raise

    def drain(self) -> int:
        """Handle everything the log holds now; give the number of records. For tests, replays and shutdown."""
        total = 0
        while handled := self.step():
            total += handled
        return total

    def close(self) -> None:
        """Leave the log, and the role to whoever waits for it."""
        self._consumer.close()
        self._producer.close()
        self._release()

    def _step(self, timeout: float) -> int:
        if self._lost:
            self._consumer.close()
            self._consumer = self._join()
            self._lost = False
        if self._stale:
            self._take_up()
        records = self._consumer.poll(max_records=self._max_records, timeout=timeout)
        if self._stale:  # the poll handed over partitions that another worker wrote the state of
            self._take_up()
        if records:
            begun = time.perf_counter()
            self._handle(records)
            seconds = time.perf_counter() - begun
            self._runtime.meter.observe(metrics.BATCH_SECONDS, seconds, role=self._role.name)
        due = _Work()
        due.messages += self._role.idle(due.batch)
        self._finish([], due)
        self._runtime.meter.set(metrics.LAG, self._consumer.lag(), role=self._role.name)
        return len(records)

    def _join(self) -> Consumer:
        self._stale = True
        return self._runtime.log.consumer(self._role.topics, self._role.name, assigned=self._assigned)

    def _assigned(self, partitions: Sequence[Partition]) -> Position:
        self._stale = True
        found = {}
        for topic, partition in partitions:
            stored = self._runtime.store.get(_POSITIONS, self._place(topic, partition))
            if stored is not None:
                found[topic, partition] = load_any(stored)
        return found

    def _take_up(self) -> None:
        self._role.restore()
        stored = self._runtime.store.get(OUTBOX, self._role.name)
        messages = [Message(*fields) for fields in load_any(stored)] if stored else []
        if messages:
            self._producer.append(messages)
            self._runtime.store.apply(Batch().delete(OUTBOX, self._role.name))
        self._stale = False

    def _handle(self, records: Sequence[Record]) -> None:
        if len(records) > 1:
            try:
                work = self._compute(records)
            except _HandlingFailed as failure:
                self._start_over(failure.error)
            else:
                self._finish(records, work)
                return
        for record in records:
            self._finish([record], self._attempt(record))

    def _attempt(self, record: Record) -> _Work:
        failures: Counter[str] = Counter()
        while True:
            try:
                return self._compute([record])
            except _HandlingFailed as failure:
                self._start_over(failure.error)
                kind = type(failure.error).__name__
                failures[kind] += 1
                if failures[kind] == _ATTEMPTS:
                    work = _Work()
                    self._set_aside(record, failure.error, work, attempts=failures.total())
                    return work

    def _compute(self, records: Sequence[Record]) -> _Work:
        work, items = _Work(), []
        try:
            for record in filter(_HAS_VALUE, records):  # one without was forgotten
                try:
                    items.append((record, self._role.decode(record)))
                except DecodeError as error:
                    self._set_aside(record, error, work, attempts=1)
            if items:
                work.messages += self._role.handle(items, work.batch)
        except (LogError, StoreError):
            raise
        except Exception as error:
            raise _HandlingFailed(error) from error
        return work

    def _start_over(self, error: Exception) -> None:
        if self._count(error):
            _logger.error("%s: a record failed and is tried again", self._role.name, exc_info=error)
        self._role.restore()

    def _finish(self, records: Sequence[Record], work: _Work) -> None:
        position = {(record.topic, record.partition): record.offset + 1 for record in records}
        for (topic, partition), offset in position.items():
            work.batch.put(_POSITIONS, self._place(topic, partition), dump_any(offset))
        if work.batch.operations or work.messages:
            packed = [[m.topic, m.key, m.value, dict(m.headers)] for m in work.messages]
            work.batch.put(OUTBOX, self._role.name, dump_any(packed))
            self._apply(work.batch)
        for topic, kind in work.dead:
            self._runtime.meter.add(metrics.DEAD_LETTERS, topic=topic, error=kind)
        if work.messages:
            self._producer.append(work.messages)
        if position:
            self._consumer.commit(position)

    def _apply(self, batch: Batch) -> None:
        held = self._lease
        if held is not None and (not self._hold_lease() or self._lease != held):
            raise LeaseLost("lease", held.name, "another process took the role over; nothing was written")
        self._runtime.store.apply(batch, lease=held)

    def _hold_lease(self) -> bool:
        now = time.monotonic()
        if self._lease is not None and now - self._renewed < _LEASE_SECONDS / 3:
            return True
        held = self._lease
        name = f"role/{self._role.name}"
        self._lease = self._runtime.store.acquire(name, self._owner, seconds=_LEASE_SECONDS)
        self._renewed = now
        if self._lease != held:
            self._lost = True  # somebody else may have been at it meanwhile
        return self._lease is not None

    def _release(self) -> None:
        if self._lease is not None:
            self._runtime.store.release(self._lease)
            self._lease = None

    def _place(self, topic: str, partition: int) -> str:
        return f"{self._role.name}/{topic}/{partition}"

    def _count(self, error: Exception) -> bool:
        kind = type(error).__name__
        self._runtime.meter.add(metrics.ROLE_ERRORS, role=self._role.name, error=kind)
        return self._is_news(f"{kind}: {error}")

    def _is_news(self, reason: str) -> bool:
        if reason in self._reasons:
            return False
        if len(self._reasons) >= _REASONS:
            self._reasons.clear()
        self._reasons.add(reason)
        return True

    def _set_aside(self, record: Record, error: Exception, work: _Work, *, attempts: int) -> None:
        kind = type(error).__name__
        if self._is_news(f"{record.topic}: {kind}"):
            place = f"{record.topic}/{record.partition}/{record.offset}"
            _logger.warning("%s: %s and others like it are set aside: %s", self._role.name, place, error)
        total = attempts_before(record.headers) + attempts
        headers = {
            **record.headers,
            **explain(error, topic=record.topic, component=self._role.name, attempts=total),
            "davy.partition": str(record.partition),
            "davy.offset": str(record.offset),
        }
        work.messages.append(Message(dead_letters(record.topic), record.key, record.value, headers))
        work.dead.append((record.topic, kind))
