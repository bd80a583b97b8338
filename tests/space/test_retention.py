"""Retention looks at once, can be asked for, gives the disk back what is free, and says how long its limits hold."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from davy import _sqlite
from davy._sqlite import Database
from davy.cli import run_app
from davy.config import Settings
from davy.demo.processes import wait_until
from davy.event import INFERENCES
from davy.log import Extent, Log, Message, open_log
from davy.log.sqlite import _MIGRATIONS, SqliteLog
from davy.retention import RetentionTarget, retain_now
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy.space import checks, forecast
from davy.store import Batch

pytestmark = pytest.mark.fast
HOUR = 3600 * 10**9
DAY = 24 * HOUR
MIB = 2**20


class Clock:
    def __init__(self) -> None:
        self.now = 1_000 * DAY

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runtime(tmp_path: Path, clock: Clock) -> Iterator[Runtime]:
    """A runtime on SQLite by a clock of the test's own."""
    settings = Settings(url=f"sqlite:///{tmp_path}/davy")
    with open_runtime(settings) as opened:
        log = SqliteLog(settings.url, clock=clock)
        yield replace(opened, log=log, clock=clock)
        log.close()


def append(log: Log, records: int, size: int = 64 * 1024) -> None:
    producer = log.producer()
    for _ in range(records):
        producer.append([Message(INFERENCES, "m:1", os.urandom(size))])


def disk(directory: Path, name: str = "log.db") -> int:
    return sum(path.stat().st_size for path in directory.glob(f"{name}*"))


def limits(runtime: Runtime, **log: Any) -> Runtime:
    return replace(runtime, settings=replace(runtime.settings, log=replace(runtime.settings.log, **log)))


def make_old(directory: Path, records: int) -> None:
    """Make a log as versions before this one did, with records that retention has deleted most of."""
    directory.mkdir(parents=True)
    with sqlite3.connect(directory / "log.db") as older:
        older.execute("PRAGMA journal_mode = WAL")
        for statement in (statement for statements in _MIGRATIONS for statement in statements):
            older.execute(statement)
        older.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
    older.close()
    log = open_log(f"sqlite:///{directory}")
    append(log, records)
    log.retain(max_bytes=20 * 64 * 1024)
    log.close()


def test_the_role_looks_at_once_and_the_file_shrinks(runtime: Runtime, tmp_path: Path, clock: Clock) -> None:
    append(runtime.log, 600)
    clock.now += 8 * DAY
    append(runtime.log, 1)
    before = disk(tmp_path / "davy")
    thread = threading.Thread(target=RetentionTarget(runtime).run)
    thread.start()
    try:
        wait_until(lambda: disk(tmp_path / "davy") < before / 3, "the file to shrink", seconds=30)
    finally:
        runtime.stop.set()
        thread.join()
    assert len(list(runtime.log.read(INFERENCES, 0, 0))) == 1
    assert runtime.log.damage(30) == ""


def test_the_role_leaves_room_for_what_comes_and_the_command_leaves_none(runtime: Runtime) -> None:
    append(runtime.log, 400)
    runtime.log.retain(max_bytes=MIB)
    RetentionTarget(runtime).retain()
    spare = runtime.log.extent(0).free
    assert 8 * MIB <= spare < 9 * MIB
    freed = retain_now(runtime).disk_bytes
    assert freed >= spare
    assert runtime.log.extent(0).free == 0
    assert retain_now(runtime).disk_bytes == 0


def test_the_store_shrinks_too(runtime: Runtime, tmp_path: Path) -> None:
    keys = [str(number) for number in range(300)]
    for key in keys:
        runtime.store.apply(Batch().put("c", key, os.urandom(64 * 1024)))
    batch = Batch()
    for key in keys[1:]:
        batch.delete("c", key)
    runtime.store.apply(batch)
    before = disk(tmp_path / "davy", "store.db")
    RetentionTarget(runtime).retain()
    assert disk(tmp_path / "davy", "store.db") < before - 9 * MIB
    assert dict(runtime.store.items("c")).keys() == {"0"}
    assert runtime.store.damage(30) == ""


