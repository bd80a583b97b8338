"""What the checks claim of log, store, blobs and disks is what was tried."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.damage import damage_structure
from support.gateway_rig import opened

from davy.config import Settings
from davy.doctor import examine
from davy.errors import LogError, StoreError
from davy.health import places
from davy.health.check import Check, attempt
from davy.log import Message
from davy.runner import open_runtime, open_what_answers
from davy.runtime import Runtime
from davy.store import Batch

pytestmark = pytest.mark.fast


def states(checks: list[Check]) -> dict[str, str]:
    return {check.what: check.state for check in checks}


def filled(runtime: Runtime) -> Runtime:
    """Return store and log enough records that their trees have several pages."""
    batch = Batch()
    for number in range(200):
        batch.put("shelf", f"{number:04}", b"lamp" * 50)
    runtime.store.apply(batch)
    runtime.log.producer().append([Message("davy.inferences", "m:1", b"lamp" * 50) for _ in range(200)])
    return runtime


def test_log_store_and_blobs_are_written_and_nothing_of_it_stays(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}") as runtime:
        found = [
            *places.log_check(runtime),
            *places.store_check(runtime),
            *places.blobs_check(runtime),
            *places.disk_check(runtime),
            *places.integrity_checks(runtime, 5.0),
        ]
        assert set(states(found)) == {"log", "store", "blobs", "disk", "log file", "store file"}
        assert {check.state for check in found} <= {"ok", "warning"}
        assert list(runtime.blobs.stored()) == []
        assert runtime.log.end("davy.inferences") == {("davy.inferences", 0): 1}


@pytest.mark.parametrize("name", ["log", "store"])
def test_a_file_that_others_hold_is_wrong_within_the_time(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "PROBE_SECONDS", 0.05)
    check = {"log": places.log_check, "store": places.store_check}[name]
    with opened(f"sqlite:///{tmp_path}") as runtime:
        with closing(sqlite3.connect(tmp_path / f"{name}.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises((LogError, StoreError), match="another process held it"):
                check(runtime)
        assert states(check(runtime)) == {name: "ok"}


def test_a_damaged_store_is_one_state_and_written_to_no_more_until_it_is_whole(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}") as runtime:
        filled(runtime)
        mend = damage_structure(tmp_path / "store.db")
        damaged = (tmp_path / "store.db").read_bytes()
        (found,) = (one for one in places.integrity_checks(runtime, 5.0) if one.what == "store file")
        assert found.state == "wrong"
        assert "store.db* aside" in found.remedy
        for write in (
            lambda: runtime.store.apply(Batch().put("shelf", "0001", b"")),
            lambda: runtime.store.acquire("role/detect", "me", seconds=10.0),
            lambda: runtime.store.probe(1.0),
        ):
            with pytest.raises(StoreError, match="is damaged"):
                write()
        assert (tmp_path / "store.db").read_bytes() == damaged
        mend()
        assert states(places.integrity_checks(runtime, 5.0))["store file"] == "ok"
        runtime.store.apply(Batch().put("shelf", "0001", b"mended"))
        assert runtime.store.get("shelf", "0001") == b"mended"
        assert runtime.store.get("shelf", "0150") == b"lamp" * 50


def test_a_damaged_log_takes_records_and_loses_none_to_retention(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}") as runtime:
        filled(runtime)
        damage_structure(tmp_path / "log.db", pages=1)
        assert states(places.integrity_checks(runtime, 5.0))["log file"] == "wrong"
        with pytest.raises(LogError, match="is damaged"):
            runtime.log.retain(max_bytes=0)


def test_a_file_too_large_for_the_time_is_not_called_damaged(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}") as runtime:
        filled(runtime)
        found = places.integrity_checks(runtime, 0.0)
        assert {check.state for check in found} == {"ok"}


@pytest.mark.parametrize(
    ("free", "state"), [(0, "wrong"), (31 * 2**20, "wrong"), (2**29, "warning"), (2**31, "ok")]
)
def test_the_disk_of_the_directory_itself_is_asked(
    free: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def usage(path: Path) -> object:
        asked.append(path)
        return type("Usage", (), {"total": 2**40, "free": free})

    monkeypatch.setattr(places.shutil, "disk_usage", usage)
    settings = Settings(url=f"sqlite:///{tmp_path}", store_url="redis://shelf", blob_url="s3://shelf")
    with opened() as runtime:
        (found,) = places.disk_check(replace(runtime, settings=settings))
    assert (found.what, found.state) == ("disk", state)
    assert asked == [tmp_path]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied", "/x/data"), "write permission"),
        (OSError(24, "Too many open files"), "ulimit"),
        (OSError(24, "Too many open files", "/x/data"), "ulimit"),
        (OSError(23, "Too many open files in system", "/x/data"), "ulimit"),
        (OSError(28, "No space left on device", "/x/data"), "free space"),
        (OSError(30, "Read-only file system", "/x/data"), "mount"),
        (FileNotFoundError(2, "No such file or directory", "/x/data"), "put it back"),
        (NotADirectoryError(20, "Not a directory", "/x/data"), "move it away"),
        (OSError(5, "Input/output error", "/x/data"), "disk is well"),
    ],
    ids=lambda given: str(given) if isinstance(given, OSError) else "",
)
def test_what_the_system_refuses_is_no_mistake_of_davys(error: OSError, words: str) -> None:
    def refuse() -> list[Check]:
        raise error

    (found,) = attempt("disk", refuse)
    assert (found.what, found.state) == ("disk", "wrong")
    assert words in found.remedy
    assert str(error.strerror) in found.found
    assert error.filename is None or error.filename in found.found


def test_what_nobody_foresaw_is_called_a_mistake() -> None:
    def fail() -> list[Check]:
        raise AttributeError("'NoneType' object has no attribute 'results'")

    (found,) = attempt("disk", fail)
    assert "mistake of Davy's" in found.remedy


def test_the_disk_of_a_directory_out_of_reach_is_told_with_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(path: Path) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    with opened() as runtime:
        settings = Settings(url=f"sqlite:///{tmp_path}/data")
        monkeypatch.setattr(Path, "exists", refuse)
        (found,) = attempt("disk", lambda: places.disk_check(replace(runtime, settings=settings)))
    assert (found.found, found.remedy) == (
        f"{tmp_path}/data: Permission denied",
        "give this user write permission",
    )


def test_the_doctor_prints_everything_whatever_cannot_be_opened(tmp_path: Path) -> None:
    for name in ("log", "blobs"):
        (tmp_path / name).mkdir()
    (tmp_path / "log" / "log.db").write_bytes(b"this is no database" * 1000)
    settings = Settings(
        url=f"sqlite:///{tmp_path}/log",
        store_url="redis://127.0.0.1:1?timeout=1",
        blob_url=f"file:///{tmp_path}/blobs",
    )
    with open_what_answers(settings) as runtime:
        checks = examine(runtime)
    found = states(checks)
    assert (found["log"], found["store"], found["blobs"]) == ("wrong", "wrong", "ok")
    assert {"davy", "disk"} <= found.keys()
    assert all(check.remedy for check in checks if check.state != "ok")
    reasons = [(check.found, check.remedy) for check in checks if check.state == "wrong"]
    assert len(reasons) == len(set(reasons))


def test_the_doctor_says_who_detects_and_what_is_unread(tmp_path: Path) -> None:
    with open_runtime(Settings(url=f"sqlite:///{tmp_path}")) as runtime:
        assert states(examine(runtime))["role detect"] == "warning"
        filled(runtime)
        (found,) = (check for check in examine(runtime) if check.what == "role detect")
    assert found.state == "wrong"
    assert "200 records unread" in found.found
    assert "davy run detect" in found.remedy
