"""`davy forget` beside a `davy up` on the same files, and as a command of its own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.fake_labelstudio import LEGACY_KEY, FakeLabelStudio
from support.forget_world import ForgetWorld, Subject

from davy.backup import back_up, put_back
from davy.consume import Loop
from davy.demo.processes import free_port, wait_until
from davy.event import INFERENCES
from davy.forgetting import KINDS, Forgetting, HidingLog
from davy_miner.worker import Mine

SUBJECTS = [Subject(number) for number in range(8)]
GONE = SUBJECTS[1]


class Up:
    """A `davy up` on a world's files, and commands beside it."""

    def __init__(self, world: ForgetWorld) -> None:
        self.port = free_port()
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DAVY_")},
            "DAVY_URL": world.settings.url,
            "DAVY_GATEWAY_PORT": str(self.port),
            "DAVY_MINE_DATASETS": world.settings.mine.datasets,
            "DAVY_ARCHIVE_URL": world.settings.archive.url,
            "DAVY_ARCHIVE_SECONDS": "0",
            "DAVY_MINE_ROUND_SECONDS": "0",
            "DAVY_MINE_POLL_SECONDS": "0.2",
            "DAVY_DETECT_CONTROL_SHARE": "1",
            "DAVY_LABELSTUDIO_URL": world.fake.url,
            "DAVY_LABELSTUDIO_API_KEY": LEGACY_KEY,
            "DAVY_LABELSTUDIO_TIMEOUT_SECONDS": "5",
        }
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.child = subprocess.Popen([sys.executable, "-m", "davy", "up"], env=self.env)

    def command(self, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "davy", *arguments]
        return subprocess.run(
            command, env=self.env, input=answer, capture_output=True, text=True, timeout=60, check=False
        )

    def answering(self, answer: str, *arguments: str) -> tuple[int, bool]:
        """Return how a command at a terminal ends that is given an answer, and whether it asked."""
        ours, theirs = pty.openpty()
        os.write(ours, f"{answer}\n".encode())
        command = [sys.executable, "-m", "davy", *arguments]
        done = subprocess.run(
            command, env=self.env, stdin=theirs, capture_output=True, timeout=60, check=False
        )
        os.close(ours)
        os.close(theirs)
        return done.returncode, b"Forget 2 inferences tagged" in done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.command(*arguments, "--json").stdout)

    def candidates(self) -> float:
        try:
            lines = httpx.get(f"http://127.0.0.1:{self.port}/metrics").text.splitlines()
        except httpx.TransportError:
            return -1
        return sum(float(x.rpartition(" ")[2]) for x in lines if x.startswith("davy_candidates{"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ForgetWorld]:
    with FakeLabelStudio() as fake, ForgetWorld("sqlite", tmp_path, fake) as made:
        yield made


@pytest.fixture
def up(world: ForgetWorld) -> Iterator[Up]:
    made = Up(world)
    yield made
    if made.child is not None:
        made.child.terminate()
        made.child.wait(timeout=60)


def files_with(directory: Path, marks: Sequence[bytes]) -> list[Path]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return [path for path in files if any(mark in path.read_bytes() for mark in marks)]


@pytest.mark.timeout(180)
def test_a_running_davy_forgets_at_once_in_memory_and_on_disk(world: ForgetWorld, up: Up) -> None:
    marks = [GONE.marks()[name] for name in ("text", "wide text", "picture", "embedding")]
    up.start()
    world.append(INFERENCES, world.envelope(SUBJECTS[:4]))
    wait_until(lambda: up.candidates() == 4, "four candidates", seconds=60)
    assert up.command("mine", "--budget", "10").returncode == 0
    wait_until(lambda: len(world.fake.tasks) == 4, "four tasks")
    for one in SUBJECTS[:4]:
        (task,) = world.fake.tasks_of(one.candidate)
        world.fake.annotate(task["id"], ("verdict", "model correct"))
    wait_until(lambda: len(up.json("candidates", "--state", "labelled")) == 4, "four labels", seconds=60)
    built = up.json("dataset", "build", "--model", "digits:1")
    assert built["rows"] == 4
    assert len(files_with(world.directory, marks)) >= 3
    wait_until(lambda: {"archive"} <= world.places(GONE)["hex id"], "the archive")

    done = up.command("forget", "--id", GONE.id.hex(), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told.pop("archive") >= 2  # files of inferences and flags
    assert (told.pop("hidden"), told.pop("hidden_until")) == (dict.fromkeys(KINDS, 0), None)
    assert told == {kind: kind != "feedback" for kind in KINDS if kind != "archive"}
    assert files_with(world.directory, marks) == []
    assert world.places(GONE) == {}
    wait_until(lambda: up.candidates() == 3, "the miner's pool to have forgotten")

    world.append(INFERENCES, world.envelope(SUBJECTS[4:]))
    wait_until(lambda: up.candidates() == 7, "new candidates beside the old ones")
    assert up.command("mine", "--budget", "10").returncode == 0
    wait_until(lambda: len(world.fake.tasks) == 7, "their tasks")
    assert world.places(GONE) == {}
    assert files_with(world.directory, marks) == []
    assert up.json("dataset", "show", built["version"])["forgotten"]["rows"] == 1


@pytest.mark.timeout(120)
def test_a_tag_is_asked_about_and_a_dry_run_removes_nothing(world: ForgetWorld, up: Up) -> None:
    world.append(INFERENCES, world.envelope(SUBJECTS[:2], user="ann"))
    dry = up.command("forget", "--tag", "user=ann", "--dry-run", "--json")
    told = json.loads(dry.stdout)
    assert (told.pop("hidden"), told.pop("hidden_until")) == (dict.fromkeys(KINDS, 0), None)
    assert told == {**dict.fromkeys(KINDS, 0), "inferences": 2, "payloads": 2}
    refused = up.command("forget", "--tag", "user=ann", answer="y\n")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--tag: 'user=ann': would forget 2 inferences" in refused.stderr
    assert "--yes" in refused.stderr
    nobody = up.command("forget", "--tag", "user=nobody")
    assert (nobody.returncode, nobody.stderr) == (0, "davy: no inference is tagged user=nobody\n")
    assert up.answering("n", "forget", "--tag", "user=ann") == (130, True)
    assert len(world.places(GONE)["text"]) == 1
    assert up.command("forget", "--tag", "user=ann", "--yes").returncode == 0
    assert world.places(GONE) == {}
    (receipt,) = up.json("forget", "--receipts")
    assert (receipt["removed"]["inferences"], receipt["left"], receipt["due"]) == (2, 0, None)
    assert up.json("forget", "--receipts", "--id", GONE.id.hex()) == [receipt]
    assert up.json("forget", "--receipts", "--id", SUBJECTS[5].id.hex()) == []
    assert up.command("forget", "--receipts", "--tag", "user=ann").returncode == 2


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--id"),
        (["--id", "12"], "--id: '12': give 16 bytes, a UUID or 32 hexadecimal digits"),
        (["--tag", "ann"], "NAME=VALUE"),
    ],
)
def test_wrong_input_is_refused_with_a_remedy(up: Up, arguments: list[str], told: str) -> None:
    done = up.command("forget", *arguments)
    assert done.returncode == 2
    assert told in done.stderr


