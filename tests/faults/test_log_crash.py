"""The SQLite log under several processes, kill -9 at any moment, and fork."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.log_processes import TOPIC, process

from davy.log import Record, open_log
from davy.log.sqlite import SqliteLog


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/log"


def by_key(url: str) -> dict[str, list[tuple[int, int]]]:
    """Return batch and place of every record, by key, in order."""
    found = defaultdict(list)
    for record in open_log(url).read(TOPIC, 0, 0):
        batch, place = record.value.split(b"/")
        found[record.key].append((int(batch), int(place)))
    return dict(found)


def whole(batches: int, size: int) -> list[tuple[int, int]]:
    return [(number, place) for number in range(batches) for place in range(size)]


def test_several_processes_lose_and_reorder_nothing_while_another_reads(url: str) -> None:
    consumer = open_log(url).consumer([TOPIC], "detect")
    seen: list[Record] = []
    with ExitStack() as stack:
        for writer in range(4):
            stack.enter_context(process("append", url, f"writer {writer}", 100, 3))
        while len(seen) < 4 * 300:
            found = consumer.poll(timeout=60)
            assert found, f"{4 * 300 - len(seen)} records are missing"
            seen += found
    assert by_key(url) == {f"writer {writer}": whole(100, 3) for writer in range(4)}
    offsets = [record.offset for record in seen]
    assert offsets == [record.offset for record in open_log(url).read(TOPIC, 0, 0)]


def test_what_was_acknowledged_is_there_once_and_no_batch_is_half_written_after_kill_9(
    url: str, tmp_path: Path
) -> None:
    generator, acknowledged = random.Random(7), {}
    for life in range(12):
        key, heard = f"life {life}", -1
        with process("append", url, key, "-", 5) as writer:
            assert writer.stdout is not None
            for _ in range(generator.randint(1, 60)):
                heard = int(writer.stdout.readline())
            writer.kill()
            heard = max([heard, *map(int, writer.stdout.read().split())])
        acknowledged[key] = heard + 1
        kept = by_key(url)[key]
        # One batch more may be kept: killed after the commit, before the acknowledgement.
        assert kept in (whole(heard + 1, 5), whole(heard + 2, 5))
    assert Counter(by_key(url)).keys() == acknowledged.keys()
    connection = sqlite3.connect(tmp_path / "log/log.db")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_kill_9_before_any_statement_of_an_append_keeps_all_of_the_batch_or_none(tmp_path: Path) -> None:
    survived, statement = False, 0
    while not survived:
        statement += 1
        url = f"sqlite:///{tmp_path}/{statement}"
        with process("die", url, statement, 3) as writer:
            survived = writer.communicate(timeout=60)[0] == "survived\n"
        assert by_key(url)["first"] == whole(1, 3)
        assert by_key(url).get("second", []) == (whole(1, 3) if survived else [])
        open_log(url).consumer([TOPIC], "detect").poll()
    assert statement > 5


def test_offsets_go_on_after_kill_9_and_retention(url: str) -> None:
    newest = 0
    for life in range(3):
        with process("append", url, f"life {life}", "-", 2) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            writer.kill()
        log = SqliteLog(url)
        offsets = [record.offset for record in log.read(TOPIC, 0, 0)]
        assert min(offsets) > newest
        newest = max(offsets)
        log.retain(max_bytes=0)
        log.close()


def test_both_sides_of_a_fork_append_without_loss(url: str) -> None:
    with process("fork", url, 50) as forked:
        assert forked.wait(timeout=60) == 0
    assert by_key(url) == {"before": whole(1, 1), "parent": whole(50, 1), "child": whole(50, 1)}


def test_children_forked_while_a_thread_writes_append_without_loss(url: str) -> None:
    with process("fork_while_writing", url, 30) as forked:
        statuses = forked.communicate(timeout=100)[0].split()
    assert statuses == ["0"] * 30
    kept = by_key(url)
    assert kept["child"] == [(number, 0) for number in range(30)]
    assert kept["thread"] == whole(len(kept["thread"]), 1)
