"""How every role reads the log: poll, decode, compute, one store transaction, publish, commit.

The transaction holds the role's state, its position and an outbox with what it is about to publish. A role that dies
at any point starts again from the stored position and publishes the outbox once more: effects in the store happen
exactly once, messages at least once and with the same ids.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final, Generic, Protocol, TypeVar

from davy import metrics
from davy.codec import dump_any, load_any
from davy.errors import DavyError, DecodeError
from davy.event import dead_letters
from davy.log import Message, Partition, Position, Record
from davy.runtime import Runtime
from davy.store import Batch

T = TypeVar("T")
_POSITIONS: Final = "positions"
_OUTBOX: Final = "outbox"
_ATTEMPTS: Final = 3
_log = logging.getLogger("davy.consume")


class Role(Protocol[T]):
    """What a role does with records; everything else is `Loop`'s."""

    name: str
    topics: Sequence[str]

    def restore(self) -> None:
        """Take up the stored state; called before the first record and after every failed transaction."""

    def decode(self, record: Record) -> T:
        """Read one record; raises DecodeError on bytes that cannot be read."""

    def handle(self, items: Sequence[tuple[Record, T]], batch: Batch) -> list[Message]:
        """Take in records, add the changes of state to `batch`, give what to publish."""

    def idle(self, batch: Batch) -> list[Message]:
        """Do what is due by time; called between polls, also when records keep coming."""


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
        self._attempts: Counter[tuple[str, int, int, str]] = Counter()
        self._producer = runtime.log.producer()
        self._consumer = runtime.log.consumer(role.topics, role.name, assigned=self._stored_position)
        self._started = False

    def run(self) -> None:
        """Work until the runtime's stop signal; a failed transaction is counted, logged and tried again."""
        while not self._runtime.stop.is_set():
            try:
                self.step(timeout=0.2)
            except DavyError as error:
                self._recover(error)
                self._runtime.stop.wait(0.5)

    def step(self, *, timeout: float = 0.0) -> int:
        """Handle the records of one poll; give their number."""
        if not self._started:
            self._role.restore()
            self._publish_outbox()
            self._started = True
        records = self._consumer.poll(max_records=self._max_records, timeout=timeout)
        begun = time.perf_counter()
        batch = Batch()
        messages = self._handle(records, batch) + self._role.idle(batch)
        if records:
            for (topic, partition), offset in self._consumer.position().items():
                batch.put(_POSITIONS, f"{self._role.name}/{topic}/{partition}", dump_any(offset))
        if batch.operations or messages:
            packed = [[m.topic, m.key, m.value, dict(m.headers)] for m in messages]
            batch.put(_OUTBOX, self._role.name, dump_any(packed))
            self._runtime.store.apply(batch)
        if messages:
            self._producer.append(messages)
        if records:
            self._consumer.commit(self._consumer.position())
            self._runtime.meter.observe(
                metrics.BATCH_SECONDS, time.perf_counter() - begun, role=self._role.name
            )
        self._runtime.meter.set(metrics.LAG, self._consumer.lag(), role=self._role.name)
        return len(records)

    def drain(self) -> int:
        """Handle everything the log holds now; give the number of records. For tests, replays and shutdown."""
        total = 0
        while handled := self.step():
            total += handled
        return total

    def close(self) -> None:
        """Leave the log."""
        self._consumer.close()
        self._producer.close()

    def _stored_position(self, partitions: Sequence[Partition]) -> Position:
        found = {}
        for topic, partition in partitions:
            stored = self._runtime.store.get(_POSITIONS, f"{self._role.name}/{topic}/{partition}")
            if stored is not None:
                found[topic, partition] = load_any(stored)
        return found

    def _publish_outbox(self) -> None:
        stored = self._runtime.store.get(_OUTBOX, self._role.name)
        messages = [Message(*fields) for fields in load_any(stored)] if stored else []
        if messages:
            self._producer.append(messages)
            self._runtime.store.apply(Batch().delete(_OUTBOX, self._role.name))

    def _handle(self, records: list[Record], batch: Batch) -> list[Message]:
        items, messages = [], []
        for record in records:
            try:
                items.append((record, self._role.decode(record)))
            except DecodeError as error:
                messages.append(self._set_aside(record, error, attempts=1))
        items, poisoned = self._without_poison(items)
        messages += poisoned
        return messages + (self._role.handle(items, batch) if items else [])

    def _without_poison(self, items: list[tuple[Record, T]]) -> tuple[list[tuple[Record, T]], list[Message]]:
        if not self._attempts:
            return items, []
        kept, messages = [], []
        for record, item in items:
            failures = [
                (count, error)
                for (*place, error), count in self._attempts.items()
                if place == [record.topic, record.partition, record.offset]
            ]
            count, error = max(failures, default=(0, ""))
            if count >= _ATTEMPTS:
                messages.append(self._set_aside(record, RuntimeError(error), attempts=count))
            else:
                kept.append((record, item))
        return kept, messages

    def _recover(self, error: Exception) -> None:
        kind = type(error).__name__
        self._runtime.meter.add(metrics.ROLE_ERRORS, role=self._role.name, error=kind)
        _log.error("%s: transaction failed and will be tried again: %s", self._role.name, error)
        self._consumer.close()
        self._consumer = self._runtime.log.consumer(
            self._role.topics, self._role.name, assigned=self._stored_position
        )
        self._started = False

    def _set_aside(self, record: Record, error: Exception, *, attempts: int) -> Message:
        kind = type(error).__name__
        self._runtime.meter.add(metrics.DEAD_LETTERS, topic=record.topic, error=kind)
        _log.warning("%s: %s/%d set aside: %s", self._role.name, record.topic, record.offset, error)
        headers = {
            **record.headers,
            "davy.error": kind,
            "davy.message": str(error)[:1000],
            "davy.component": self._role.name,
            "davy.version": version("davy"),
            "davy.topic": record.topic,
            "davy.partition": str(record.partition),
            "davy.offset": str(record.offset),
            "davy.attempts": str(attempts),
        }
        return Message(dead_letters(record.topic), record.key, record.value, headers)
