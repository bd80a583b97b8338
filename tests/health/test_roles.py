"""Whether roles get on is told by what they did, in this process and for others, also when all stands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.gateway_rig import LocalClient, opened
from support.reading_role import Reading
from support.streams import SECOND, Clock

from davy.config import ArchiveSettings, Settings
from davy.consume import Loop
from davy.demo.processes import free_port, wait_until
from davy.errors import StoreError
from davy.event import INFERENCES
from davy.gateway.app import make_health_app
from davy.health import Health
from davy.health.progress import Progress, read_through
from davy.health.roles import Heart, expected_roles, own_checks
from davy.health.status import told_checks
from davy.log import Message
from davy.runner import make_roles, open_runtime, run
from davy.runtime import Pulse, Runtime

pytestmark = pytest.mark.fast
READS = {"detect": (INFERENCES,)}


class World:
    """A role on a log, a progress that follows it, and clocks that move by hand."""

    def __init__(self, runtime: Runtime) -> None:
        self.clock, self.seconds = Clock(), 0.0
        self.runtime = replace(runtime, clock=self.clock, pulse=Pulse(clock=lambda: self.seconds))
        self.loop = Loop(self.runtime, Reading(), max_records=5)
        self.progress = Progress(self.runtime, "detect", (INFERENCES,))
        self.heart = Heart(self.runtime)

    def pass_time(self, seconds: float) -> None:
        self.clock.now += int(seconds * SECOND)
        self.seconds += seconds

    def append(self, count: int) -> None:
        self.runtime.log.producer().append([Message(INFERENCES, "m:1", b"x") for _ in range(count)])

    def step(self) -> None:
        self.loop.step()
        self.runtime.pulse.beat("detect")

    def own(self) -> tuple[str, str]:
        (check,) = own_checks(self.runtime, {"detect": self.progress})
        return check.state, check.found

    def told(self) -> tuple[str, str]:
        (check,) = told_checks(self.runtime, READS)
        return check.state, check.found


@pytest.fixture
def world() -> Iterator[World]:
    clock = Clock()
    with opened(clock=clock) as runtime:
        runtime.log._log._clock = clock  # type: ignore[attr-defined]
        made = World(runtime)
        made.clock = clock
        made.runtime = replace(made.runtime, clock=clock)
        made.progress = Progress(made.runtime, "detect", (INFERENCES,))
        made.heart = Heart(made.runtime)
        yield made
        made.loop.close()


def test_a_role_that_reads_or_finds_nothing_to_read_is_well(world: World) -> None:
    for count in (0, 3, 20):
        world.append(count)
        world.step()
        world.pass_time(19)
        world.progress.look()
        assert world.own()[0] == "ok"


def test_a_position_that_stands_is_stuck_though_the_role_runs(world: World) -> None:
    world.append(7)
    world.progress.look()
    world.pass_time(21)
    world.runtime.pulse.beat("detect")
    world.progress.look()
    world.heart.beat({"detect": world.progress})
    assert world.own() == world.told()
    state, found = world.own()
    assert (state, found.startswith("stuck since"), "7 records unread" in found) == ("wrong", True, True)
    world.step()
    world.progress.look()
    assert world.own()[0] == "ok"


def test_a_role_that_gets_nothing_done_is_wrong_with_nothing_unread(world: World) -> None:
    world.step()
    world.pass_time(21)
    world.progress.look()
    world.heart.beat({"detect": world.progress})
    assert world.own() == world.told()
    assert "has got nothing done since" in world.own()[1]


def test_a_role_that_nobody_tells_of_is_missed_as_soon_as_something_is_unread(world: World) -> None:
    world.heart.beat({"detect": world.progress})
    assert world.told()[0] == "ok"
    world.pass_time(16)
    assert world.told()[0] == "warning"
    world.append(4)
    state, found = world.told()
    assert (state, "in no process since" in found, "4 records" in found) == ("wrong", True, True)
    world.heart.beat({"detect": world.progress})
    world.heart.stop()
    assert world.runtime.store.count("heartbeats") == 0


def test_readyz_warns_of_a_role_that_never_ran_as_the_doctor_does(world: World) -> None:
    world.append(4)
    with LocalClient(make_health_app(replace(world.runtime, pulse=Pulse()))) as client:
        answer = client.get("/readyz")
    findings = {one["what"]: one for one in answer.json()["findings"]}
    (told,) = told_checks(world.runtime, READS)
    assert (answer.status_code, told.state) == (200, "wrong")
    assert findings["role detect"] == told.softened().shown()


def test_an_old_heartbeat_is_no_death_while_the_store_cannot_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.heart.beat({"detect": world.progress})
    world.pass_time(16)
    world.append(4)
    assert "davy up" in told_checks(world.runtime, READS)[0].remedy

    def refuse(seconds: float) -> str:
        raise StoreError("store", "shelf", "cannot be written (No space left on device)")

    monkeypatch.setattr(world.runtime.store, "probe", refuse)
    (found,) = told_checks(world.runtime, READS)
    assert found.state == "warning"
    assert "nothing was heard of it since" in found.found
    assert "davy up" not in found.remedy


EVERY = Settings(archive=ArchiveSettings(url="file:///archive"))
"""Settings with which `davy up` starts every role there is."""


@pytest.mark.parametrize("role", sorted(expected_roles(EVERY)))
def test_every_role_of_up_is_missed_until_it_runs_when_it_hangs_and_when_it_was_killed(
    role: str, world: World
) -> None:
    expected = {role: expected_roles(EVERY)[role]}
    progress = Progress(world.runtime, role, expected[role])

    def told() -> tuple[str, str]:
        (check,) = told_checks(world.runtime, expected)
        assert check.what == f"role {role}"
        assert check.remedy or check.state == "ok"
        assert ("unread" in check.found) == bool(expected[role])
        return check.state, check.found.partition(" since")[0].partition(",")[0]

    assert told() == ("warning", "runs in no process")
    world.runtime.pulse.begin(role, expected[role])
    world.heart.beat({role: progress})
    assert told() == ("ok", "1 process")
    world.pass_time(21)
    progress.look()
    world.heart.beat({role: progress})
    assert told() == ("wrong", "has got nothing done")
    world.pass_time(16)
    if expected[role]:
        assert told() == ("warning", "runs in no process")
        world.append(1)
    missed = not expected[role] or INFERENCES in expected[role]
    assert told() == ("wrong" if missed else "warning", "runs in no process")
    world.heart.stop()
    if not expected[role]:
        assert told() == ("warning", "runs in no process")


@pytest.mark.parametrize("role", sorted(expected_roles(EVERY)))
def test_a_role_that_never_told_is_not_called_absent_while_the_store_takes_nothing(
    role: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(seconds: float) -> str:
        raise StoreError("store", "shelf", "OOM command not allowed")

    monkeypatch.setattr(world.runtime.store, "probe", refuse)
    (found,) = told_checks(world.runtime, {role: expected_roles(EVERY)[role]})
    assert (found.state, "nothing was heard of it" in found.found) == ("warning", True)
    assert "the store cannot be written" in found.found
    assert "davy up" not in found.remedy


@pytest.mark.timeout(60)
def test_every_role_of_up_beats_while_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("davy.retention._BEAT_SECONDS", 0.1)
    settings = replace(
        Settings(url=f"sqlite:///{tmp_path}"), archive=ArchiveSettings(url=f"file:///{tmp_path}/archive")
    )
    settings = replace(settings, gateway=replace(settings.gateway, port=free_port()))
    names = sorted(expected_roles(settings))
    assert {"archive", "detect", "gateway", "mine", "retain"} <= set(names)
    with open_runtime(settings) as runtime:
        working = threading.Thread(target=run, args=(make_roles(names, runtime), runtime))
        working.start()
        try:
            wait_until(lambda: set(runtime.pulse.reads) == set(names), "every role to begin")
            before = {role: runtime.pulse.clock() - age for role, age in runtime.pulse.silence().items()}

            def later() -> bool:
                now = {role: runtime.pulse.clock() - age for role, age in runtime.pulse.silence().items()}
                return all(now[role] > before[role] + 0.01 for role in names)

            wait_until(later, "a later beat of every role")
            wait_until(
                lambda: (
                    [one.state for one in told_checks(runtime, expected_roles(settings))]
                    == ["ok"] * len(names)
                ),
                "every role to be told of",
            )
        finally:
            runtime.stop.set()
            working.join(40)


def test_what_takes_long_and_is_said_to_is_no_silence(world: World) -> None:
    pulse = world.runtime.pulse
    with pulse.busy("detect", 600):
        world.pass_time(599)
        assert pulse.silence() == {"detect": 0.0}
        world.pass_time(31)
        assert pulse.silence() == {"detect": 30.0}
    assert pulse.silence() == {"detect": 630.0}
    pulse.beat("detect")
    assert pulse.silence() == {"detect": 0.0}


def test_retention_that_fails_falls_silent_says_so_once_and_goes_on_soon(
    monkeypatch: pytest.MonkeyPatch, spared: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("davy.retention._BEAT_SECONDS", 0.01)
    monkeypatch.setattr("davy.retention._AGAIN_SECONDS", 0.01)
    with opened() as runtime:
        (retain,) = make_roles(["retain"], runtime).values()
        asked: list[int] = []
        beats: list[str] = []
        working: Callable[..., int] = runtime.log.retain

        def refuse(**given: object) -> int:
            asked.append(1)
            raise StoreError("store", "shelf", "cannot be written")

        monkeypatch.setattr(runtime.log, "retain", refuse)
        monkeypatch.setattr(runtime.pulse, "beat", beats.append)
        thread = threading.Thread(target=retain.run)
        thread.start()
        try:
            wait_until(lambda: len(asked) > 5, "retention to try again")
            assert beats == ["retain"]  # that it begins
            assert len([one for one in spared.records if one.name == "davy.retention"]) == 1
            monkeypatch.setattr(runtime.log, "retain", working)
            wait_until(lambda: len(beats) > 3, "retention to go on")
        finally:
            runtime.stop.set()
            thread.join(10)


def test_what_the_dead_told_goes_after_an_hour(world: World) -> None:
    Heart(world.runtime).beat({"detect": world.progress})
    world.pass_time(3601)
    world.heart.beat({"detect": world.progress})
    world.heart.beat({"detect": world.progress})
    assert world.runtime.store.count("heartbeats") == 1


class Locked:
    """A store that answers nothing."""

    url = "memory://locked"

    def get(self, collection: str, key: str) -> bytes:
        raise StoreError("store", self.url, "is locked")


def test_lag_and_unread_rise_while_the_store_is_locked(world: World) -> None:
    world.append(3)
    world.step()
    world.progress.look()
    locked = Progress(replace(world.runtime, store=Locked()), "detect", (INFERENCES,))  # type: ignore[arg-type]
    locked._positions = dict(world.progress._positions)
    world.append(9)
    for minutes in range(10):
        with pytest.raises(StoreError):
            locked.look()
        assert locked.waiting.records == 9
        assert locked.lag_seconds() == locked.stands()[INFERENCES, 0] == 60 * minutes
        world.pass_time(60)


def test_what_was_never_read_is_no_zero_while_the_store_is_locked(world: World) -> None:
    world.append(3)
    locked = Progress(replace(world.runtime, store=Locked()), "detect", (INFERENCES,))  # type: ignore[arg-type]
    for minutes in range(3):
        with pytest.raises(StoreError):
            locked.look()
        assert locked.lag_seconds() == locked.stands()[INFERENCES, 0] == 60 * minutes
        world.pass_time(60)
    answering = Progress(world.runtime, "detect", (INFERENCES,))
    world.step()
    answering.look()
    assert (answering.lag_seconds(), answering.stands()) == (0.0, {(INFERENCES, 0): 0.0})


def test_nothing_is_taken_for_read_when_nobody_has_looked_for_long(world: World) -> None:
    world.append(3)
    world.step()
    world.progress.look()
    assert (world.progress.lag_seconds(), world.progress.stands()) == (0.0, {(INFERENCES, 0): 0.0})
    world.pass_time(600)
    assert (world.progress.lag_seconds(), world.progress.stands()) == (600.0, {(INFERENCES, 0): 600.0})


def test_reading_has_got_to_the_oldest_unread_record(world: World) -> None:
    assert read_through(world.runtime, "detect", (INFERENCES,)) == world.clock.now
    appended = world.clock.now
    world.append(1)
    world.pass_time(300)
    assert read_through(world.runtime, "detect", (INFERENCES,)) == appended


def test_a_check_that_hangs_is_wrong_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("davy.health.watch.time.monotonic", lambda: now)
    with opened() as runtime:
        health = Health(runtime)
        for one in health._watched:
            one.found, one.at = one.action(), now
        assert not [check for check in health.findings() if check.state == "wrong"]
        now = 30.0
        for one in health._watched:
            if one.what != "store":
                one.at = now
        (wrong,) = (check for check in health.findings() if check.state == "wrong")
        assert (wrong.what, wrong.found) == ("store", "has not answered for 30 s")
