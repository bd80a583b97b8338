"""A backup of a running deployment is one state, and what is restored from it counts everything once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.embedded import Embedded

from davy.cli import run_app
from davy.codec import Encoder, pack
from davy.consume.positions import stored_positions
from davy.demo.processes import wait_until
from davy.event import INFERENCES
from davy.gateway.keys import KeyRing
from davy.log import Message, open_log
from davy.runner import open_runtime
from davy.store import Batch, open_store

PAYLOAD = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of Davy's with a record, a key, a payload and a dataset; the settings name it."""
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}/davy")
    with open_runtime() as runtime:
        reference = runtime.blobs.put(PAYLOAD, "image/png")
        envelope = pack([Encoder().encode("m:1", bytes(16), 1, {"x": 1.0, "image": reference}, {})])
        runtime.log.producer().append([Message(INFERENCES, "m:1", envelope)])
        runtime.store.apply(Batch().put("c", "k", b"v"))
        KeyRing.of(runtime).create("fraud", ["write"])
    version = tmp_path / "davy" / "datasets" / "m-1" / "v1-abc"
    version.mkdir(parents=True)
    (version / "manifest.json").write_text("{}")
    return tmp_path / "davy"


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    code = run_app([*arguments, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else None, said.err


def contents(directory: Path) -> dict[str, Any]:
    """Return what a directory of Davy's holds, whatever the bytes of its SQLite files."""
    log, store = open_log(f"sqlite:///{directory}"), open_store(f"sqlite:///{directory}")
    try:
        files = [path for path in directory.rglob("*") if path.is_file() and ".db" not in path.name]
        return {
            "records": list(log.read(INFERENCES, 0, 0)),
            "identity": log.identity(INFERENCES),
            "store": {name: dict(store.items(name)) for name in ("c", "keys")},
            "files": {str(path.relative_to(directory)): path.read_bytes() for path in files},
        }
    finally:
        log.close()
        store.close()


@pytest.mark.fast
@pytest.mark.parametrize("name", ["backup", "here/backup.tar", "backup.tar.gz", "backup.tgz"])
def test_what_is_restored_is_what_was_there(
    home: Path,
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, before = tmp_path / name, contents(home)
    code, made, _ = command(capsys, "backup", str(target))
    assert (code, made["payloads"], made["payload_bytes"], made["dataset_files"]) == (0, 1, len(PAYLOAD), 1)
    assert sorted(path.name for path in target.parent.iterdir()) == sorted(
        {target.name} | ({"davy"} if target.parent == tmp_path else set())
    )
    assert target.stat().st_mode & 0o077 == 0
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}/restored/davy")
    code, restored, _ = command(capsys, "restore", str(target))
    assert (code, restored["made"], restored["payloads"]) == (0, made["made"], 1)
    assert contents(tmp_path / "restored" / "davy") == before
    assert not [path for path in tmp_path.rglob("*") if "unfinished" in path.name]


@pytest.mark.fast
def test_store_payloads_and_datasets_go_where_the_settings_say(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(capsys, "backup", str(tmp_path / "backup"))[0] == 0
    for variable, url in {
        "DAVY_URL": f"sqlite:///{tmp_path}/one",
        "DAVY_STORE_URL": f"sqlite:///{tmp_path}/two",
        "DAVY_BLOB_URL": f"file:///{tmp_path}/three",
        "DAVY_MINE_DATASETS": f"{tmp_path}/four",
    }.items():
        monkeypatch.setenv(variable, url)
    assert command(capsys, "restore", str(tmp_path / "backup"))[0] == 0
    found = {name: sorted(p.name for p in (tmp_path / name).iterdir()) for name in ("one", "two", "four")}
    assert found == {"one": ["keys-needed", "log.db"], "two": ["store.db"], "four": ["m-1"]}
    with open_runtime(make=False) as runtime:
        assert [runtime.blobs.get(one.hash) for one in runtime.blobs.stored()] == [PAYLOAD]


@pytest.mark.fast
@pytest.mark.parametrize("left", ["store.db", "blobs/aa/bb", "anything"])
def test_restore_refuses_a_directory_that_is_not_empty_and_changes_nothing(
    home: Path, left: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(capsys, "backup", str(tmp_path / "backup"))[0] == 0
    goal = tmp_path / "goal"
    (goal / left).parent.mkdir(parents=True)
    (goal / left).write_text("mine")
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{goal}")
    code, _, said = command(capsys, "restore", str(tmp_path / "backup"))
    assert code == 2
    assert "is not empty" in said
    assert "stop what uses it" in said
    assert [path.read_text() for path in goal.rglob("*") if path.is_file()] == ["mine"]


@pytest.mark.fast
def test_restore_refuses_the_directory_that_was_backed_up(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(capsys, "backup", str(tmp_path / "backup"))[0] == 0
    before = contents(home)
    assert command(capsys, "restore", str(tmp_path / "backup"))[0] == 2
    assert contents(home) == before


@pytest.mark.fast
def test_a_file_that_appears_while_it_is_restored_is_not_overwritten(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(capsys, "backup", str(tmp_path / "backup"))[0] == 0
    goal, copy = tmp_path / "goal", shutil.copyfile

    def somebody_is_faster(source: Any, target: Any, **how: Any) -> object:
        if Path(source).name == "log.db":
            open_log(f"sqlite:///{goal}").close()
        return copy(source, target, **how)

    monkeypatch.setattr("davy.backup.shutil.copyfile", somebody_is_faster)
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{goal}")
    code, _, said = command(capsys, "restore", str(tmp_path / "backup"))
    assert code == 2
    assert "somebody made it meanwhile" in said
    assert contents(goal)["records"] == []


@pytest.mark.fast
@pytest.mark.parametrize("damage", ["log.db", "backup.json", "blob", "lacking", "newer", "tar"])
def test_a_damaged_backup_is_refused_before_anything_is_made(
    home: Path,
    damage: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = tmp_path / "backup"
    assert command(capsys, "backup", str(place))[0] == 0
    (blob,) = (place / "blobs").glob("*/*")
    manifest = place / "backup.json"
    if damage == "lacking":
        (place / "store.db").unlink()
    elif damage == "newer":
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 2}))
    elif damage == "tar":
        place = tmp_path / "backup.tar"
        place.write_bytes(b"no tar")
    else:
        path = {"blob": blob}.get(damage, place / damage)
        path.write_bytes(b"x" + path.read_bytes()[1:])
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}/goal")
    code, _, said = command(capsys, "restore", str(place))
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("davy: backup: ")
    assert not (tmp_path / "goal").exists()


def test_a_backup_for_which_there_is_no_room_names_its_own_disk_and_leaves_nothing(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "davy-test", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk of its own cannot be mounted here")
    try:
        code, _, said = command(capsys, "backup", str(small / "backup"))
        assert code == 2
        assert str(small) in said
        assert str(home) not in said
        assert "free space" in said
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


@pytest.mark.fast
@pytest.mark.parametrize("target", ["full", "file", "file.tar"])
def test_a_backup_overwrites_nothing(
    home: Path, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    for name in ("full/mine", "file", "file.tar"):
        (tmp_path / name).write_text("mine")
    code, _, said = command(capsys, "backup", str(tmp_path / target))
    assert code == 2
    assert "is there already" in said
    assert (tmp_path / "full" / "mine").read_text() == (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["b.zip", "b.tar.xz", "b.tar.bz2", "b.7z"])
def test_a_kind_of_archive_that_is_not_made_is_no_name_of_a_directory(
    name: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert home.is_dir()
    code, _, told = command(capsys, "backup", str(tmp_path / "backups" / name))
    assert (code, told.count("\n")) == (2, 1)
    assert "name a file .tar, .tar.gz, .tgz, or a directory" in told
    assert not (tmp_path / "backups").exists()
    assert command(capsys, "backup", str(tmp_path / "backups" / "2026.11.30"))[0] == 0


@pytest.mark.parametrize(("name", "near"), [("bakup.tar", "backup.tar"), ("nowhere/near", ""), ("mydir", "")])
def test_a_backup_that_is_not_there_is_told_with_what_is_near(
    name: str, near: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert home.is_dir()
    assert command(capsys, "backup", str(tmp_path / "backup.tar"))[0] == 0
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}/new")
    code, _, told = command(capsys, "restore", str(tmp_path / name))
    assert (code, told.count("\n")) == (2, 1)
    assert "is not there" in told
    assert "give what `davy backup` made" in told
    assert "disk" not in told
    assert (f"did you mean {tmp_path / near}? " in told) == bool(near)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("variable", "url"),
    [("DAVY_URL", "kafka://127.0.0.1:9"), ("DAVY_STORE_URL", "redis://127.0.0.1:9"), ("DAVY_URL", "memory://b")],
)  # fmt: skip
def test_what_lies_elsewhere_is_left_to_its_own_tools(
    home: Path,
    variable: str,
    url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAVY_STORE_URL", f"sqlite:///{home}")
    monkeypatch.setenv("DAVY_BLOB_URL", f"file:///{home}/blobs")
    monkeypatch.setenv(variable, url)
    code, _, said = command(capsys, "backup", str(tmp_path / "backup"))
    assert (code, said.count("\n")) == (2, 1)
    assert "redis-cli --rdb" in said
    assert not (tmp_path / "backup").exists()


@pytest.mark.fast
def test_a_tar_that_leads_out_of_its_folder_writes_nothing_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = tmp_path / "evil.tar"
    (tmp_path / "payload").write_text("evil")
    with tarfile.open(evil, "w") as file:
        file.add(tmp_path / "payload", arcname="../../outside")
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}/goal")
    assert command(capsys, "restore", str(evil))[0] == 2
    assert not [path for path in (tmp_path, tmp_path.parent) if (path / "outside").exists()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Embedded]:
    """`davy up` and an app that captures some 300 inferences a second."""
    with Embedded(tmp_path / "world") as made:
        yield made


def test_from_a_backup_taken_under_load_everything_is_counted_once(world: Embedded, tmp_path: Path) -> None:
    world.begin()
    world.wait_for(500)
    world.fit()
    for number in range(2):  # at two moments, while the app captures and roles write
        world.davy("backup", str(tmp_path / f"backup-{number}"))
        world.wait_for(200)
    captured = world.stop()
    world.wait_counted(captured["sent"])
    world.down()
    everything = world.stored()
    assert (len(everything), len(set(everything)), captured["dropped"]) == (captured["captured"],) * 2 + ({},)
    for number in range(2):
        with Embedded(tmp_path / f"restored-{number}") as again:
            again.davy("restore", str(tmp_path / f"backup-{number}"))
            with again.opened() as runtime:
                log, end = runtime.log, runtime.log.end(INFERENCES)[INFERENCES, 0]
                positions = stored_positions(runtime.store)
                ahead = {
                    name: place.offset
                    for name, place in positions.items()
                    if place.offset > log.end(name.split("/")[1])[name.split("/")[1], 0]
                }
            kept = again.stored()
            assert ahead == {}
            assert kept == everything[: len(kept)]
            assert 500 <= len(kept) < len(everything)
            again.start()
            again.wait_counted(len(kept))
            # An app that writes to it goes on where the log ends.
            env = {**again.env, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
            more = "import davy\nfor n in range(50): davy.capture('embedded:1', {'x': 1.0}, {})\nassert davy.flush(30)"
            subprocess.run([sys.executable, "-c", more], env=env, check=True, timeout=60)
            again.wait_counted(len(kept) + 50)
            with again.opened() as runtime:
                assert runtime.log.end(INFERENCES)[INFERENCES, 0] > end
            wait_until(lambda again=again: again.wrong() == [], "nothing to be wrong", seconds=30)
