"""Groups on real Kafka brokers: members come and go, and a record is handled once and in its place."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count

import pytest
from support.kafka_rig import Open, append, message
from support.kafka_server import needs_brokers

from davy.errors import LogError
from davy.event import INFERENCES
from davy.log import Consumer, Log, Partition, Position, Record

pytestmark = needs_brokers()


class Group:
    """Consumers of one group that do as a role does: handle, store the position with what was done, poll again."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._store: dict[Partition, int] = {}
        self.done: list[tuple[str, Record]] = []
        self.grown = threading.Condition(self._lock)

    def assigned(self, partitions: Sequence[Partition]) -> Position:
        with self._lock:
            return {place: self._store[place] for place in partitions if place in self._store}

    @contextmanager
    def member(self, name: str) -> Iterator[None]:
        """Take part for a while, on a thread of its own."""
        leave = threading.Event()
        failed: list[BaseException] = []

        def work() -> None:
            try:
                with closing(self._log.consumer([INFERENCES], "detect", assigned=self.assigned)) as consumer:
                    while not leave.is_set():
                        self._handle(name, consumer)
            except BaseException as error:
                failed.append(error)
                raise

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            leave.set()
            thread.join()
        assert not failed

    def _handle(self, name: str, consumer: Consumer) -> None:
        records = consumer.poll(max_records=20, timeout=0.1)
        with self._lock:
            self.done += [(name, record) for record in records]
            self._store |= {(record.topic, record.partition): record.offset + 1 for record in records}
            self.grown.notify_all()
        consumer.commit(consumer.position())

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self.grown:
            assert self.grown.wait_for(condition, 60), f"{len(self.done)} records were handled"

    def busy(self, name: str, since: int) -> bool:
        return any(who == name for who, _ in self.done[since:])


def test_consumers_share_partitions_and_nothing_is_lost_or_reordered_when_they_come_and_go(
    url: str, open_: Open
) -> None:
    log = open_(url)
    group, stop, written = Group(log), threading.Event(), [0]
    keys = [f"m:{number}" for number in range(12)]

    def write() -> None:
        with closing(log.producer()) as producer:
            for number in count():
                group.wait_for(lambda: written[0] * len(keys) - len(group.done) < 500)
                if stop.is_set():
                    return
                producer.append([message(str(number), key=key) for key in keys])
                written[0] = number + 1

    writer = threading.Thread(target=write)
    writer.start()
    with group.member("first"):
        group.wait_for(lambda: group.busy("first", 0))
        with group.member("second"):
            group.wait_for(lambda: group.busy("second", 0))
            both = len(group.done)
            group.wait_for(lambda: group.busy("first", both) and group.busy("second", both))
        alone = len(group.done)
        shared = {record.partition for name, record in group.done if name == "second"}
        group.wait_for(
            lambda: shared <= {record.partition for name, record in group.done[alone:] if name == "first"}
        )
        stop.set()
        writer.join()
        group.wait_for(lambda: len(group.done) >= written[0] * len(keys))
    seen = defaultdict(list)
    for _, record in group.done:
        seen[record.key].append(int(record.value))
    assert dict(seen) == {key: list(range(written[0])) for key in keys}


def test_a_position_store_that_fails_is_told_and_costs_no_record(url: str, open_: Open) -> None:
    log = open_(url)
    append(log, "a", "b")

    def broken(_: Sequence[Partition]) -> Position:
        raise LogError("store", "test", "is down")

    with pytest.raises(LogError, match="is down"):
        log.consumer([INFERENCES], "detect", assigned=broken)
    with closing(log.consumer([INFERENCES], "detect")) as consumer:
        assert [record.value for record in consumer.poll(timeout=10)][:1] == [b"a"]
