"""Whatever dies in the middle of forgetting, running it again finishes the work."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.dying import Fuse, Killed
from support.fake_labelstudio import LEGACY_KEY, VICES, FakeLabelStudio
from support.forget_world import MODEL, ForgetWorld, Subject

from davy.forgetting import Forgetting, ForgottenIds
from davy_miner import dataset, rounds
from davy_miner.labelstudio import LabelStudio
from davy_miner.labelstudio.client import SdkTool

SUBJECTS = [Subject(number) for number in range(3)]
GONE, BESIDE = SUBJECTS[1], [SUBJECTS[0], SUBJECTS[2]]


@pytest.fixture
def fake() -> Iterator[FakeLabelStudio]:
    with FakeLabelStudio() as started:
        yield started


@pytest.fixture
def world(tmp_path: Path, fake: FakeLabelStudio) -> Iterator[ForgetWorld]:
    with ForgetWorld("sqlite", tmp_path, fake) as made:
        yield made


class Dying:
    """Burns a fuse before and after some verbs of what it stands for."""

    def __init__(self, inner: Any, fuse: Fuse, *verbs: str) -> None:
        self._inner, self._fuse, self._verbs = inner, fuse, verbs

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return burning(found, self._fuse) if name in self._verbs else found


def burning(call: Callable[..., Any], fuse: Fuse) -> Callable[..., Any]:
    def run(*arguments: Any, **named: Any) -> Any:
        fuse.burn()
        given = call(*arguments, **named)
        fuse.burn()
        return given

    return run


@pytest.mark.timeout(300)
def test_a_death_at_any_step_is_made_good_by_the_next_run(
    tmp_path: Path, fake: FakeLabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = steps = 0
    while deaths == steps:
        steps += 1
        with ForgetWorld("memory", tmp_path / str(steps), fake) as world:
            fake.tasks.clear()
            path = world.live(SUBJECTS)
            beside = [world.places(one) for one in BESIDE]
            fuse = Fuse(steps)
            runtime = world.runtime(
                log=Dying(world.log, fuse, "erase"),  # type: ignore[arg-type]
                store=Dying(world.store, fuse, "apply"),  # type: ignore[arg-type]
                blobs=Dying(world.blobs, fuse, "delete"),  # type: ignore[arg-type]
            )
            with monkeypatch.context() as patch:
                patch.setattr(SdkTool, "delete_task", burning(SdkTool.delete_task, fuse))
                patch.setattr(Path, "replace", burning(Path.replace, fuse))
                patch.setattr(Path, "unlink", burning(Path.unlink, fuse))
                try:
                    world.forget(GONE, runtime=runtime)
                except Killed:
                    deaths += 1
            assert len(dataset.load(path)) in {2, 3}  # never a version that cannot be read
            assert world.forget(GONE).problems == []
            assert world.places(GONE) == {}
            assert [world.places(one) for one in BESIDE] == beside
            assert ForgottenIds(world.store).unfinished() == frozenset()
    assert deaths > 40


@pytest.mark.timeout(90)
def test_kill_9_of_the_command_in_the_middle_leaves_work_that_the_same_command_finishes(
    world: ForgetWorld, fake: FakeLabelStudio
) -> None:
    world.live(SUBJECTS)
    beside = [world.places(one) for one in BESIDE]
    reached, go_on = threading.Event(), threading.Event()

    def hold(method: str, path: str) -> None:
        if method == "DELETE":
            reached.set()
            go_on.wait(60)

    fake.before_answer = hold
    command = [sys.executable, "-m", "davy", "forget", "--id", GONE.id.hex()]
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith("DAVY_")},
        "DAVY_URL": world.settings.url,
        "DAVY_MINE_DATASETS": world.settings.mine.datasets,
        "DAVY_ARCHIVE_URL": world.settings.archive.url,
        "DAVY_LABELSTUDIO_URL": fake.url,
        "DAVY_LABELSTUDIO_API_KEY": LEGACY_KEY,
    }
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as child:
        assert reached.wait(60)
        child.kill()
    fake.before_answer = None
    go_on.set()
    assert ForgottenIds(world.store).unfinished() == {GONE.id}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert world.places(GONE) == {}
    assert [world.places(one) for one in BESIDE] == beside


@pytest.mark.fast
def test_bytes_that_a_reader_kept_alive_leave_the_files_with_the_next_run(
    world: ForgetWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davy._sqlite._SCRUB_SECONDS", 0.1)
    world.append("davy.inferences", world.envelope(SUBJECTS))
    log = world.directory / "davy" / "log.db"
    reader = sqlite3.connect(log, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM records").fetchone()
    outcome = world.forget(GONE)
    assert [problem for problem in outcome.problems if "try again" in problem]
    kept = [path for path in log.parent.glob("log.db*") if GONE.text.encode() in path.read_bytes()]
    assert kept
    reader.close()
    assert world.forget(GONE).problems == []
    assert [path for path in log.parent.glob("*.db*") if GONE.text.encode() in path.read_bytes()] == []


@pytest.mark.fast
@pytest.mark.parametrize("vice", [vice for vice in VICES if vice != "commit late"])
def test_a_label_studio_that_fails_over_a_deletion_is_asked_again_by_the_next_run(
    world: ForgetWorld, fake: FakeLabelStudio, vice: str
) -> None:
    world.live(SUBJECTS)
    fake.delete_vices.append(vice)
    first = world.forget(GONE)
    assert len(first.problems) == 1
    assert "Label Studio" in first.problems[0]
    assert {where for places in world.places(GONE).values() for where in places} <= {
        "label studio",
        "store labelstudio.tasks",
    }
    assert world.forget(GONE).problems == []
    assert world.places(GONE) == {}


@pytest.mark.fast
def test_without_label_studio_all_else_is_removed_and_the_remedy_is_said(
    world: ForgetWorld, fake: FakeLabelStudio
) -> None:
    world.live(SUBJECTS)
    outcome = world.forget(GONE, runtime=world.runtime(tool=False))
    (problem,) = outcome.problems
    assert "labelstudio.url" in problem
    assert (outcome.counts["tasks"], outcome.counts["candidates"], outcome.counts["payloads"]) == (0, 1, 1)
    assert len(fake.tasks_of(GONE.candidate)) == 1
    finished = Forgetting(world.runtime()).forget(frozenset())
    assert (finished.problems, finished.counts["tasks"]) == ([], 1)
    assert world.places(GONE) == {}


@pytest.mark.fast
def test_a_task_that_label_studio_stores_late_is_not_missed(tmp_path: Path, fake: FakeLabelStudio) -> None:
    with ForgetWorld("memory", tmp_path, fake) as world:
        labelstudio = replace(world.settings.labelstudio, settle_seconds=600)
        world.settings = replace(world.settings, labelstudio=labelstudio)
        world.append("davy.inferences", world.envelope(SUBJECTS))
        world.roles()
        rounds.request(world.runtime(), MODEL, 10)
        world.roles()
        fake.vices.append("commit late")
        tool = LabelStudio(world.runtime())
        tool.push()
        tool.close()
        (problem,) = world.forget(GONE).problems
        assert "try again in 600 s" in problem
        assert fake.commit_late() == 3
        later = replace(world.runtime(), clock=lambda: world.runtime().clock() + 601 * 10**9)
        assert world.forget(GONE, runtime=later).problems == []
        assert fake.tasks_of(GONE.candidate) == []
        assert [len(fake.tasks_of(one.candidate)) for one in BESIDE] == [1, 1]
