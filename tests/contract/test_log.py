"""What every log keeps, whichever URL opened it."""

from __future__ import annotations

import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.logs import (
    MILLISECOND,
    OTHER,
    TOPIC,
    Remembering,
    append,
    offsets,
    place,
    records,
    take,
    values,
)

from davy.errors import LogError, Refused
from davy.log import Log, Message, Partition, Position, Waiting, open_log
from davy.log.memory import MemoryLog
from davy.log.sqlite import SqliteLog

SECOND = 10**9
text = st.text(st.characters(exclude_categories=["Cs"]))
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def test_records_come_in_the_order_of_the_appends_with_growing_offsets(log: Log) -> None:
    append(log, "a", "b")
    append(log, "c")
    found = take(log.consumer([TOPIC], "detect"), 3)
    assert [record.value for record in found] == [b"a", b"b", b"c"]
    assert [record.offset for record in found] == sorted({record.offset for record in found})


def test_records_of_one_key_come_in_the_order_of_the_appends_in_each_of_several_topics(log: Log) -> None:
    consumer = log.consumer([TOPIC, OTHER], "detect")
    for number in range(6):
        append(log, str(number), topic=(TOPIC, OTHER)[number % 2])
    found = take(consumer, 6, max_records=4)
    assert [record.value for record in found if record.topic == TOPIC] == [b"0", b"2", b"4"]
    assert [record.value for record in found if record.topic == OTHER] == [b"1", b"3", b"5"]