def test_writers_and_readers_go_on_while_a_file_shrinks(runtime: Runtime) -> None:
    append(runtime.log, 1_200)
    runtime.log.retain(max_bytes=20 * 64 * 1024)
    longest, stop = [0.0], threading.Event()

    def write() -> None:
        producer = runtime.log.producer()
        while not stop.is_set():
            begun = time.monotonic()
            producer.append([Message(INFERENCES, "m:1", b"new")])
            longest[0] = max(longest[0], time.monotonic() - begun)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert runtime.log.shrink(everything=True) > 40 * MIB
    finally:
        stop.set()
        writer.join()
    assert longest[0] < 5
    values = [record.value for record in runtime.log.read(INFERENCES, 0, 0)]
    assert [len(value) for value in values[:20]] == [64 * 1024] * 20
    assert set(values[20:]) == {b"new"}
    assert runtime.log.damage(30) == ""


def test_a_checkpoint_waits_while_another_connection_makes_one(runtime: Runtime, tmp_path: Path) -> None:
    path, stop, waited = tmp_path / "davy" / "store.db", threading.Event(), []

    def checkpoint() -> None:
        with closing(sqlite3.connect(path)) as other:
            while not stop.is_set():
                other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    others = [threading.Thread(target=checkpoint) for _ in range(2)]
    for other in others:
        other.start()
    try:
        for number in range(20):
            runtime.store.apply(Batch().put("c", str(number), os.urandom(256 * 1024)))
            runtime.store.scrub()  # raises when the write-ahead file could not be cut
            waited.append(disk(tmp_path / "davy", "store.db-wal"))
    finally:
        stop.set()
        for other in others:
            other.join()
    assert waited == [0] * 20


def test_a_small_file_of_an_older_version_is_written_anew_and_shrinks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_old(tmp_path / "davy", 500)
    log = open_log(f"sqlite:///{tmp_path}/davy")
    before = log.extent(0)
    records = list(log.read(INFERENCES, 0, 0))
    assert (before.shrinks, before.free > 25 * MIB) == (False, True)
    with caplog.at_level("INFO", "davy.sqlite"):
        assert log.shrink() > 20 * MIB
    assert "was written anew" in caplog.text
    after = log.extent(0)
    assert (after.shrinks, after.held, list(log.read(INFERENCES, 0, 0))) == (True, before.held, records)
    append(log, 1)
    assert log.end(INFERENCES)[INFERENCES, 0] == records[-1].offset + 2
    log.close()


def test_a_large_one_is_written_anew_when_asked_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("davy._sqlite._REWRITE_BYTES", MIB)
    make_old(tmp_path / "davy", 300)
    log = open_log(f"sqlite:///{tmp_path}/davy")
    assert (log.shrink(everything=True), log.extent(0).shrinks) == (0, False)
    assert log.shrink(rewrite=True) > 15 * MIB
    assert log.extent(0).shrinks
    log.close()


def test_what_takes_too_long_unasked_is_given_up_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(connection: sqlite3.Connection) -> None:
        connection.set_progress_handler(lambda: 1, 20)
        try:
            rewrite(connection)
        finally:
            connection.set_progress_handler(None, 0)

    rewrite = _sqlite._rewrite
    monkeypatch.setattr("davy._sqlite._rewrite", interrupted)
    make_old(tmp_path / "davy", 400)
    log = open_log(f"sqlite:///{tmp_path}/davy")
    records = list(log.read(INFERENCES, 0, 0))
    assert (log.shrink(), log.extent(0).shrinks) == (0, False)
    assert list(log.read(INFERENCES, 0, 0)) == records
    assert log.damage(30) == ""
    append(log, 1)
    log.close()


def test_a_damaged_file_is_left_as_it_is(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[object] = []
    monkeypatch.setattr(Database, "shrink", lambda *_, **__: moved.append(1) or 0)
    assert runtime.log.shrink() == 0
    monkeypatch.setattr(runtime.log._database, "_damage", "page 3 is wrong")  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="page 3 is wrong"):
        runtime.log.shrink()
    assert len(moved) == 1


