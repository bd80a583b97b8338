"""Positions belong to logs: another log is read from its start, and one that comes back from where it was left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support.streams import make_runtime, sample

from davy.codec import dump_any
from davy.config import DetectSettings
from davy.consume import Loop, StoredPosition, stored_position, stored_positions
from davy.event import INFERENCES
from davy.log import Log, Message, Record
from davy.log.memory import MemoryLog
from davy.runtime import Runtime
from davy.store import Batch

pytestmark = pytest.mark.fast

PLACE = (INFERENCES, 0)
KEY = f"note/{INFERENCES}/0"


class Noting:
    """Notes every value in a record of its own, and how often."""

    name = "note"
    topics: Sequence[str] = (INFERENCES,)

    def __init__(self, runtime: Runtime) -> None:
        self._store = runtime.store

    def restore(self) -> None: ...

    def decode(self, record: Record) -> bytes:
        return record.value

    def handle(self, items: Sequence[tuple[Record, bytes]], batch: Batch) -> list[Message]:
        for record, value in items:
            batch.put("noted", f"{record.offset:04}/{value.decode()}", b"")
        return []

    def idle(self, batch: Batch) -> list[Message]:
        return []


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return make_runtime("memory", tmp_path, DetectSettings())


def feed(log: Log, *values: str) -> None:
    log.producer().append([Message(INFERENCES, "m:1", value.encode()) for value in values])


def read(runtime: Runtime, log: Log) -> tuple[list[str], float]:
    """Return what a role that starts now handles of a log, and how often it says that it begins another."""
    run = make_runtime("memory", Path(), DetectSettings())
    run = replace(run, log=log, store=runtime.store)
    for key, _ in list(run.store.items("noted")):
        run.store.apply(Batch().delete("noted", key))
    loop = Loop(run, Noting(run))
    loop.drain()
    loop.close()
    told = sample(run, "davy_log_replaced_total", role="note") or 0.0
    return [key.partition("/")[2] for key, _ in run.store.items("noted")], told


def test_another_log_is_read_from_its_start_and_the_first_goes_on_when_it_is_back(runtime: Runtime) -> None:
    one, other = MemoryLog(), MemoryLog()
    feed(one, "a", "b")
    feed(other, "u", "v", "w", "x")
    assert read(runtime, one) == (["a", "b"], 0)
    assert read(runtime, one) == ([], 0)
    assert read(runtime, other) == (["u", "v", "w", "x"], 1)
    feed(one, "c")
    feed(other, "y")
    assert read(runtime, other) == (["y"], 0)
    assert read(runtime, one) == (["c"], 0)
    assert stored_position(runtime.store, "note", PLACE) == StoredPosition(4, one.identity(INFERENCES))


@pytest.mark.parametrize(("offset", "handled", "told"), [(2, ["b"], 0), (9, ["a", "b"], 1)])
def test_a_position_of_an_earlier_version_is_one_in_this_log_unless_it_lies_beyond_its_end(
    runtime: Runtime, offset: int, handled: list[str], told: int
) -> None:
    feed(runtime.log, "a", "b")
    runtime.store.apply(Batch().put("positions", KEY, dump_any(offset)))
    assert stored_positions(runtime.store) == {KEY: StoredPosition(offset, "")}
    assert read(runtime, runtime.log) == (handled, told)
    assert stored_positions(runtime.store) == {KEY: StoredPosition(3, runtime.log.identity(INFERENCES))}


def test_without_a_position_in_the_store_what_the_log_remembers_of_the_group_counts_for_nothing(
    runtime: Runtime, tmp_path: Path
) -> None:
    feed(runtime.log, "a", "b")
    assert read(runtime, runtime.log) == (["a", "b"], 0)
    lost = make_runtime("memory", tmp_path, DetectSettings())
    assert read(lost, runtime.log) == (["a", "b"], 0)


def test_what_retention_took_is_passed_over_in_silence(runtime: Runtime) -> None:
    feed(runtime.log, "a", "b", "c")
    runtime.store.apply(Batch().put("positions", KEY, dump_any(1)))
    runtime.log.retain(max_bytes=1)
    assert read(runtime, runtime.log) == (["c"], 0)


def test_of_many_logs_those_read_last_are_remembered(runtime: Runtime) -> None:
    logs = [MemoryLog() for _ in range(20)]
    for log in logs:
        feed(log, "a")
        assert read(runtime, log)[0] == ["a"]
    assert read(runtime, logs[-2])[0] == []
    assert read(runtime, logs[0])[0] == ["a"]
    assert len(runtime.store.get("positions", KEY) or b"") < 512
