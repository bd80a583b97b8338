"""What every log keeps when records are deleted and erased, whichever URL opened it."""

from __future__ import annotations

import threading
from dataclasses import replace

from support.logs import OTHER, TOPIC, append, append_apart, offsets, place, records, take, values

from davy.log import Log, Message


def test_offsets_never_go_back_after_retention_emptied_the_log(url: str, log: Log) -> None:
    append(log, "a", "b", "c")
    end = log.end(TOPIC)
    assert log.retain(max_bytes=0) == 3
    assert offsets(log) == []
    assert log.start(TOPIC) == log.end(TOPIC)
    assert all(log.end(TOPIC)[partition] >= offset for partition, offset in end.items())
    log.close()
    append(log, "d")
    assert offsets(log)[0] >= end[place(log)]


def test_a_consumer_goes_on_at_the_next_record_after_retention_emptied_the_log(log: Log) -> None:
    consumer = log.consumer([TOPIC], "detect")
    append(log, "a", "b")
    take(consumer, 2)
    log.retain(max_bytes=0)
    append(log, "c")
    assert [record.value for record in take(consumer, 1)] == [b"c"]


def test_lag_does_not_count_what_retention_removed(log: Log) -> None:
    append_apart(log, "a", "b", "c", "d")
    log.retain(max_bytes=3)
    assert log.consumer([TOPIC, OTHER], "detect").lag() == 3


def test_read_begins_at_the_oldest_record_kept(log: Log) -> None:
    append_apart(log, "a", "b", "c", topics=[TOPIC])
    log.retain(max_bytes=2)
    assert [record.value for record in log.read(TOPIC, place(log)[1], 0)] == [b"b", b"c"]


def test_retention_by_age_deletes_what_was_appended_before(log: Log) -> None:
    append_apart(log, "a", "b", "c", "d")
    third = records(log)[1].at
    assert log.retain(before=third) == 2
    assert (values(log), values(log, OTHER)) == (["c"], ["d"])
    assert log.retain(before=third) == 0


def test_retention_by_size_deletes_the_oldest_over_all_topics(log: Log) -> None:
    append_apart(log, "aaaa", "bbb", "cc", "d")
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

    def write() -> None:
        producer = log.producer()
        for _ in range(100):
            producer.append([Message(TOPIC, "iris:1", b"new")])

    writer = threading.Thread(target=write)
    writer.start()
    deleted = log.retain(max_bytes=0)
    writer.join()
    assert deleted >= 2500
    assert deleted + len(values(log)) == 2600
    assert set(values(log)) <= {"new"}


def test_an_erased_record_keeps_everything_but_its_value_where_a_log_can_erase(log: Log) -> None:
    append(log, "a", "secret", "c")
    append(log, "elsewhere", topic=OTHER)
    before = [*records(log, TOPIC), *records(log, OTHER)]
    reader = log.consumer([TOPIC], "detect")
    log.erase(*place(log), {before[1].offset: b"", 999: b"nothing is there"})
    after = [*records(log, TOPIC), *records(log, OTHER)]
    assert after == ([before[0], replace(before[1], value=b""), *before[2:]] if log.erases else before)
    assert take(reader, 3) == after[:3]
    append(log, "d")
    assert offsets(log)[-1] > before[2].offset


def test_erasing_an_offset_of_another_topic_or_partition_changes_nothing(log: Log) -> None:
    append(log, "a")
    (offset,) = offsets(log)
    log.erase(OTHER, place(log)[1], {offset: b""})
    log.erase(TOPIC, place(log)[1] + 1, {offset: b""})
    assert values(log) == ["a"]


def test_a_dry_run_counts_what_would_go_and_deletes_nothing(log: Log) -> None:
    append_apart(log, "aaaa", "bbb", "cc", "d")
    assert log.retain(max_bytes=3, dry_run=True) == 2
    assert log.retain(before=records(log, OTHER)[-1].at, dry_run=True) == 3
    assert (values(log), values(log, OTHER)) == (["aaaa", "cc"], ["bbb", "d"])


def test_extent_tells_what_is_held_and_what_was_appended_since(log: Log) -> None:
    nothing = log.extent(0)
    assert (nothing.held, nothing.grown, nothing.since) == (0, 0, None)
    append_apart(log, "aaaa", "bbb", "cc", "d")
    (_, third), (_, fourth) = records(log), records(log, OTHER)
    everything, some, last = log.extent(0), log.extent(third.at), log.extent(fourth.at + 1)
    assert (everything.held, everything.grown, everything.since) == (10, 10, records(log)[0].at)
    assert (some.held, some.grown, some.since) == (10, 3, third.at)
    assert (last.grown, last.since) == (0, None)
    log.retain(max_bytes=3)
    assert (log.extent(0).held, log.extent(0).since) == (3, third.at)


def test_shrinking_loses_nothing(log: Log) -> None:
    append(log, *["x" * 5_000] * 300)
    log.retain(max_bytes=50_000)
    before = records(log)
    assert log.shrink(everything=True) >= 0
    assert records(log) == before
    append(log, "next")
    assert records(log)[:-1] == before
    assert values(log)[-1] == "next"