@pytest.mark.timeout(120)
def test_what_could_not_be_removed_is_said_with_exit_code_1(world: ForgetWorld, up: Up) -> None:
    world.live(SUBJECTS[:2])
    up.env |= {"DAVY_LABELSTUDIO_URL": f"http://127.0.0.1:{free_port()}"}
    done = up.command("forget", "--id", GONE.id.hex(), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["tasks"] == 0
    assert "start it, or set DAVY_LABELSTUDIO_URL" in done.stderr
    up.env |= {"DAVY_LABELSTUDIO_URL": world.fake.url}
    assert up.command("forget").returncode == 0
    assert world.places(GONE) == {}


@pytest.mark.timeout(60)
def test_a_role_stands_aside_and_goes_on_from_the_store(world: ForgetWorld) -> None:
    world.append(INFERENCES, world.envelope(SUBJECTS[:3]))
    world.roles()
    runtime = replace(world.runtime(tool=False), log=HidingLog(world.log, world.store))
    role = Mine(runtime)
    loop: Loop[Any] = Loop(runtime, role)
    running = threading.Thread(target=loop.run)
    running.start()
    try:
        wait_until(lambda: world.store.acquire("role/mine", "another", seconds=0.01) is None, "its lease")
        assert world.forget(GONE).problems == []
        known = {"waiting", "selected", "expired"}
        wait_until(lambda: GONE.candidate not in role._pool.ids(known), "its pool to forget")  # type: ignore[arg-type]
        world.append(INFERENCES, world.envelope(SUBJECTS[3:5]))
    finally:
        runtime.stop.set()
        running.join()
        loop.close()
    assert world.places(GONE) == {}


@pytest.mark.fast
def test_a_role_that_does_not_stand_aside_is_named_and_nothing_is_half_done(world: ForgetWorld) -> None:
    world.append(INFERENCES, world.envelope(SUBJECTS[:3]))
    assert world.store.acquire("role/mine", "a stuck process", seconds=600) is not None
    (problem,) = Forgetting(world.runtime(), patience=0.2).forget(frozenset({GONE.id})).problems
    assert "role/mine" in problem
    assert "stop that process" in problem
    assert "log davy.inferences" in world.places(GONE)["text"]


def test_what_a_backup_taken_meanwhile_still_has_is_hidden_in_the_log_and_forgotten_when_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeLabelStudio() as fake, ForgetWorld("sqlite", tmp_path, fake) as world:
        world.live(SUBJECTS)
        place = tmp_path / "backup"
        place.mkdir()
        remove = Forgetting._remove

        def backing_up(self: Forgetting, *arguments: Any) -> None:
            if not (place / "backup.json").exists():
                back_up(world.runtime(), place)
            remove(self, *arguments)

        monkeypatch.setattr(Forgetting, "_remove", backing_up)
        assert not world.forget(GONE).problems
        home = tmp_path / "restored"
        home.mkdir()
        url = f"sqlite:///{home}/davy"
        settings = replace(world.settings, url=url, store_url=url, blob_url=f"file:///{home}/davy/blobs")
        mine = replace(settings.mine, datasets=str(home / "datasets"))
        put_back(place, replace(settings, mine=mine))
        with ForgetWorld("sqlite", home, fake) as restored:
            assert "id" in restored.places(GONE)
            hiding = HidingLog(restored.log, restored.store)
            shown = list(hiding.read(INFERENCES, 0, 0))
            assert shown
            assert not any(GONE.id in record.value for record in shown)
            assert not Forgetting(restored.runtime(), patience=15).forget(frozenset()).problems
            assert restored.places(GONE) == {}
            assert "id" in restored.places(SUBJECTS[2])
