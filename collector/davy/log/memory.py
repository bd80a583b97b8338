"""The log in the memory of one process: for tests, and for an SDK and a worker that live together."""

from __future__ import annotations

import secrets
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Final

from davy.errors import LogError
from davy.log._clients import GroupConsumer, LogProducer
from davy.log.base import Assigned, Consumer, Extent, Message, Position, Producer, Record, Waiting

_OFFSET: Final = attrgetter("offset")


class MemoryLog:
    """A log that lives as long as its process; offsets are shared by topics, so a topic has gaps, as in SQLite.

    Parameters
    ----------
    name
        What stands behind ``memory://``.
    clock
        Nanoseconds since the epoch.

    Examples
    --------
    >>> log = MemoryLog("example")
    >>> log.producer().append([Message("davy.inferences", "iris:1", b"...")])
    >>> [record.key for record in log.consumer(["davy.inferences"], "detect").poll()]
    ['iris:1']
    """

    exclusive = False
    erases = True
    _named: Final[dict[str, MemoryLog]] = {}
    _naming: Final = threading.Lock()

    def __init__(self, name: str = "", *, clock: Callable[[], int] = time.time_ns) -> None:
        self.url = f"memory://{name}"
        self._clock = clock
        self._grown = threading.Condition()
        self._topics: dict[str, list[Record]] = {}
        self._groups: dict[str, dict[tuple[str, int], int]] = {}
        self._next = 1
        self._identity = secrets.token_hex(16)

    @classmethod
    def named(cls, name: str) -> MemoryLog:
        """Return the one log of this name in this process; the empty name is a name too."""
        with cls._naming:
            return cls._named.setdefault(name, cls(name))

    def producer(self) -> Producer:
        """Open a producer; may be used by one thread at a time."""
        return LogProducer(self)

    def consumer(self, topics: Sequence[str], group: str, *, assigned: Assigned | None = None) -> Consumer:
        """Open a consumer in `group`, which is given every topic whole."""
        return GroupConsumer(self, topics, group, assigned)

    def append(self, messages: Sequence[Message], timeout: float) -> None:
        """Append messages: all of them or, when this raises, none."""
        if not self._grown.acquire(timeout=timeout):
            raise LogError("log", self.url, f"was busy for {timeout:g} s; try again")
        try:
            at = self._clock()
            records = [
                Record(message.topic, 0, offset, message.key, bytes(message.value), dict(message.headers), at)
                for offset, message in enumerate(messages, start=self._next)
            ]
            for record in records:
                self._topics.setdefault(record.topic, []).append(record)
            self._next += len(records)
            self._grown.notify_all()
        finally:
            self._grown.release()

    def fetch(self, offsets: Mapping[str, int], max_records: int, timeout: float) -> list[Record]:
        """Return the next records of topics from their offsets, in the order of the appends; wait for the first."""
        with self._grown:
            self._grown.wait_for(lambda: any(self._tail(*place) for place in offsets.items()), timeout)
            found = [record for place in offsets.items() for record in self._tail(*place, max_records)]
        return sorted(found, key=_OFFSET)[:max_records]

    def backlog(self, offsets: Mapping[str, int]) -> int:
        """How many records topics hold from their offsets on."""
        with self._grown:
            return sum(
                len(self._topics.get(topic, ())) - self._index(topic, offset)
                for topic, offset in offsets.items()
            )

    def committed(self, group: str) -> Position:
        """What a group committed last."""
        with self._grown:
            return dict(self._groups.get(group, {}))

    def commit(self, group: str, position: Position) -> None:
        """Keep the position of a group."""
        with self._grown:
            self._groups.setdefault(group, {}).update(position)

    def identity(self, topic: str) -> str:
        """Return the name of this log, one for all topics."""
        del topic
        return self._identity

    def start(self, topic: str) -> Position:
        """The oldest offset kept; of an empty topic the next offset the log will give."""
        with self._grown:
            records = self._topics.get(topic)
            return {(topic, 0): records[0].offset if records else self._next}

    def end(self, topic: str) -> Position:
        """The offset after the newest record; of an empty topic the next offset the log will give."""
        with self._grown:
            records = self._topics.get(topic)
            return {(topic, 0): records[-1].offset + 1 if records else self._next}

    def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> Iterator[Record]:
        """Return the records with ``start <= offset < stop``, outside any group, in order."""
        while partition == 0 and (stop is None or start < stop):
            with self._grown:
                page = self._tail(topic, start, 64)
            if not page:
                return
            yield from (record for record in page if stop is None or record.offset < stop)
            start = page[-1].offset + 1

    def waiting(self, position: Position) -> Waiting:
        """Return what stands from `position` on."""
        with self._grown:
            found = [
                record.at for (topic, _), offset in position.items() for record in self._tail(topic, offset)
            ]
        return Waiting(
            self.backlog({topic: offset for (topic, _), offset in position.items()}), min(found, default=None)
        )

    def probe(self, timeout: float) -> str:
        """Memory takes what it is given."""
        del timeout
        return "memory of this process"

    def damage(self, seconds: float) -> str:
        """Memory is not looked over."""
        del seconds
        return ""

    def extent(self, since: int) -> Extent:
        """Return how much it holds, and how much of it was appended since a time."""
        with self._grown:
            records = [record for records in self._topics.values() for record in records]
        young = [record for record in records if record.at >= since]
        held, grown = (sum(len(record.value) for record in some) for some in (records, young))
        return Extent(held, grown, min((record.at for record in young), default=None))

    def shrink(self, *, everything: bool = False, rewrite: bool = False) -> int:
        """Nothing lies on a disk."""
        del everything, rewrite
        return 0

    def retain(
        self, *, before: int | None = None, max_bytes: int | None = None, dry_run: bool = False
    ) -> int:
        """Delete the oldest records by age and by size; return their number."""
        with self._grown:
            records = sorted((r for records in self._topics.values() for r in records), key=_OFFSET)
            size, stop = sum(len(record.value) for record in records), 0
            for record in records:
                young = before is None or record.at >= before
                if young and (max_bytes is None or size <= max_bytes):
                    break
                size -= len(record.value)
                stop += 1
            for topic, kept in {} if dry_run else self._topics.items():
                self._topics[topic] = kept[self._index(topic, records[stop - 1].offset + 1) if stop else 0 :]
        return stop

    def erase(self, topic: str, partition: int, values: Mapping[int, bytes]) -> None:
        """Replace the values of records, by offset."""
        with self._grown:
            records = self._topics.get(topic, []) if partition == 0 else []
            for index, record in enumerate(records):
                if record.offset in values:
                    records[index] = replace(record, value=bytes(values[record.offset]))

    def close(self) -> None:
        """Leave the records to whoever else opened this name."""

    def _index(self, topic: str, offset: int) -> int:
        return bisect_left(self._topics.get(topic, ()), offset, key=_OFFSET)

    def _tail(self, topic: str, offset: int, count: int = 1) -> list[Record]:
        first = self._index(topic, offset)
        return self._topics.get(topic, [])[first : first + count]
