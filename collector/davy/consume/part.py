"""A role at work on its partitions: transactions, attempts and dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, Generic, Protocol, TypeVar

from davy import metrics
from davy.consume.failures import Failures
from davy.consume.leases import Leases
from davy.consume.outbox import Outbox
from davy.consume.positions import Positions
from davy.errors import DecodeError, LogError, StoreError
from davy.log import Message, Position, Record
from davy.runtime import Runtime
from davy.store import Batch, Lease

T = TypeVar("T")
_ATTEMPTS: Final = 3
_HAS_VALUE: Final = attrgetter("value")


class Role(Protocol[T]):
    """What a role does with records; everything else is `Loop`'s."""

    name: str
    topics: Sequence[str]

    def restore(self) -> None:
        """Take up the stored state; called before the first record and whenever state in memory may not be trusted."""

    def decode(self, record: Record) -> T:
        """Read one record; raises DecodeError on bytes that cannot be read."""

    def handle(self, items: Sequence[tuple[Record, T]], batch: Batch) -> list[Message]:
        """Take in records, add the changes of state to `batch`, return what to publish."""

    def idle(self, batch: Batch) -> list[Message]:
        """Do what is due by time; called between polls, also when records keep coming."""


@dataclass(slots=True)
class _Work:
    """What one transaction will do."""

    batch: Batch = field(default_factory=Batch)
    messages: list[Message] = field(default_factory=list)


class _HandlingFailed(Exception):
    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Part(Generic[T]):
    """A role with the partitions it handles under one lease, and the outbox of their transactions.

    Parameters
    ----------
    runtime
        Log, store and meter.
    role
        What to do with the records.
    outbox, leases, lease
        How its transactions are made.
    failures
        Where failures are counted.
    positions
        Where the role is.
    commit
        Called with the position after a transaction.
    """

    def __init__(  # noqa: PLR0913 - what the loop shares with its parts
        self,
        runtime: Runtime,
        role: Role[T],
        *,
        outbox: Outbox,
        leases: Leases,
        lease: Lease,
        failures: Failures,
        positions: Positions,
        commit: Callable[[Position], None],
    ) -> None:
        self._runtime = runtime
        self._role = role
        self._outbox = outbox
        self._leases = leases
        self._lease = lease
        self._failures = failures
        self._positions = positions
        self._commit = commit

    def take_up(self) -> None:
        """Restore the state and publish what whoever had it before may have left."""
        self._role.restore()
        self._outbox.publish_again(self._lease)

    def handle(self, records: Sequence[Record]) -> None:
        """Handle records in one transaction or, when one of them fails, each in its own."""
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

    def idle(self) -> None:
        """Do what is due by time, and keep the lease."""
        self._leases.confirm(self._lease)
        due = _Work()
        due.messages += self._role.idle(due.batch)
        self._finish([], due)

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
                    return _Work(messages=[self._set_aside(record, failure.error, failed=failures.total())])

    def _compute(self, records: Sequence[Record]) -> _Work:
        work, items = _Work(), []
        try:
            for record in filter(_HAS_VALUE, records):  # one without was forgotten
                try:
                    items.append((record, self._role.decode(record)))
                except DecodeError as error:
                    work.messages.append(self._set_aside(record, error, failed=1))
            if items:
                work.messages += self._role.handle(items, work.batch)
        except (LogError, StoreError):
            raise
        except Exception as error:
            raise _HandlingFailed(error) from error
        return work

    def _start_over(self, error: Exception) -> None:
        self._failures.count(error, "a record failed and is tried again")
        self._role.restore()

    def _finish(self, records: Sequence[Record], work: _Work) -> None:
        position = {(record.topic, record.partition): record.offset + 1 for record in records}
        self._positions.put(position, work.batch)
        self._leases.confirm(self._lease)
        self._outbox.finish(work.batch, work.messages, self._lease)
        if position:
            self._runtime.meter.add(metrics.RECORDS, len(records), role=self._role.name)
            self._commit(position)

    def _set_aside(self, record: Record, error: Exception, *, failed: int) -> Message:
        place = {"davy.partition": str(record.partition), "davy.offset": str(record.offset)}
        message = Message(record.topic, record.key, record.value, {**record.headers, **place})
        what = f"{record.topic}/{record.partition}/{record.offset}"
        return self._failures.set_aside(message, error, what, failed=failed)
