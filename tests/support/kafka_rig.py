"""Logs on Kafka in tests: opened with settings, written to, read whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TypeAlias

from davy.config import Settings, load
from davy.event import INFERENCES
from davy.log import Log, Message, Record

SCHEMES = ("kafka", "kafka+librdkafka")
LATE_SECONDS = 0.3
"""What a busy machine may add to a timeout."""
Open: TypeAlias = Callable[..., Log]


def settings(**overrides: object) -> Settings:
    return load(env={}, overrides={name.replace("__", "."): value for name, value in overrides.items()})


def append(
    log: Log, *values: str | bytes, topic: str = INFERENCES, key: str = "m:1", timeout: float = 30
) -> None:
    with closing(log.producer()) as producer:
        producer.append([message(value, topic, key) for value in values], timeout=timeout)


def message(value: str | bytes, topic: str = INFERENCES, key: str = "m:1") -> Message:
    return Message(topic, key, value if isinstance(value, bytes) else value.encode())


def read(log: Log, topic: str = INFERENCES) -> list[Record]:
    return [
        record
        for (_, partition), start in log.start(topic).items()
        for record in log.read(topic, partition, start)
    ]


def values(log: Log, topic: str = INFERENCES) -> list[str]:
    return sorted(record.value.decode() for record in read(log, topic))


@contextmanager
def lasting(most: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun <= most + LATE_SECONDS