class TestCommand:
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}/davy")
        monkeypatch.setenv("DAVY_LOG_KEEP_BYTES", str(2 * MIB))
        now = time.time_ns()
        with open_runtime() as runtime:
            old = runtime.blobs.put(b"x" * 5_000, "image/png")
            runtime.blobs.put(b"young", "image/png")
            append(runtime.log, 200)
        path = tmp_path / "davy" / "blobs" / old.hash[:2] / old.hash[2:]
        os.utime(path, ns=(now - 3 * DAY, now - 3 * DAY))
        self.payload = path

    def run(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
        assert run_app(["retain", *arguments, "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    @pytest.mark.parametrize("arguments", [[], ["--dry-run"], ["--now", "--dry-run"]])
    def test_without_now_it_only_says_what_is_due(
        self, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = disk(tmp_path / "davy")
        found = self.run(capsys, *arguments)
        assert (found["records"], found["payloads"], found["payload_bytes"]) == (168, 1, 5_000)
        assert (found["disk_bytes"], found["held_bytes"]) == (0, 200 * 64 * 1024)
        assert self.payload.exists()
        assert disk(tmp_path / "davy") >= before

    def test_with_now_it_deletes_and_says_what_the_disk_got_back(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = disk(tmp_path / "davy")
        found = self.run(capsys, "--now")
        assert (found["records"], found["payloads"], found["held_bytes"]) == (168, 1, 2 * MIB)
        assert not self.payload.exists()
        assert found["disk_bytes"] >= 10 * MIB
        assert disk(tmp_path / "davy") < before - 10 * MIB
        again = self.run(capsys, "--now")
        assert (again["records"], again["payloads"], again["names"]) == (0, 0, 0)

    def test_a_file_that_cannot_shrink_is_said_with_the_way_out(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("davy._sqlite._REWRITE_BYTES", 0)
        make_old(tmp_path / "old", 100)
        monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}/old")
        assert run_app(["retain", "--now", "--json"]) == 0
        assert "davy retain --now --rewrite" in capsys.readouterr().err
        assert run_app(["retain", "--now", "--rewrite", "--json"]) == 0
        said = capsys.readouterr()
        assert (json.loads(said.out)["file_free_bytes"], said.err) == (0, "")


def test_doctor_says_for_how_many_days_the_limits_hold(runtime: Runtime, clock: Clock) -> None:
    begun = clock.now
    for _ in range(48):  # two days, of which the second brings twice as much
        append(runtime.log, 2 if clock.now - begun >= DAY else 1, size=10_000)
        clock.now += HOUR
    day = 48 * 10_000
    enough, short = limits(runtime, keep_bytes=8 * day), limits(runtime, keep_bytes=3 * day)
    (check,) = checks(enough)
    assert (check.what, check.state) == ("log days", "ok")
    assert "7.0 days are kept" in check.found
    check, *_ = checks(short)
    assert check.state == "warning"
    assert "3.0 days are kept" in check.found
    assert f"DAVY_LOG_KEEP_BYTES={7 * day}" in check.remedy


def test_of_a_log_of_minutes_nothing_is_foretold(runtime: Runtime, clock: Clock) -> None:
    append(runtime.log, 3)
    clock.now += HOUR // 10
    (check,) = checks(runtime)
    assert (check.state, "not known yet" in check.found) == ("ok", True)


def test_doctor_says_when_the_disk_has_no_room_for_the_limits_and_when_a_file_cannot_shrink(
    runtime: Runtime, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = Extent(2**50, 2**50, clock.now - DAY, disk=2**50, used=2**50, free=2**40, shrinks=False)
    monkeypatch.setattr(runtime.log, "extent", lambda _: many)
    found = {check.what: check for check in checks(limits(runtime, keep_bytes=2**52))}
    assert {name: check.state for name, check in found.items()} == {
        "log days": "warning", "log room": "warning", "log file size": "warning",
    }  # fmt: skip
    assert "--rewrite" in found["log file size"].remedy


@pytest.mark.parametrize("keep_days", [0.5, 3, 7])
def test_what_is_foretold_of_the_disk_comes_true(runtime: Runtime, clock: Clock, keep_days: float) -> None:
    hours, size = 12, 20_000
    for _ in range(hours):
        append(runtime.log, 3, size)
        clock.now += HOUR
    limited = limits(runtime, keep_hours=keep_days * 24)
    ahead = forecast(runtime.log.extent(clock.now - DAY), clock.now, keep_days * 24, 20 * 2**30)
    assert ahead is not None
    for _ in range(int((keep_days + 1) * 24) - hours):
        append(runtime.log, 3, size)
        clock.now += HOUR
        limited.log.retain(before=clock.now - int(keep_days * DAY))
    assert runtime.log.extent(0).used == pytest.approx(ahead.disk_bytes, rel=0.05)
