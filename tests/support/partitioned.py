"""A log of several partitions that groups share, in memory: what Kafka gives, for what must not count on one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from zlib import crc32

from davy.log import Assigned, Message, Partition, Position, Record, Waiting
from davy.log.memory import MemoryLog


@dataclass(slots=True)
class Group:
    """Consumers that share partitions."""

    members: list[PartitionedConsumer] = field(default_factory=list)
    generation: int = 0


class PartitionedLog:
    """Partitions made of one memory log each; a key always goes to the same one.

    A group's members share them; each learns of changes when it polls.
    """

    exclusive = True

    def __init__(self, partitions: int = 3, clock: Callable[[], int] = time.time_ns) -> None:
        self.url = f"memory://{partitions}-partitions"
        self.logs = [MemoryLog(clock=clock) for _ in range(partitions)]
        self._groups: dict[str, Group] = {}

    def partition_of(self, key: str) -> int:
        """Return the partition a key goes to."""
        return crc32(key.encode()) % len(self.logs)

    def producer(self) -> _Producer:
        return _Producer(self)

    def consumer(
        self, topics: Sequence[str], group: str, *, assigned: Assigned | None = None
    ) -> PartitionedConsumer:
        return PartitionedConsumer(self, topics, self.group(group), assigned)

    def group(self, name: str) -> Group:
        """Return a group, empty before anybody joined it."""
        return self._groups.setdefault(name, Group())

    def identity(self, topic: str) -> str:
        return self.logs[0].identity(topic)

    def start(self, topic: str) -> Position:
        return {(topic, p): log.start(topic)[topic, 0] for p, log in enumerate(self.logs)}

    def end(self, topic: str) -> Position:
        return {(topic, p): log.end(topic)[topic, 0] for p, log in enumerate(self.logs)}

    def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> Iterator[Record]:
        records = self.logs[partition].read(topic, 0, start, stop)
        return (replace(record, partition=partition) for record in records)

    def waiting(self, position: Position) -> Waiting:
        each = [self.logs[partition].waiting({(topic, 0): at}) for (topic, partition), at in position.items()]
        since = [one.since for one in each if one.since is not None]
        return Waiting(sum(one.records for one in each), min(since, default=None))

    def shrink(self, **how: bool) -> int:
        return sum(log.shrink(**how) for log in self.logs)

    def retain(self, *, before: int | None = None, max_bytes: int | None = None) -> int:
        return sum(log.retain(before=before, max_bytes=max_bytes) for log in self.logs)

    def close(self) -> None:
        pass


class _Producer:
    def __init__(self, log: PartitionedLog) -> None:
        self._log = log

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        for message in messages:
            self._log.logs[self._log.partition_of(message.key)].append([message], timeout)

    def close(self, *, timeout: float = 5.0) -> None:
        pass


class PartitionedConsumer:
    """A member of a group; one that does not poll believes to have what it had."""

    def __init__(
        self, log: PartitionedLog, topics: Sequence[str], group: Group, assigned: Assigned | None
    ) -> None:
        self._log, self._topics, self._group, self._assigned = log, topics, group, assigned
        self._offsets: dict[Partition, int] = {}
        self._generation = -1
        group.members.append(self)
        group.generation += 1

    def poll(self, *, max_records: int = 500, timeout: float = 1.0) -> list[Record]:
        if self._generation != self._group.generation:
            self._rebalance()
        each = [
            replace(record, partition=partition)
            for (topic, partition), offset in self._offsets.items()
            for record in self._log.logs[partition].fetch({topic: offset}, max_records, 0.0)
        ][:max_records]
        for record in each:
            self._offsets[record.topic, record.partition] = record.offset + 1
        return each

    def position(self) -> Position:
        return dict(self._offsets)

    def seek(self, position: Position) -> None:
        self._offsets |= {place: offset for place, offset in position.items() if place in self._offsets}

    def commit(self, position: Position) -> None:
        pass

    def lag(self) -> int:
        return sum(self._log.logs[p].backlog({topic: offset}) for (topic, p), offset in self._offsets.items())

    def close(self) -> None:
        if self in self._group.members:
            self._group.members.remove(self)
            self._group.generation += 1

    def _rebalance(self) -> None:
        self._generation = self._group.generation
        if self not in self._group.members:  # expelled while it slept
            self._group.members.append(self)
            self._group.generation += 1
            self._generation = self._group.generation
        turn, count = self._group.members.index(self), len(self._group.members)
        places = [
            place
            for place in chain(*(self._log.end(topic) for topic in self._topics))
            if place[1] % count == turn
        ]
        stored: Mapping[Partition, int] = self._assigned(places) if self._assigned else {}
        self._offsets = {(t, p): self._log.start(t)[t, p] for t, p in places} | dict(stored)
