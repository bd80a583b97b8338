"""`davy status` tells who works on what and how far it is, whoever runs and whatever does not answer."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from support.gateway_rig import LocalClient, opened
from support.reading_role import Reading
from support.streams import SECOND, Clock

import davy.status
from davy import console
from davy.cli import run_app
from davy.codec import dump_any
from davy.config import Settings
from davy.consume import Loop
from davy.demo.processes import free_port
from davy.doctor import examine
from davy.errors import LogError, StoreError
from davy.event import INFERENCES
from davy.gateway.app import make_health_app
from davy.health import read_status
from davy.health.asking import at_once
from davy.health.progress import Progress
from davy.health.roles import Heart
from davy.health.status import RoleStatus, Status
from davy.log import Message
from davy.runner import open_runtime, open_what_answers
from davy.runtime import Pulse, Runtime
from davy.store import Batch

pytestmark = pytest.mark.fast
READS = {"detect": (INFERENCES,)}


class Working:
    """A process with the role `detect` on a runtime; tells of it when asked to."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = replace(runtime, pulse=Pulse())
        self.loop = Loop(self.runtime, Reading(), max_records=5)
        self._heart = Heart(self.runtime)
        self._progress = Progress(self.runtime, "detect", (INFERENCES,))

    def step(self) -> None:
        self.loop.step()
        self.runtime.pulse.beat("detect")
        self.tell()

    def tell(self) -> None:
        self._heart.beat({"detect": self._progress})

    def leave(self) -> None:
        self.loop.close()
        self._heart.stop()


def append(runtime: Runtime, count: int) -> None:
    runtime.log.producer().append([Message(INFERENCES, "m:1", b"x") for _ in range(count)])


def detect(status: Status) -> RoleStatus:
    (role,) = status.roles
    return role


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runtime(clock: Clock) -> Iterator[Runtime]:
    with opened(clock=clock) as made:
        made.log._log._clock = clock  # type: ignore[attr-defined]
        yield made


def test_a_process_is_told_with_its_host_version_age_partitions_and_last_error(runtime: Runtime) -> None:
    append(runtime, 7)
    working = Working(runtime)
    working.runtime.failed("detect", LogError("log", "kafka://user:secret@broker", "failed"))
    working.step()
    role = detect(read_status(runtime, READS))
    (process,) = role.processes
    assert (process.host, process.pid, process.version) == (
        socket.gethostname()[:40],
        os.getpid(),
        version("davy"),
    )
    assert (process.alive, process.holds) == (True, [f"{INFERENCES}/0"])
    assert process.up is not None
    assert 0 <= process.silent <= process.up < 60
    assert process.error.startswith("LogError: log: ")
    assert "secret" not in process.error
    assert (role.error, role.failed) == (process.error, process.failed)
    (place,) = role.places
    assert (place.position, place.end, place.unread, place.process) == (6, 8, 2, process.process)
    working.loop.close()


def test_lag_is_told_in_records_and_in_seconds(runtime: Runtime, clock: Clock) -> None:
    working = Working(runtime)
    append(runtime, 7)
    clock.now += 30 * SECOND
    append(runtime, 3)
    clock.now += 10 * SECOND
    before = detect(read_status(runtime, READS))
    assert (before.unread, before.behind) == (10, 40.0)
    working.step()
    working.step()
    after = detect(read_status(runtime, READS))
    assert (after.unread, after.behind) == (0, 0.0)
    append(runtime, 1)
    clock.now += 5 * SECOND
    working.tell()
    late = detect(read_status(runtime, READS))
    assert (late.unread, late.behind, late.places[0].behind) == (1, 5.0, 5.0)
    assert late.found == "1 process, 1 records unread, the oldest for 5 s"
    working.loop.close()


def test_of_two_processes_one_has_the_partitions_and_the_other_stands_by(runtime: Runtime) -> None:
    append(runtime, 1)
    one, other = Working(runtime), Working(runtime)
    for working in (one, other):
        working.step()
    told = detect(read_status(runtime, READS))
    assert sorted(len(process.holds) for process in told.processes) == [0, 1]
    one.leave()
    other.step()
    (left,) = detect(read_status(runtime, READS)).processes
    assert left.holds == [f"{INFERENCES}/0"]
    other.leave()


