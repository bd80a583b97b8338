"""What every log keeps, whichever URL opened it."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from davy.errors import LogError
from davy.log import Log, Message, Partition, Position, open_log
from davy.log.memory import MemoryLog
from davy.log.sqlite import SqliteLog

pytestmark = pytest.mark.fast

TOPIC, OTHER = "davy.inferences", "davy.feedback"
SECOND = 10**9
text = st.text(st.characters(exclude_categories=["Cs"]))


class Clock:
    """A clock a test sets."""

    now = 1000 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"memory": f"memory://{tmp_path}", "sqlite": f"sqlite:///{tmp_path}/log"}[request.param]


@pytest.fixture
def log(url: str) -> Log:
    return open_log(url)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(url: str, clock: Clock) -> Log:
    return SqliteLog(url, clock=clock) if url.startswith("sqlite") else MemoryLog("timed", clock=clock)


def append(log: Log, *values: str | bytes, topic: str = TOPIC, key: str = "iris:1") -> None:
    log.producer().append(
        [Message(topic, key, value if isinstance(value, bytes) else value.encode()) for value in values]
    )


def values(log: Log, topic: str = TOPIC) -> list[str]:
    return [record.value.decode() for record in log.read(topic, 0, 0)]


def offsets(log: Log, topic: str = TOPIC) -> list[int]:
    return [record.offset for record in log.read(topic, 0, 0)]


def test_records_come_in_the_order_of_the_appends_with_growing_offsets(log: Log) -> None:
    append(log, "a", "b")
    append(log, "c")
    records = log.consumer([TOPIC], "detect").poll()
    assert [record.value for record in records] == [b"a", b"b", b"c"]
    found = [record.offset for record in records]
    assert found == sorted(set(found))


def test_records_of_several_topics_come_in_the_order_of_the_appends(log: Log) -> None:
    consumer = log.consumer([TOPIC, OTHER], "detect")
    for number in range(6):
        append(log, str(number), topic=(TOPIC, OTHER)[number % 2])
    polls = [[record.value.decode() for record in consumer.poll(max_records=4)] for _ in range(2)]
    assert polls == [["0", "1", "2", "3"], ["4", "5"]]


def test_nothing_is_lost_or_reordered_within_a_key_under_several_threads(log: Log) -> None:
    def write(key: str) -> None:
        producer = log.producer()
        for number in range(50):
            producer.append([Message(TOPIC, key, b"%d" % (2 * number + place)) for place in range(2)])

    threads = [threading.Thread(target=write, args=(f"model:{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    consumer, seen = log.consumer([TOPIC], "detect"), defaultdict(list)
    while sum(map(len, seen.values())) < 400:
        found = consumer.poll(max_records=37, timeout=10)
        assert found, "records are missing"
        for record in found:
            seen[record.key].append(int(record.value))
    for thread in threads:
        thread.join()
    assert dict(seen) == {f"model:{i}": list(range(100)) for i in range(4)}
    assert consumer.poll(timeout=0) == []


def test_a_poll_returns_as_soon_as_a_record_is_there(log: Log) -> None:
    consumer, begun = log.consumer([TOPIC], "detect"), time.monotonic()
    writer = threading.Timer(0.1, append, (log, "late"))
    writer.start()
    records = consumer.poll(timeout=30)
    writer.join()
    assert [record.value for record in records] == [b"late"]
    assert time.monotonic() - begun < 10


def test_a_poll_without_records_lasts_its_timeout_and_uses_next_to_no_processor_time(log: Log) -> None:
    consumer = log.consumer([TOPIC, OTHER], "detect")
    begun, used = time.monotonic(), time.thread_time()
    assert consumer.poll(timeout=0.5) == []
    assert time.monotonic() - begun >= 0.5
    assert time.thread_time() - used < 0.1


def test_offsets_never_go_back_after_retention_emptied_the_log(url: str, log: Log) -> None:
    append(log, "a", "b", "c")
    end = log.end(TOPIC)
    assert log.retain(max_bytes=0) == 3
    assert offsets(log) == []
    assert log.start(TOPIC) == log.end(TOPIC)
    assert log.end(TOPIC)[TOPIC, 0] >= end[TOPIC, 0]
    log.close()
    again = open_log(url)
    append(again, "d")
    assert offsets(again)[0] >= end[TOPIC, 0]


def test_a_consumer_goes_on_at_the_next_record_after_retention_emptied_the_log(log: Log) -> None:
    consumer = log.consumer([TOPIC], "detect")
    append(log, "a", "b")
    consumer.poll()
    log.retain(max_bytes=0)
    append(log, "c")
    assert [record.value for record in consumer.poll()] == [b"c"]


def test_a_group_goes_on_where_it_committed_after_reopening(url: str, log: Log) -> None:
    append(log, "a", "b", "c")
    consumer = log.consumer([TOPIC], "detect")
    consumer.poll(max_records=2)
    consumer.commit(consumer.position())
    consumer.close()
    log.close()
    again = open_log(url)
    assert [r.value for r in again.consumer([TOPIC], "detect").poll()] == [b"c"]
    assert [r.value for r in again.consumer([TOPIC], "mine").poll()] == [b"a", b"b", b"c"]


def test_the_position_given_on_assignment_wins_over_the_commit(log: Log) -> None:
    append(log, "a", "b", "c")
    append(log, "x", "y", topic=OTHER)
    first = log.consumer([TOPIC, OTHER], "detect")
    first.poll()
    first.commit(first.position())
    asked: list[Partition] = []

    def stored(partitions: Sequence[Partition]) -> Position:
        asked.extend(partitions)
        return {(TOPIC, 0): offsets(log)[1]}

    second = log.consumer([TOPIC, OTHER], "detect", assigned=stored)
    assert asked == [(TOPIC, 0), (OTHER, 0)]
    assert [record.value for record in second.poll()] == [b"b", b"c"]


def test_seek_moves_the_position(log: Log) -> None:
    append(log, "a", "b", "c")
    consumer = log.consumer([TOPIC], "detect")
    consumer.poll()
    consumer.seek({(TOPIC, 0): offsets(log)[1]})
    assert consumer.position() == {(TOPIC, 0): offsets(log)[1]}
    assert [record.value for record in consumer.poll()] == [b"b", b"c"]
    assert consumer.position() == log.end(TOPIC)


@pytest.mark.parametrize("offset", [0, 10**9], ids=["removed", "beyond the end"])
def test_seek_to_what_is_not_kept_means_the_oldest_record(log: Log, offset: int) -> None:
    append(log, "a", "bb")
    log.retain(max_bytes=2)
    consumer = log.consumer([TOPIC], "detect")
    consumer.poll()
    consumer.seek({(TOPIC, 0): offset})
    assert consumer.position() == log.start(TOPIC)
    assert [record.value for record in consumer.poll()] == [b"bb"]


def test_lag_counts_the_records_not_read_yet(log: Log) -> None:
    consumer = log.consumer([TOPIC, OTHER], "detect")
    assert consumer.lag() == 0
    for _ in range(3):
        append(log, "a", "b")
        append(log, "x", topic=OTHER)
        append(log, "unrelated", topic="davy.labels")
    assert consumer.lag() == 9
    consumer.poll(max_records=4)
    assert consumer.lag() == 5
    log.retain(max_bytes=len("abx" + "unrelated"))
    assert consumer.lag() == 3
    consumer.poll()
    assert consumer.lag() == 0


def test_read_gives_the_records_from_start_to_before_stop(log: Log) -> None:
    append(log, *map(str, range(200)))
    append(log, "x", topic=OTHER)
    found = offsets(log)
    assert [r.value for r in log.read(TOPIC, 0, found[70], found[140])] == [b"%d" % i for i in range(70, 140)]
    assert [r.value for r in log.read(TOPIC, 0, found[198])] == [b"198", b"199"]
    assert list(log.read(TOPIC, 0, found[3], found[3])) == []
    assert list(log.read(TOPIC, 1, 0)) == []


def test_start_and_end_frame_the_records_of_a_topic(log: Log) -> None:
    append(log, "a", "b")
    append(log, "x", topic=OTHER)
    assert (log.start(TOPIC)[TOPIC, 0], log.end(TOPIC)[TOPIC, 0] - 1) == (offsets(log)[0], offsets(log)[-1])
    assert log.start("davy.nothing") == log.end("davy.nothing")


def test_records_carry_the_time_of_the_append(timed: Log, clock: Clock) -> None:
    append(timed, "a")
    clock.now += SECOND
    append(timed, "b")
    assert [record.at for record in timed.read(TOPIC, 0, 0)] == [1000 * SECOND, 1001 * SECOND]


def test_retention_by_age_deletes_what_was_appended_before(timed: Log, clock: Clock) -> None:
    for value in "abcd":
        append(timed, value, topic=TOPIC if value in "ac" else OTHER)
        clock.now += SECOND
    assert timed.retain(before=1002 * SECOND) == 2
    assert (values(timed), values(timed, OTHER)) == (["c"], ["d"])
    assert timed.retain(before=1002 * SECOND) == 0


def test_retention_by_size_deletes_the_oldest_over_all_topics(log: Log) -> None:
    for value in ("aaaa", "bbb", "cc", "d"):
        append(log, value, topic=TOPIC if value[0] in "ac" else OTHER)
    assert log.retain(max_bytes=10) == 0
    assert log.retain(max_bytes=5) == 2
    assert (values(log), values(log, OTHER)) == (["cc"], ["d"])
    append(log, "ee")
    assert log.retain(max_bytes=3) == 1
    assert (values(log), values(log, OTHER)) == (["ee"], ["d"])


def test_retention_without_a_bound_deletes_nothing(log: Log) -> None:
    append(log, "a")
    assert log.retain() == 0
    assert values(log) == ["a"]


def test_retention_deletes_thousands_while_a_writer_goes_on(log: Log) -> None:
    append(log, *["old"] * 2500)
    writer = threading.Thread(target=lambda: [append(log, "new") for _ in range(100)])
    writer.start()
    deleted = log.retain(max_bytes=0)
    writer.join()
    assert deleted >= 2500
    assert deleted + len(values(log)) == 2600
    assert set(values(log)) <= {"new"}


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=text, value=st.binary(), headers=st.dictionaries(text, text))
def test_keys_headers_and_values_come_back_unchanged(
    log: Log, key: str, value: bytes, headers: dict[str, str]
) -> None:
    start = log.end(TOPIC)[TOPIC, 0]
    log.producer().append([Message(TOPIC, key, value, headers)])
    (record,) = log.read(TOPIC, 0, start)
    assert (record.key, record.value, dict(record.headers)) == (key, value, headers)


def test_large_values_come_back_unchanged(log: Log) -> None:
    large = bytes(range(256)) * 80_000
    append(log, large, b"", large[::-1])
    assert [record.value for record in log.read(TOPIC, 0, 0)] == [large, b"", large[::-1]]


def test_a_message_that_cannot_be_kept_keeps_its_whole_batch_out(log: Log) -> None:
    with pytest.raises(LogError, match=r"key.*UTF-8"):
        log.producer().append([Message(TOPIC, "good", b"a"), Message(TOPIC, "bad \ud800", b"b")])
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


@settings(max_examples=60, deadline=None)
@given(history=st.lists(operations, max_size=12))
def test_memory_and_sqlite_show_the_same_after_any_history(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, object]]
) -> None:
    directory = tmp_path_factory.mktemp("log")
    in_memory = replay(lambda clock: MemoryLog("history", clock=clock), history)
    assert replay(lambda clock: SqliteLog(f"sqlite:///{directory}", clock=clock), history) == in_memory


def test_an_erased_record_keeps_everything_but_its_value(log: Log) -> None:
    append(log, "a", "secret", "c")
    append(log, "elsewhere", topic=OTHER)
    before = [*log.read(TOPIC, 0, 0), *log.read(OTHER, 0, 0)]
    reader = log.consumer([TOPIC], "detect")
    assert log.erase(TOPIC, 0, {before[1].offset: b"", 999: b"nothing is there"})
    after = [*log.read(TOPIC, 0, 0), *log.read(OTHER, 0, 0)]
    assert after == [before[0], replace(before[1], value=b""), *before[2:]]
    assert reader.lag() == 3
    assert reader.poll() == after[:3]
    append(log, "d")
    assert offsets(log)[-1] > before[-1].offset


def test_erasing_an_offset_of_another_topic_or_partition_changes_nothing(log: Log) -> None:
    append(log, "a")
    (offset,) = offsets(log)
    log.erase(OTHER, 0, {offset: b""})
    log.erase(TOPIC, 1, {offset: b""})
    assert values(log) == ["a"]


def test_memory_logs_of_one_name_are_one_log() -> None:
    append(open_log("memory://shared-log"), "a")
    assert values(open_log("memory://shared-log")) == ["a"]
    assert values(open_log("memory://another-log")) == []
    assert open_log("memory://") is open_log("memory://")
