"""A role whose store is a Redis pauses while Redis is away and loses nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support import redis_server
from support.redis_server import RedisServer
from support.streams import make_runtime, read, sample

from davy.config import DetectSettings
from davy.consume import Loop
from davy.event import INFERENCES, LABELS
from davy.log import Message, Record
from davy.runtime import Runtime
from davy.store import Batch
from davy.store.redis import RedisStore

pytestmark = redis_server.LOCAL


class Adding:
    """Adds up the numbers it reads, and publishes each."""

    name = "add"
    topics: Sequence[str] = (INFERENCES,)

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._sum = 0

    def restore(self) -> None:
        self._sum = int(self._runtime.store.get("sums", "all") or 0)

    def decode(self, record: Record) -> int:
        return int(record.value)

    def handle(self, items: Sequence[tuple[Record, int]], batch: Batch) -> list[Message]:
        self._sum += sum(number for _, number in items)
        batch.put("sums", "all", b"%d" % self._sum)
        return [Message(LABELS, "m:1", b"%d" % number) for _, number in items]

    def idle(self, batch: Batch) -> list[Message]:
        return []


@pytest.fixture
def server(tmp_path: Path) -> RedisServer:
    return RedisServer(tmp_path / "redis", appendonly="yes", appendfsync="always")


@pytest.mark.parametrize("away", ["killed", "hanging"])
def test_an_outage_of_redis_pauses_the_role_and_nothing_is_lost_or_counted_twice(
    server: RedisServer, tmp_path: Path, away: str
) -> None:
    server.start()
    memory = make_runtime("memory", tmp_path, DetectSettings())
    runtime = replace(memory, store=RedisStore(f"{server.url}?timeout=0.5"))
    numbers = [2**power for power in range(60)]

    def feed(part: Sequence[int]) -> None:
        runtime.log.producer().append([Message(INFERENCES, "m:1", b"%d" % number) for number in part])

    def done(count: int) -> bool:
        return runtime.store.get("sums", "all") == b"%d" % (2**count - 1)

    def errors() -> float:
        return sample(runtime, "davy_role_errors_total", error="StoreError", role="add") or 0

    loop = Loop(runtime, Adding(runtime), max_records=4)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        feed(numbers[:20])
        server.wait_for(lambda: done(20))
        server.kill() if away == "killed" else server.pause()
        feed(numbers[20:40])
        server.wait_for(lambda: errors() >= 2)
        server.start() if away == "killed" else server.resume()
        feed(numbers[40:])
        server.wait_for(lambda: done(60))
    finally:
        runtime.stop.set()
        thread.join(timeout=20)
        server.stop()
    assert set(read(runtime, LABELS)) == {b"%d" % number for number in numbers}


@pytest.mark.parametrize("busy", [True, False], ids=["while records come", "at rest"])
def test_a_redis_that_is_flushed_is_filled_again_from_the_log(
    server: RedisServer, tmp_path: Path, busy: bool
) -> None:
    server.start()
    memory = make_runtime("memory", tmp_path, DetectSettings())
    runtime = replace(memory, store=RedisStore(server.url))
    numbers = [2**power for power in range(60)]

    def feed(part: Sequence[int]) -> None:
        runtime.log.producer().append([Message(INFERENCES, "m:1", b"%d" % number) for number in part])

    def done(count: int) -> bool:
        return runtime.store.get("sums", "all") == b"%d" % (2**count - 1)

    thread = threading.Thread(target=Loop(runtime, Adding(runtime), max_records=4).run)
    thread.start()
    try:
        feed(numbers[:40])
        server.wait_for(lambda: done(40))
        assert isinstance(runtime.store, RedisStore)
        runtime.store._client.flushall()
        if busy:
            feed(numbers[40:])
        else:
            server.wait_for(lambda: done(40))
            feed(numbers[40:])
        server.wait_for(lambda: done(60))
    finally:
        runtime.stop.set()
        thread.join(timeout=20)
        server.stop()