def test_all_detect_processes_stopped_and_5000_sent_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}")
    with open_runtime() as runtime:
        workers = [Working(runtime), Working(runtime), Working(runtime)]
        for working in workers:
            working.step()
        assert run_app(["status"]) == 0
        assert "role detect\tok\t3 processes, 0 records unread" in capsys.readouterr().out
        for working in workers:
            working.leave()
        append(runtime, 5_000)
    assert run_app(["status"]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("role detect"))
    assert "wrong\truns in no process, 5,000 records unread" in line
    assert "davy run detect" in line
    assert run_app(["status", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    (role,) = (one for one in told["roles"] if one["role"] == "detect")
    assert (told["state"], role["unread"], role["processes"]) == ("wrong", 5_000, [])


def test_who_died_is_told_as_gone_with_when_it_was_heard_of(runtime: Runtime, clock: Clock) -> None:
    working = Working(runtime)
    working.step()
    clock.now += 16 * SECOND
    append(runtime, 1)
    role = detect(read_status(runtime, READS))
    assert (role.state, role.found.startswith("runs in no process since")) == ("wrong", True)
    (process,) = role.processes
    assert (process.alive, process.told) == (False, 16.0)
    assert role.places[0].process == ""
    working.loop.close()


def test_what_an_older_davy_tells_is_understood(runtime: Runtime) -> None:
    now = runtime.clock()
    told = {"v": 1, "topics": [INFERENCES], "at": now, "done_at": now, "moved_at": now}
    runtime.store.apply(Batch().put("heartbeats", "detect/host-1-abc", dump_any(told)))
    role = detect(read_status(runtime, READS))
    assert (role.state, role.processes[0].process, role.processes[0].up) == ("ok", "host-1-abc", None)


class Away:
    """A store or log that answers nothing."""

    url = "memory://away"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


def test_without_the_log_processes_and_positions_are_told(runtime: Runtime) -> None:
    append(runtime, 7)
    working = Working(runtime)
    working.step()
    away = replace(runtime, log=Away(LogError("log", "kafka://broker", "failed; are the brokers up?")))  # type: ignore[arg-type]
    status = read_status(away, {**READS, "retain": ()})
    assert (status.log.state, status.store.state, status.state) == ("wrong", "ok", "wrong")
    role, retain = status.roles
    assert (role.state, role.unread, role.behind, len(role.processes)) == ("warning", None, None, 1)
    assert "how much is unread is not known" in role.found
    assert [(place.position, place.end, place.unread) for place in role.places] == [(6, None, None)]
    assert retain.found == "runs in no process"
    working.loop.close()


def test_without_the_store_every_role_and_the_ends_of_the_log_are_told(runtime: Runtime) -> None:
    append(runtime, 7)
    away = replace(runtime, store=Away(StoreError("store", "redis://shelf", "cannot be reached: start it")))  # type: ignore[arg-type]
    status = read_status(away, {**READS, "retain": ()})
    assert (status.log.state, status.store.state, status.state) == ("ok", "wrong", "wrong")
    assert [(role.role, role.state) for role in status.roles] == [
        ("detect", "warning"),
        ("retain", "warning"),
    ]
    assert all("the store cannot be read" in role.found for role in status.roles)
    assert [(place.position, place.end) for place in status.roles[0].places] == [(None, 8)]
    json.dumps(status.shown())


def test_what_hangs_is_left_behind_and_the_rest_is_told(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(runtime, 7)
    over = threading.Event()

    def hang(collection: str) -> object:
        over.wait(60)
        raise StoreError("store", "shelf", "is closed")

    monkeypatch.setattr(runtime.store, "items", hang)
    begun = time.monotonic()
    status = read_status(runtime, READS, seconds=0.2)
    assert time.monotonic() - begun < 10
    over.set()
    assert "has not answered for 0.2 s" in status.store.found
    assert (status.log.state, detect(status).places[0].end) == ("ok", 8)


def test_an_answer_that_comes_late_changes_nothing() -> None:
    over = threading.Event()
    found = at_once({"slow": lambda: over.wait(30), "quick": lambda: 1}, 0.1)
    over.set()
    assert found["quick"] == 1
    assert "has not answered for 0.1 s" in str(found["slow"])


def test_status_doctor_and_readyz_say_the_same_of_a_role(runtime: Runtime) -> None:
    append(runtime, 7)
    (wrong,) = read_status(runtime, READS).checks()
    assert wrong.state == "wrong"
    assert wrong in examine(runtime)
    with LocalClient(make_health_app(replace(runtime, pulse=Pulse()))) as client:
        findings = client.get("/readyz").json()["findings"]
    assert wrong.softened().shown() in findings


def test_where_log_and_store_are_locked_status_doctor_and_readyz_say_so_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("davy.health.places.PROBE_SECONDS", 0.2)
    clock = Clock()
    with opened(f"sqlite:///{tmp_path}", clock=clock) as runtime, ExitStack() as locks:
        working = Working(runtime)
        working.step()
        working.loop.close()
        clock.now += 28 * SECOND
        for name in ("log.db", "store.db"):
            held = locks.enter_context(closing(sqlite3.connect(tmp_path / name, isolation_level=None)))
            held.execute("BEGIN EXCLUSIVE")
        status = davy.status.look(runtime)
        told = {check.what: check for check in (*status.places(), *status.checks())}
        assert [told[what].state for what in ("log", "store")] == ["wrong", "wrong"]
        assert "another process held it for 0.2 s" in told["store"].remedy
        assert status.state == "wrong"
        assert "nothing was heard of it since" in told["role detect"].found
        with console.printing():
            davy.status.show(status, as_json=False)
        printed = capsys.readouterr().out
        assert "not heard for 28 s" in printed
        assert "gone" not in printed
        assert [one.alive for role in status.roles for one in role.processes] == [None]
        doctor = {check.what: check for check in examine(runtime)}
        with LocalClient(make_health_app(replace(runtime, pulse=Pulse()))) as client:
            ready = {one["what"]: one for one in client.get("/readyz").json()["findings"]}
        for what in ("log", "store"):
            assert told[what] == doctor[what]
            assert told[what].shown() == ready[what]
        for what in {what for what in told if what.startswith("role ")}:
            assert told[what] == doctor[what]
            assert told[what].shown() == ready[what]


def test_what_is_damaged_is_said_of_the_store_by_status_and_doctor_alike(tmp_path: Path) -> None:
    settings = Settings(url=f"sqlite:///{tmp_path}")
    with open_runtime(settings) as runtime:
        batch = Batch()
        for number in range(400):
            batch.put("shelf", f"{number:04}", b"lamp" * 50)
        runtime.store.apply(batch)
    garble(tmp_path / "store.db")
    with open_what_answers(settings) as runtime:
        status = {check.what: check for check in davy.status.look(runtime).places()}
    with open_what_answers(settings) as runtime:
        doctor = {check.what: check for check in examine(runtime)}
    for what in ("store", "store file"):
        assert status[what] == doctor[what]
        assert (status[what].state, "damaged" in f"{status[what]}") == ("wrong", True)
    assert status["log"] == doctor["log"]
    assert status["log"].state == "ok"


def garble(path: Path) -> None:
    """Overwrite the middle third of a file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    third = path.stat().st_size // 3
    with path.open("r+b") as file:
        file.seek(third)
        file.write(bytes(at * 7 & 255 for at in range(third)))


def test_a_second_fault_is_not_hidden_behind_the_first(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    settings = Settings(
        url=f"kafka://127.0.0.1:{free_port()}?answer_seconds=0.5",
        store_url=f"redis://127.0.0.1:{free_port()}?timeout=1",
        blob_url=f"file:///{tmp_path}/blobs",
    )
    with open_what_answers(settings) as runtime:
        found = {check.what: check.state for check in examine(runtime)}
    assert (found["log"], found["store"], found["blobs"]) == ("wrong", "wrong", "ok")
    assert found["role detect"] == found["role mine"] == "warning"
    assert not {what for what in found if what.startswith(("kafka", "redis"))}


def test_opening_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(url=f"sqlite:///{tmp_path}")
    with open_runtime(settings) as runtime:
        append(runtime, 3)
    over = threading.Event()

    def hang(url: str) -> object:
        over.wait(60)
        raise StoreError("store", url, "is closed")

    monkeypatch.setattr("davy.runner.open_store", hang)
    begun = time.monotonic()
    with open_what_answers(settings, seconds=0.2) as runtime:
        status = read_status(runtime, READS)
    assert time.monotonic() - begun < 10
    over.set()
    assert "has not answered for 0.2 s" in status.store.found
    assert detect(status).places[0].end == 4


def test_watching_looks_again_until_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}")
    with open_runtime():
        pass
    looks = iter([None, KeyboardInterrupt()])

    def sleep(seconds: float) -> None:
        assert seconds == 2.5
        if (over := next(looks)) is not None:
            raise over

    monkeypatch.setattr("davy.cli.time.sleep", sleep)
    assert run_app(["status", "--json", "--watch", "2.5"]) == 130
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["at"] < second["at"]


def test_names_that_strangers_chose_cannot_steer_the_terminal(
    runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    now = runtime.clock()
    told = {
        "v": 1,
        "topics": [],
        "at": now,
        "done_at": now,
        "moved_at": now,
        "error": "x\x1b[2J\ny",
        "failed_at": now,
    }
    runtime.store.apply(Batch().put("heartbeats", "detect/host\x1b[2J", dump_any(told)))
    with console.printing():
        davy.status.show(read_status(runtime, {}), as_json=False)
    assert "\x1b" not in capsys.readouterr().out
