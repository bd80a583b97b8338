"""Roles over several partitions and processes: every record is handled by one of them, and counts once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.partitioned import PartitionedLog
from support.streams import Clock, bury, make_runtime

from davy.blobs.memory import MemoryBlobs
from davy.codec import dump_any, load_any
from davy.config import DetectSettings, Settings
from davy.consume import Loop, Spread
from davy.errors import LeaseLost
from davy.event import INFERENCES, LABELS
from davy.log import Message, Partition, Record
from davy.meter import Meter
from davy.runtime import Runtime
from davy.store import Batch
from davy.store.memory import MemoryStore

pytestmark = pytest.mark.fast

PARTITIONS, RECORDS = 4, 40
NAME = "gather"


class Gathering:
    """Keeps the records of its partition, and tells who handled each."""

    name = NAME
    topics: Sequence[str] = (INFERENCES,)

    def __init__(self, runtime: Runtime, partition: int, meanwhile: Callable[[], object]) -> None:
        self._runtime = runtime
        self._partition = partition
        self._meanwhile = meanwhile
        self._kept: list[bytes] = []

    def restore(self) -> None:
        stored = self._runtime.store.get("gathered", str(self._partition))
        self._kept = load_any(stored) if stored else []

    def decode(self, record: Record) -> bytes:
        return record.value

    def handle(self, items: Sequence[tuple[Record, bytes]], batch: Batch) -> list[Message]:
        self._kept += [value for _, value in items]
        batch.put("gathered", str(self._partition), dump_any(self._kept))
        self._meanwhile()
        return [Message(LABELS, str(self._partition), value) for _, value in items]

    def idle(self, batch: Batch) -> list[Message]:
        return []


def shared() -> Runtime:
    log = PartitionedLog(PARTITIONS, Clock())
    return Runtime(Settings(), log, MemoryStore(), MemoryBlobs(), Meter(), clock=Clock())


def feed(runtime: Runtime, first: int = 0, count: int = RECORDS) -> None:
    numbers = range(first, first + count)
    runtime.log.producer().append([Message(INFERENCES, f"m:1#{n}", str(n).encode()) for n in numbers])


def gathering(runtime: Runtime, meanwhile: Callable[[], object] = lambda: None) -> Loop[bytes]:
    def make(place: Partition) -> Gathering:
        return Gathering(runtime, place[1], meanwhile)

    return Loop(runtime, Spread(NAME, Gathering.topics, make))


def gathered(runtime: Runtime) -> list[int]:
    return sorted(int(one) for _, data in runtime.store.items("gathered") for one in load_any(data))


def published(runtime: Runtime) -> set[int]:
    ends = runtime.log.end(LABELS)
    return {int(record.value) for _, p in ends for record in runtime.log.read(LABELS, p, 0)}


def test_processes_share_the_partitions_and_each_record_counts_once() -> None:
    runtime, handlers = shared(), set()
    loops = [gathering(runtime, lambda name=name: handlers.add(name)) for name in ("one", "two", "three")]
    for start in range(0, RECORDS, 10):
        feed(runtime, start, 10)
        for loop in loops:
            loop.step()
    for loop in loops:
        loop.drain()
        loop.close()
    assert gathered(runtime) == list(range(RECORDS))
    assert published(runtime) == set(range(RECORDS))
    assert handlers == {"one", "two", "three"}


def test_the_batch_of_a_process_that_lost_its_partition_is_refused() -> None:
    runtime = shared()
    other = gathering(runtime)
    zombie = gathering(runtime, other.drain)  # while it handles a batch, the group gives its partitions away
    feed(runtime)
    with pytest.raises(LeaseLost):
        zombie.step()
    other.drain()
    assert len(gathered(runtime)) == len(set(gathered(runtime)))
    zombie.close()
    other.drain()
    other.close()
    assert gathered(runtime) == list(range(RECORDS))


def test_a_role_in_one_piece_is_in_the_group_in_one_process_and_another_follows_it() -> None:
    runtime = shared()
    assert isinstance(runtime.log, PartitionedLog)
    group = runtime.log.group(NAME)
    first = Loop(runtime, Gathering(runtime, 0, lambda: None))
    second = Loop(runtime, Gathering(runtime, 0, lambda: None))
    feed(runtime, 0, 20)
    assert (second.drain() + first.drain(), len(group.members)) == (20, 1)
    feed(runtime, 20, 20)
    assert (first.step(), len(group.members)) == (0, 1)
    second.close()
    assert first.drain() == 20
    first.close()
    assert gathered(runtime) == list(range(RECORDS))
    assert group.members == []


def test_on_a_log_that_gives_everybody_everything_a_process_without_the_lease_reads_nothing(
    tmp_path: Path,
) -> None:
    runtime = make_runtime("sqlite", tmp_path, DetectSettings())
    holder, waiting = gathering(runtime), gathering(runtime)
    feed(runtime)
    assert (holder.step() > 0, waiting.step()) == (True, 0)
    holder.drain()
    assert gathered(runtime) == list(range(RECORDS))
    feed(runtime, RECORDS, 10)
    assert waiting.step() == 0
    bury(runtime, f"role/{NAME}")
    assert waiting.drain() == 10
    feed(runtime, RECORDS + 10, 10)
    with pytest.raises(LeaseLost):  # the old holder wakes up
        holder.step()
    waiting.drain()
    assert gathered(runtime) == list(range(RECORDS + 20))
    for loop in (holder, waiting):
        loop.close()
    runtime.store.close()
    runtime.log.close()