def test_nothing_is_lost_or_reordered_within_a_key_under_several_threads(log: Log) -> None:
    def write(key: str) -> None:
        producer = log.producer()
        for number in range(50):
            producer.append([Message(TOPIC, key, b"%d" % (2 * number + place)) for place in range(2)])

    threads = [threading.Thread(target=write, args=(f"model:{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    consumer, seen = log.consumer([TOPIC], "detect"), defaultdict(list)
    for record in take(consumer, 400, max_records=37):
        seen[record.key].append(int(record.value))
    for thread in threads:
        thread.join()
    assert dict(seen) == {f"model:{i}": list(range(100)) for i in range(4)}
    assert consumer.poll(timeout=0) == []


def test_records_of_one_key_lie_in_one_partition(log: Log) -> None:
    for key in ("iris:1", "digits:2", "", "é"):
        append(log, "a", "b", key=key)
        append(log, "c", key=key)
    found = defaultdict(set)
    for record in records(log):
        found[record.key].add(record.partition)
    assert [len(partitions) for partitions in found.values()] == [1, 1, 1, 1]


def test_a_poll_returns_as_soon_as_a_record_is_there(log: Log) -> None:
    consumer, begun = log.consumer([TOPIC], "detect"), time.monotonic()
    writer = threading.Timer(0.1, append, (log, "late"))
    writer.start()
    found = consumer.poll(timeout=30)
    writer.join()
    assert [record.value for record in found] == [b"late"]
    assert time.monotonic() - begun < 10


def test_a_poll_that_may_not_wait_gives_what_is_there(log: Log) -> None:
    consumer = log.consumer([TOPIC], "detect")
    assert consumer.poll(timeout=0) == []
    for value in "abc":
        append(log, value)
        assert [record.value.decode() for record in consumer.poll(timeout=0)] == [value]


def test_a_poll_without_records_lasts_its_timeout_and_uses_next_to_no_processor_time(log: Log) -> None:
    consumer = log.consumer([TOPIC, OTHER], "detect")
    begun, used = time.monotonic(), time.thread_time()
    assert consumer.poll(timeout=0.5) == []
    assert time.monotonic() - begun >= 0.5
    assert time.thread_time() - used < 0.1


def test_a_group_goes_on_where_it_committed_after_reopening(url: str, log: Log) -> None:
    append(log, "a", "b", "c")
    consumer = log.consumer([TOPIC], "detect")
    take(consumer, 2, max_records=1)
    consumer.commit(consumer.position())
    consumer.close()
    log.close()
    again = Remembering(url)
    assert [r.value for r in take(again.consumer([TOPIC], "detect"), 1)] == [b"c"]
    assert [r.value for r in take(again.consumer([TOPIC], "mine"), 3)] == [b"a", b"b", b"c"]
    again.close_all()


def test_the_position_given_on_assignment_wins_over_the_commit(log: Log) -> None:
    append(log, "a", "b", "c")
    append(log, "x", "y", topic=OTHER)
    first = log.consumer([TOPIC, OTHER], "detect")
    take(first, 5)
    first.commit(first.position())
    first.close()
    asked: list[Partition] = []

    def stored(partitions: Sequence[Partition]) -> Position:
        asked.extend(partitions)
        return {place(log): offsets(log)[1]}

    second = log.consumer([TOPIC, OTHER], "detect", assigned=stored)
    assert sorted(asked) == sorted([*log.start(TOPIC), *log.start(OTHER)])
    assert [record.value for record in take(second, 2)] == [b"b", b"c"]


def test_seek_moves_the_position(log: Log) -> None:
    append(log, "a", "b", "c")
    consumer = log.consumer([TOPIC], "detect")
    take(consumer, 3)
    consumer.seek({place(log): offsets(log)[1]})
    assert consumer.position()[place(log)] == offsets(log)[1]
    assert [record.value for record in take(consumer, 2)] == [b"b", b"c"]
    assert consumer.position() == log.end(TOPIC)


@pytest.mark.parametrize("offset", [0, 10**9], ids=["removed", "beyond the end"])
def test_seek_to_what_is_not_kept_means_the_oldest_record(log: Log, offset: int) -> None:
    append(log, "a", "bb")
    log.retain(max_bytes=2)
    consumer = log.consumer([TOPIC], "detect")
    take(consumer, 1)
    consumer.seek({place(log): offset})
    assert consumer.position() == log.start(TOPIC)
    assert [record.value for record in take(consumer, 1)] == [b"bb"]


def test_lag_counts_the_records_not_read_yet_as_of_the_last_poll(log: Log) -> None:
    consumer = log.consumer([TOPIC, OTHER], "detect")
    assert consumer.lag() == 0
    append(log, *"abcdefghi")
    append(log, "unrelated", topic="davy.labels")
    take(consumer, 1, max_records=1)
    assert consumer.lag() == 8
    take(consumer, 8, max_records=3)
    assert consumer.lag() == 0


def test_lag_counts_over_all_topics(log: Log) -> None:
    append(log, "a", "b")
    append(log, "x", topic=OTHER)
    append(log, "unrelated", topic="davy.labels")
    assert log.consumer([TOPIC, OTHER], "detect").lag() == 3


def test_read_gives_the_records_from_start_to_before_stop(log: Log) -> None:
    append(log, *map(str, range(200)))
    append(log, "x", topic=OTHER)
    found, (_, partition) = offsets(log), place(log)

    def read(start: int, stop: int | None = None) -> list[int]:
        return [int(record.value) for record in log.read(TOPIC, partition, start, stop)]

    assert read(found[70], found[140]) == list(range(70, 140))
    assert read(found[198]) == [198, 199]
    assert read(found[3], found[3]) == []
    assert list(log.read(TOPIC, 99, 0)) == []


def test_start_and_end_frame_the_records_of_a_topic(log: Log) -> None:
    append(log, "a", "b")
    append(log, "x", topic=OTHER)
    start, end = log.start(TOPIC)[place(log)], log.end(TOPIC)[place(log)]
    assert (start, end - 1) == (offsets(log)[0], offsets(log)[-1])
    assert log.start("davy.nothing") == log.end("davy.nothing")


def test_a_log_has_one_name_of_its_own_that_lasts(url: str, log: Log) -> None:
    append(log, "a")
    name = log.identity(TOPIC)
    assert name
    append(log, "b")
    log.retain(max_bytes=0)
    again = open_log(url)
    assert again.identity(TOPIC) == log.identity(TOPIC) == name
    again.close()
    assert MemoryLog().identity(TOPIC) != MemoryLog().identity(TOPIC)


def test_records_carry_the_time_of_the_append(log: Log) -> None:
    begun = time.time_ns()
    append(log, "a")
    ended = time.time_ns()
    (record,) = records(log)
    assert begun // MILLISECOND <= record.at // MILLISECOND <= ended // MILLISECOND


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(st.tuples(text, st.binary(), st.dictionaries(names, text)), min_size=1))
def test_keys_headers_and_values_come_back_unchanged(
    log: Log, batch: list[tuple[str, bytes, dict[str, str]]]
) -> None:
    start, producer = log.end(TOPIC), log.producer()
    producer.append([Message(TOPIC, *parts) for parts in batch])
    producer.close()
    found = [(record.key, record.value, dict(record.headers)) for record in records(log, start=start)]
    assert sorted(found, key=repr) == sorted(batch, key=repr)


def test_a_header_may_hold_what_is_no_text_elsewhere(log: Log) -> None:
    log.producer().append([Message(TOPIC, "k", b"a", {"davy.message": "bad \ud800"})])
    assert [dict(record.headers) for record in records(log)] == [{"davy.message": "bad \ud800"}]


def test_large_values_come_back_unchanged(log: Log) -> None:
    large = bytes(range(256)) * 80_000
    append(log, large, b"", large[::-1])
    assert [record.value for record in records(log)] == [large, b"", large[::-1]]


def test_a_message_that_cannot_be_kept_keeps_its_whole_batch_out(log: Log) -> None:
    good = Message(TOPIC, "good", b"a")
    with pytest.raises(Refused, match=r"key.*UTF-8"):
        log.producer().append([good, Message(TOPIC, "bad \ud800", b"b")])
    with pytest.raises(Refused, match=r"headers.*zero byte"):
        log.producer().append([good, Message(TOPIC, "bad", b"b", {"\0": ""})])
    assert values(log) == []


def test_closed_producers_and_consumers_refuse_and_closing_twice_is_harmless(log: Log) -> None:
    producer, consumer = log.producer(), log.consumer([TOPIC], "detect")
    for closed in (producer, consumer, log):
        closed.close()
        closed.close()
    with pytest.raises(LogError, match="closed"):
        producer.append([Message(TOPIC, "k", b"a")])
    with pytest.raises(LogError, match="closed"):
        consumer.poll()


@pytest.mark.fast
def test_a_consumer_of_a_log_that_another_took_the_place_of_says_so(tmp_path: Path) -> None:
    log = SqliteLog(f"sqlite:///{tmp_path}/log")
    append(log, "a", "b", "c")
    consumer, name = log.consumer([TOPIC], "detect"), log.identity(TOPIC)
    take(consumer, 2, max_records=1)
    shutil.rmtree(tmp_path / "log")
    append(log, *"uvwxyz")
    with pytest.raises(LogError, match="another log took its place"):
        consumer.poll()
    assert log.identity(TOPIC) != name
    assert [record.value for record in take(log.consumer([TOPIC], "detect"), 6)] == [
        b"u",
        b"v",
        b"w",
        b"x",
        b"y",
        b"z",
    ]


class Clock:
    """A clock a test sets."""

    now = 1000 * SECOND

    def __call__(self) -> int:
        return self.now


operations = st.one_of(
    st.tuples(st.just("append"), st.lists(st.tuples(st.sampled_from([TOPIC, OTHER]), st.binary(max_size=9)))),
    st.tuples(st.just("retain"), st.integers(0, 60)),
    st.tuples(st.just("expire"), st.integers(0, 5)),
    st.tuples(st.just("poll"), st.integers(1, 5)),
    st.tuples(st.just("seek"), st.integers(0, 40)),
    st.tuples(st.just("reopen"), st.none()),
)


def replay(make: Callable[[Clock], Log], history: list[tuple[str, object]]) -> list[object]:
    """Everything a reader sees of a log while a history happens to it."""
    clock = Clock()
    log, seen = make(clock), []
    consumer = log.consumer([TOPIC, OTHER], "detect")
    for verb, argument in history:
        clock.now += SECOND
        match verb, argument:
            case "append", list():
                log.producer().append([Message(topic, "k", value) for topic, value in argument])
            case "retain", int():
                seen.append(log.retain(max_bytes=argument))
            case "expire", int():
                seen.append(log.retain(before=clock.now - argument * SECOND))
            case "poll", int():
                seen.append(consumer.poll(max_records=argument, timeout=0))
                consumer.commit(consumer.position())
            case "seek", int():
                consumer.seek({(TOPIC, 0): argument})
            case _:
                log = log if isinstance(log, MemoryLog) else make(clock)
                consumer = log.consumer([TOPIC, OTHER], "detect")
        seen += [consumer.lag(), consumer.position(), log.start(TOPIC), log.end(OTHER)]
    return [*seen, *log.read(TOPIC, 0, 0), *log.read(OTHER, 0, 0)]


@pytest.mark.fast
@settings(max_examples=60)
@given(history=st.lists(operations, max_size=12))
def test_memory_and_sqlite_show_the_same_after_any_history(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, object]]
) -> None:
    directory = tmp_path_factory.mktemp("log")
    in_memory = replay(lambda clock: MemoryLog("history", clock=clock), history)
    assert replay(lambda clock: SqliteLog(f"sqlite:///{directory}", clock=clock), history) == in_memory


@pytest.mark.fast
def test_memory_logs_of_one_name_are_one_log() -> None:
    append(open_log("memory://shared-log"), "a")
    assert values(open_log("memory://shared-log")) == ["a"]
    assert values(open_log("memory://another-log")) == []
    assert open_log("memory://") is open_log("memory://")


def test_what_waits_behind_a_position_is_told_with_the_time_of_the_oldest(log: Log) -> None:
    append(log, "a", "b", "c", key="iris:1")
    first, second, *_ = take(log.consumer([TOPIC], "detect"), 3)
    spot = (first.topic, first.partition)
    assert log.waiting({spot: first.offset}) == Waiting(3, first.at)
    assert log.waiting({spot: second.offset}) == Waiting(2, second.at)
    assert log.waiting(log.end(TOPIC)) == log.waiting({}) == Waiting()


def test_a_probe_leaves_no_record_and_moves_no_group(log: Log) -> None:
    append(log, "a")
    before = log.end(TOPIC)
    assert log.probe(5.0)
    assert log.damage(5.0) == ""
    assert log.end(TOPIC) == before
    assert values(log) == ["a"]
