"""A log of several partitions a topic, in memory: what Kafka gives, for tests of what must not count on one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from zlib import crc32

from davy.log import Assigned, Consumer, Message, Partition, Position, Record
from davy.log.memory import MemoryLog


class PartitionedLog:
    """Several logs in memory, a partition each; a key always goes to the same one."""

    url = "memory://partitioned"
    exclusive = False

    def __init__(self, partitions: int = 3) -> None:
        self._logs = [MemoryLog(str(number)) for number in range(partitions)]

    def partition_of(self, key: str) -> int:
        """Give the partition a key goes to."""
        return crc32(key.encode()) % len(self._logs)

    def producer(self) -> _Producer:
        return _Producer(self, self._logs)

    def consumer(self, topics: Sequence[str], group: str, *, assigned: Assigned | None = None) -> Consumer:
        return _Consumer(self._logs, topics, group, assigned)

    def start(self, topic: str) -> Position:
        return {(topic, n): log.start(topic)[topic, 0] for n, log in enumerate(self._logs)}

    def end(self, topic: str) -> Position:
        return {(topic, n): log.end(topic)[topic, 0] for n, log in enumerate(self._logs)}

    def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> Iterator[Record]:
        for record in self._logs[partition].read(topic, 0, start, stop):
            yield replace(record, partition=partition)

    def retain(self, *, before: int | None = None, max_bytes: int | None = None) -> int:
        return sum(log.retain(before=before, max_bytes=max_bytes) for log in self._logs)

    def close(self) -> None:
        """Nothing is held."""


class _Producer:
    def __init__(self, log: PartitionedLog, logs: Sequence[MemoryLog]) -> None:
        self._log = log
        self._producers = [one.producer() for one in logs]

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        for message in messages:
            self._producers[self._log.partition_of(message.key)].append([message], timeout=timeout)

    def close(self, *, timeout: float = 5.0) -> None:
        for producer in self._producers:
            producer.close(timeout=timeout)


class _Consumer:
    def __init__(
        self, logs: Sequence[MemoryLog], topics: Sequence[str], group: str, assigned: Assigned | None
    ) -> None:
        self._consumers = [log.consumer(topics, group) for log in logs]
        places: list[Partition] = [(topic, n) for n in range(len(logs)) for topic in topics]
        self.seek(assigned(places) if assigned else {})

    def poll(self, *, max_records: int = 500, timeout: float = 1.0) -> list[Record]:
        found: list[Record] = []
        for number, consumer in enumerate(self._consumers):
            left = max_records - len(found)
            records = consumer.poll(max_records=left, timeout=0.0) if left else []
            found += [replace(record, partition=number) for record in records]
        return found

    def position(self) -> Position:
        return {
            (topic, number): offset
            for number, consumer in enumerate(self._consumers)
            for (topic, _), offset in consumer.position().items()
        }

    def seek(self, position: Position) -> None:
        for (topic, number), offset in position.items():
            self._consumers[number].seek({(topic, 0): offset})

    def commit(self, position: Position) -> None:
        for (topic, number), offset in position.items():
            self._consumers[number].commit({(topic, 0): offset})

    def lag(self) -> int:
        return sum(consumer.lag() for consumer in self._consumers)

    def close(self) -> None:
        for consumer in self._consumers:
            consumer.close()
