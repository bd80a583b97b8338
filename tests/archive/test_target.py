"""``davy run archive`` and `davy up`: when there is an archive, where it is, and what is told when it cannot be."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.archived import envelope, ids, numbered, send
from support.gateway_rig import LocalClient, opened

from davy.archive import checks
from davy.archive.places import open_place
from davy.config import ArchiveSettings, Settings
from davy.demo.processes import free_port, wait_until
from davy.errors import ArchiveError, SettingError
from davy.event import INFERENCES
from davy.gateway.app import make_health_app
from davy.health import attempt
from davy.runner import open_runtime, wanted
from davy.runtime import Pulse, Runtime


@pytest.mark.fast
def test_up_has_an_archive_when_the_settings_say_where_and_run_wants_them_to() -> None:
    everything = ["detect", "gateway", "mine", "retain"]
    assert wanted(Settings()) == everything
    assert wanted(Settings(archive=ArchiveSettings(url="file:///a"))) == sorted([*everything, "archive"])


@pytest.mark.fast
@pytest.mark.parametrize(
    "url", ["ftp://host/a", "archive", "file://host/a", "s3://key:secret@bucket/a", "s3://", "s3://b?x=1"]
)
def test_a_wrong_url_is_refused_with_a_remedy_and_without_a_secret(url: str) -> None:
    with pytest.raises(SettingError) as caught:
        open_place(url)
    assert "secret" not in str(caught.value).lower().replace("aws_secret_access_key", "")


@pytest.mark.fast
def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    place = open_place(f"file:///{tmp_path}")
    (tmp_path / "inferences").write_text("in the way")
    with pytest.raises(ArchiveError, match="inferences"):
        place.put("inferences/model=m/day=d/0-1-2.parquet", b"x")


@pytest.mark.fast
def test_a_file_is_there_whole_or_not_at_all_and_the_unfinished_is_out_of_sight(tmp_path: Path) -> None:
    place = open_place(f"file:///{tmp_path}")
    place.put("inferences/0-1-2.parquet", b"first")
    place.put("inferences/0-1-2.parquet", b"second")
    assert (tmp_path / "inferences/0-1-2.parquet").read_bytes() == b"second"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["0-1-2.parquet"]
    assert next(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == ".unfinished"


@pytest.fixture
def archiving(tmp_path: Path) -> Iterator[Runtime]:
    """Return the runtime of a process whose role archives to a directory."""
    (tmp_path / "archive").mkdir()
    open_place(f"file:///{tmp_path}/archive").put("inferences/model=m/day=d/0-1-2.parquet", b"rows")
    pulse = Pulse()
    for name in ("archive", "detect", "gateway", "mine", "retain"):
        pulse.begin(name, [INFERENCES])
    with opened() as runtime:
        settings = replace(runtime.settings, archive=ArchiveSettings(url=f"file:///{tmp_path}/archive"))
        yield replace(runtime, settings=settings, pulse=pulse)


def remove_all(archive: Path) -> None:
    archive.rename(archive.with_name("aside"))


def put_a_file_there(archive: Path) -> None:
    remove_all(archive)
    archive.write_text("in the way")


def put_a_file_in_the_folders_place(archive: Path) -> None:
    (archive / "inferences").rename(archive / "aside")
    (archive / "inferences").write_text("in the way")


def take_the_place_of_the_unfinished(archive: Path) -> None:
    (archive / ".unfinished").rmdir()


@pytest.mark.fast
@pytest.mark.parametrize(
    "spoil", [remove_all, put_a_file_there, put_a_file_in_the_folders_place, take_the_place_of_the_unfinished]
)
def test_an_archive_that_takes_no_file_is_told_before_a_file_is_due(
    spoil: Callable[[Path], None], archiving: Runtime, tmp_path: Path
) -> None:
    with LocalClient(make_health_app(archiving)) as client:
        assert client.get("/readyz").status_code == 200
    spoil(tmp_path / "archive")
    with LocalClient(make_health_app(archiving)) as client:
        answer = client.get("/readyz")
    (found,) = (one for one in answer.json()["findings"] if one["state"] == "wrong")
    assert (answer.status_code, found["what"], bool(found["remedy"])) == (503, "archive", True)
    assert str(tmp_path) in found["found"]


@pytest.mark.fast
@pytest.mark.parametrize("reason", [errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.EIO])
def test_whatever_the_system_refuses_an_archive_has_a_remedy_that_fits(
    reason: int, archiving: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**given: object) -> tuple[int, str]:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr("davy._directory.tempfile.mkstemp", refuse)
    (found,) = attempt("archive", lambda: checks(archiving))
    words = {
        errno.EACCES: "write permission",
        errno.ENOSPC: "free space",
        errno.EROFS: "mount",
        errno.EMFILE: "ulimit",
        errno.EIO: "disk is well",
    }
    assert (found.state, words[reason] in found.remedy) == ("wrong", True)


@pytest.mark.fast
def test_the_probe_of_an_archive_leaves_nothing_and_makes_no_directory(
    archiving: Runtime, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    before = sorted(archive.rglob("*"))
    assert [check.state for check in checks(archiving)] == ["ok"]
    assert sorted(archive.rglob("*")) == before
    assert checks(replace(archiving, settings=Settings())) == []
    elsewhere = ArchiveSettings(url=f"file:///{tmp_path}/nowhere")
    asked = replace(archiving, settings=replace(archiving.settings, archive=elsewhere), pulse=Pulse())
    assert [check.state for check in checks(asked)] == ["warning"]
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("verb", [["up"], ["run", "archive"]])
def test_the_archive_fills_while_davy_runs(verb: list[str], tmp_path: Path) -> None:
    log, root = tmp_path / "log", tmp_path / "archive"
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DAVY_")},
        "DAVY_URL": f"sqlite:///{log}",
        "DAVY_GATEWAY_PORT": str(free_port()),
        "DAVY_ARCHIVE_URL": f"file:///{root}",
        "DAVY_ARCHIVE_SECONDS": "0.2",
    }
    with open_runtime(Settings(url=f"sqlite:///{log}")) as runtime:
        send(runtime, [envelope(first, 50) for first in range(0, 500, 50)])
    child = subprocess.Popen([sys.executable, "-m", "davy", *verb], env=env)
    try:
        wait_until(lambda: ids(root) == numbered(500), "the archive to hold everything", seconds=60)
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=30) == 0
    finally:
        child.kill()
        child.wait()


def test_run_archive_without_a_url_says_what_to_set(tmp_path: Path) -> None:
    env = {**os.environ, "DAVY_URL": f"sqlite:///{tmp_path}"}
    command = [sys.executable, "-m", "davy", "run", "archive"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "DAVY_ARCHIVE_URL" in done.stderr
