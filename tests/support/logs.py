"""Logs as tests use them: what is opened gets closed, and what lies in them is told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from davy.log import Consumer, Log, Message, Partition, Position, Producer, Record, open_log

TOPIC, OTHER = "davy.inferences", "davy.feedback"
MILLISECOND = 10**6


class Remembering:
    """A log that closes at the end whatever was opened on it."""

    def __init__(self, url: str) -> None:
        self._log = open_log(url)
        self._opened: list[Producer | Consumer | Log] = [self._log]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def producer(self) -> Producer:
        return self._remember(self._log.producer())

    def consumer(self, *arguments: Any, **more: Any) -> Consumer:
        return self._remember(self._log.consumer(*arguments, **more))

    def close_all(self) -> None:
        for opened in reversed(self._opened):
            opened.close()

    def _remember(self, opened: Any) -> Any:
        self._opened.append(opened)
        return opened


def append(log: Log, *values: str | bytes, topic: str = TOPIC, key: str = "iris:1") -> None:
    producer = log.producer()
    producer.append(
        [Message(topic, key, value if isinstance(value, bytes) else value.encode()) for value in values]
    )
    producer.close()


def append_apart(log: Log, *values: str, topics: Sequence[str] = (TOPIC, OTHER)) -> None:
    """Append values to topics in turn, each in a millisecond of its own: the grain of time of some logs."""
    producer = log.producer()
    for number, value in enumerate(values):
        now = time.time_ns() // MILLISECOND
        while time.time_ns() // MILLISECOND == now:
            pass
        producer.append([Message(topics[number % len(topics)], "iris:1", value.encode())])
    producer.close()


def records(log: Log, topic: str = TOPIC, start: Position | None = None) -> list[Record]:
    """Every record of a topic, or of those from a position on."""
    start = start or {}
    return [
        record
        for (_, partition), first in log.start(topic).items()
        for record in log.read(topic, partition, start.get((topic, partition), first))
    ]


def values(log: Log, topic: str = TOPIC) -> list[str]:
    return [record.value.decode() for record in records(log, topic)]


def offsets(log: Log, topic: str = TOPIC) -> list[int]:
    return [record.offset for record in records(log, topic)]


def place(log: Log, topic: str = TOPIC) -> Partition:
    """Where the records of a topic lie that share one key."""
    (found,) = {(record.topic, record.partition) for record in records(log, topic)}
    return found


def take(consumer: Consumer, count: int, *, max_records: int = 500) -> list[Record]:
    """Poll until there are `count` records."""
    taken: list[Record] = []
    while len(taken) < count:
        found = consumer.poll(max_records=max_records, timeout=10)
        assert 0 < len(found) <= max_records
        taken += found
    assert len(taken) == count
    return taken
