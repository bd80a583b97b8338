"""``davy run archive`` and `davy up`: when there is an archive, where it is, and what is told when it cannot be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from archived import envelope, ids, numbered, send

from davy.archive.places import open_place
from davy.config import ArchiveSettings, Settings
from davy.demo.processes import free_port, wait_until
from davy.errors import ArchiveError, SettingError
from davy.runner import open_runtime, wanted


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
