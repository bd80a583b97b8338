"""What the SQLite log and the SQLite store promise about their file."""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.descriptors import no_more_files

from davy._connections import Connections
from davy._directory import filesystem_type
from davy.errors import DavyError, LogError, SettingError, StoreError
from davy.log import Message
from davy.log.sqlite import SqliteLog
from davy.store import Batch
from davy.store.sqlite import SqliteStore

pytestmark = pytest.mark.fast

NOBODY = 65534


class Kind:
    """The log or the store, by what these tests do to both."""

    def __init__(self, make: Callable[..., Any], name: str, error: type[DavyError]) -> None:
        self.make, self.name, self.error = make, name, error

    def write(self, opened: Any, value: bytes) -> None:
        if isinstance(opened, SqliteLog):
            opened.producer().append([Message("davy.flags", "k", value)])
        else:
            opened.apply(Batch().put("c", value.decode(), value))

    def read(self, opened: Any) -> list[bytes]:
        if isinstance(opened, SqliteLog):
            return [record.value for record in opened.read("davy.flags", 0, 0)]
        return [value for _, value in opened.items("c")]


@pytest.fixture(params=["log", "store"])
def kind(request: pytest.FixtureRequest) -> Kind:
    kinds = {
        "log": Kind(SqliteLog, "log.db", LogError),
        "store": Kind(SqliteStore, "store.db", StoreError),
    }
    return kinds[request.param]


@pytest.fixture
def locked_directory() -> Iterator[Path]:
    """A directory this user may not write to, also when the tests run as root."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    yield directory
    os.seteuid(user)
    directory.chmod(0o700)
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


@pytest.fixture
def own_directory() -> Iterator[Path]:
    """A directory of this user, who is not root."""
    directory = Path(tempfile.mkdtemp())
    user = os.geteuid()
    if user == 0:
        os.chown(directory, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    yield directory
    os.seteuid(user)
    directory.chmod(0o700)
    shutil.rmtree(directory)


def test_a_directory_out_of_reach_is_not_called_moved_and_is_gone_on_with_when_it_is_back(
    kind: Kind, own_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = own_directory / "data"
    opened = kind.make(f"sqlite:///{place}")
    kind.write(opened, b"before")
    place.chmod(0)
    for _ in range(2):
        for use in (
            lambda: kind.write(opened, b"lost"),
            lambda: kind.read(opened),
            lambda: opened.probe(1.0),
        ):
            with pytest.raises(kind.error, match=r"Permission denied.*give this user write permission"):
                use()
    with (
        ThreadPoolExecutor() as pool,  # a thread without a connection yet
        pytest.raises(kind.error, match="give this user write permission"),
    ):
        pool.submit(kind.read, opened).result()
    place.chmod(0o700)
    kind.write(opened, b"after")
    assert sorted(kind.read(opened)) == [b"after", b"before"]
    assert (caplog.records, opened._database.replaced) == ([], 0)
    opened.close()


@pytest.mark.parametrize("use", ["read", "damage"])
def test_used_up_descriptors_are_not_called_a_lack_of_permission(
    kind: Kind, use: str, tmp_path: Path
) -> None:
    opened = kind.make(f"sqlite:///{tmp_path}")
    kind.write(opened, b"before")
    opened.close()
    with no_more_files(), pytest.raises(kind.error, match=r"too many files are open.*ulimit"):
        _ = kind.read(opened) if use == "read" else opened.damage(1.0)
    assert kind.read(opened) == [b"before"]
    opened.close()


def test_the_directory_and_its_files_are_the_owners_alone(kind: Kind, tmp_path: Path) -> None:
    opened = kind.make(f"sqlite:///{tmp_path}/made/here")
    kind.write(opened, b"secret")
    assert stat.S_IMODE((tmp_path / "made/here").stat().st_mode) == 0o700
    files = list((tmp_path / "made/here").iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert kind.name in {path.name for path in files}


def test_three_slashes_are_relative_and_four_absolute(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    opened = kind.make("sqlite:///.davy")
    monkeypatch.chdir("/")
    kind.write(opened, b"v")
    assert kind.read(kind.make(f"sqlite:///{tmp_path}/.davy")) == [b"v"]


@pytest.mark.parametrize("url", ["sqlite://host/directory", "sqlite://", "sqlite:///"])
def test_a_url_without_a_path_is_refused(kind: Kind, url: str) -> None:
    with pytest.raises(SettingError, match="sqlite:///relative/directory"):
        kind.make(url)


def test_a_file_of_a_newer_version_is_refused_and_left_alone(kind: Kind, tmp_path: Path) -> None:
    kind.make(f"sqlite:///{tmp_path}").close()
    with sqlite3.connect(tmp_path / kind.name) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = (tmp_path / kind.name).read_bytes()
    with pytest.raises(kind.error, match=r"newer Davy.*99.*upgrade"):
        kind.make(f"sqlite:///{tmp_path}")
    assert (tmp_path / kind.name).read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(kind: Kind, tmp_path: Path) -> None:
    (tmp_path / kind.name).write_bytes(b"something else" * 1000)
    with pytest.raises(kind.error, match="no SQLite file"):
        kind.make(f"sqlite:///{tmp_path}")
    assert (tmp_path / kind.name).read_bytes() == b"something else" * 1000


@pytest.mark.parametrize("filesystem", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs"])
def test_a_network_file_system_is_refused_before_a_file_is_made(
    kind: Kind, tmp_path: Path, filesystem: str
) -> None:
    with pytest.raises(kind.error, match=f"network file system.*{filesystem}.*local disk"):
        kind.make(f"sqlite:///{tmp_path}", filesystem=lambda path: filesystem)
    assert list(tmp_path.iterdir()) == []


def test_the_mount_point_nearest_to_the_directory_decides_its_file_system(tmp_path: Path) -> None:
    mounts = f"/dev/a / ext4 rw 0 0\nhost:/x {tmp_path}/with\\040space nfs4 rw 0 0\n"
    assert filesystem_type(tmp_path / "with space" / "davy", mounts) == "nfs4"
    assert filesystem_type(tmp_path / "with", mounts) == "ext4"
    covered = f"{mounts}tmpfs {tmp_path}/with\\040space tmpfs rw 0 0\n"
    assert filesystem_type(tmp_path / "with space", covered) == "tmpfs"


def test_a_directory_without_write_permission_is_refused_with_a_remedy(
    kind: Kind, locked_directory: Path
) -> None:
    with pytest.raises(kind.error, match=r"write permission on the directory"):
        kind.make(f"sqlite:///{locked_directory}")
    with pytest.raises(kind.error, match=r"choose a directory this user may write to"):
        kind.make(f"sqlite:///{locked_directory}/below")


def test_a_path_below_a_file_is_refused_with_a_remedy(kind: Kind, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(kind.error, match="choose a directory"):
        kind.make(f"sqlite:///{tmp_path}/file/below")


def test_readers_go_on_and_writers_wait_while_another_process_writes(kind: Kind, tmp_path: Path) -> None:
    opened = kind.make(f"sqlite:///{tmp_path}")
    kind.write(opened, b"1")
    other = sqlite3.connect(tmp_path / kind.name, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer = threading.Thread(target=kind.write, args=(opened, b"2"))
    writer.start()
    assert kind.read(opened) == [b"1"]
    other.execute("COMMIT")
    other.close()
    writer.join()
    assert kind.read(opened) == [b"1", b"2"]


def test_an_append_to_a_log_locked_for_longer_than_the_timeout_keeps_nothing(tmp_path: Path) -> None:
    log = SqliteLog(f"sqlite:///{tmp_path}")
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogError, match=r"log\.db.*held it for 0\.05 s; try again"):
        log.producer().append(
            [Message("davy.flags", "k", b"1"), Message("davy.flags", "k", b"2")], timeout=0.05
        )
    other.execute("COMMIT")
    other.close()
    assert list(log.read("davy.flags", 0, 0)) == []
    log.producer().append([Message("davy.flags", "k", b"3")])
    assert [record.value for record in log.read("davy.flags", 0, 0)] == [b"3"]


def test_many_threads_may_open_one_new_file_at_once(kind: Kind, tmp_path: Path) -> None:
    def open_and_write(number: int) -> None:
        opened = kind.make(f"sqlite:///{tmp_path}/new")
        kind.write(opened, b"%d" % number)
        opened.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(open_and_write, range(16)))
    assert sorted(map(int, kind.read(kind.make(f"sqlite:///{tmp_path}/new")))) == list(range(16))


def test_threads_that_ended_leave_no_open_files(kind: Kind, tmp_path: Path) -> None:
    opened = kind.make(f"sqlite:///{tmp_path}")

    def open_files() -> int:
        paths = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return sum(path.is_relative_to(tmp_path) for path in paths)

    def use() -> None:
        thread = threading.Thread(target=kind.write, args=(opened, b"1"))
        thread.start()
        thread.join()

    use()
    first = open_files()
    for _ in range(20):
        use()
    assert open_files() <= first + 3
    opened.close()
    assert open_files() == 0


def test_a_closed_file_opens_again_on_use(kind: Kind, tmp_path: Path) -> None:
    opened = kind.make(f"sqlite:///{tmp_path}")
    kind.write(opened, b"1")
    opened.close()
    assert kind.read(opened) == [b"1"]


def test_deleted_bytes_leave_the_write_ahead_file(tmp_path: Path) -> None:
    log = SqliteLog(f"sqlite:///{tmp_path}")
    log.producer().append([Message("davy.flags", "k", bytes(10_000))] * 300)
    assert (tmp_path / "log.db-wal").stat().st_size > 3_000_000
    log.retain(max_bytes=0)
    assert (tmp_path / "log.db-wal").stat().st_size == 0
    size = (tmp_path / "log.db").stat().st_size
    log.producer().append([Message("davy.flags", "k", bytes(10_000))] * 250)
    log.retain(max_bytes=10**9, before=0)
    assert (tmp_path / "log.db").stat().st_size <= size


def _mark(number: int) -> bytes:
    return b"<%010d>" % number


def _value(number: int, size: int) -> bytes:
    return _mark(number) * (size // 12 + 1)


def _marks_in(directory: Path) -> set[bytes]:
    found = b"".join(path.read_bytes() for path in directory.iterdir())
    return set(re.findall(rb"<\d{10}>", found))


@pytest.mark.parametrize("seed", range(12))
def test_nothing_that_was_deleted_or_replaced_is_in_the_files_of_a_scrubbed_store(
    tmp_path: Path, seed: int
) -> None:
    rng, kept = random.Random(seed), dict[str, int]()
    store = SqliteStore(f"sqlite:///{tmp_path}")
    for number in range(600):
        key = f"k{rng.randrange(60)}"
        if rng.random() < 0.35:
            store.apply(Batch().delete("c", key))
            kept.pop(key, None)
        else:
            size = rng.choice([12, 60, 200, 900, 3000, 20_000])
            store.apply(Batch().put("c", key, _value(number, size)))
            kept[key] = number
    store.scrub()
    assert _marks_in(tmp_path) == {_mark(number) for number in kept.values()}


@pytest.mark.parametrize("how", ["moved with its companions", "moved alone", "deleted", "directory deleted"])
def test_who_has_a_file_open_that_goes_away_goes_on_in_a_new_one(
    kind: Kind, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "davy"
    opened = kind.make(f"sqlite:///{directory}")
    kind.write(opened, b"old")
    if how == "directory deleted":
        shutil.rmtree(directory)
    for path in list(directory.glob(f"{kind.name}*")):
        if how == "moved with its companions":
            path.rename(tmp_path / path.name)
        elif how == "deleted" or path.name == kind.name:
            path.rename(tmp_path / path.name) if how == "moved alone" else path.unlink()
    kind.write(opened, b"new")
    assert kind.read(opened) == kind.read(kind.make(f"sqlite:///{directory}")) == [b"new"]
    said = [record.getMessage() for record in caplog.records if "moved or deleted" in record.getMessage()]
    assert len(said) == 1
    assert "Rows of this process in the old: 1" in said[0]
    opened.close()
    if how.startswith("moved"):  # also when its newest rows are in the companion that stayed
        for left in directory.glob("*.left"):
            left.rename(tmp_path / left.name.removesuffix(".left"))
        assert kind.read(kind.make(f"sqlite:///{tmp_path}")) == [b"old"]


def test_what_is_written_while_the_file_is_moved_is_refused_and_may_be_written_again(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = kind.make(f"sqlite:///{tmp_path}/davy")
    kind.write(opened, b"old")
    begun = Connections.use

    @contextmanager
    def use(connections: Connections) -> Iterator[sqlite3.Connection]:
        with begun(connections) as connection:
            monkeypatch.undo()
            (tmp_path / "davy").rename(tmp_path / "away")
            yield connection

    monkeypatch.setattr(Connections, "use", use)
    with pytest.raises(kind.error, match="moved or deleted while it was written"):
        kind.write(opened, b"between")
    kind.write(opened, b"between")
    assert kind.read(opened) == [b"between"]


def test_the_remedy_for_a_damaged_file_works_without_opening_anew(kind: Kind, tmp_path: Path) -> None:
    opened = kind.make(f"sqlite:///{tmp_path}/davy")
    kind.write(opened, b"old")
    opened.close()
    (tmp_path / "davy" / kind.name).write_bytes(b"no database" * 1000)
    with pytest.raises(kind.error, match="move it and its -wal and -shm files away"):
        kind.write(opened, b"new")
    for path in list((tmp_path / "davy").glob(f"{kind.name}*")):
        path.rename(tmp_path / path.name)
    kind.write(opened, b"new")
    assert kind.read(opened) == [b"new"]


def test_several_threads_go_on_in_one_new_file(kind: Kind, tmp_path: Path) -> None:
    opened, many = kind.make(f"sqlite:///{tmp_path}/davy"), range(8)
    with ThreadPoolExecutor(len(many)) as pool:
        list(pool.map(lambda number: kind.write(opened, b"old %d" % number), many))
        shutil.rmtree(tmp_path / "davy")
        list(pool.map(lambda number: kind.write(opened, b"new %d" % number), many))
    assert sorted(kind.read(opened)) == [b"new %d" % number for number in many]
    assert opened._database.replaced == 1


@pytest.mark.parametrize("seed", range(12))
def test_nothing_that_was_erased_is_in_the_files_of_a_log(tmp_path: Path, seed: int) -> None:
    rng, kept = random.Random(seed), set[int]()
    log = SqliteLog(f"sqlite:///{tmp_path}")
    producer = log.producer()
    for number in range(0, 400, 4):
        sizes = [rng.choice([12, 200, 900, 3000, 20_000]) for _ in range(4)]
        producer.append([Message("t", "k", _value(number + row, size)) for row, size in enumerate(sizes)])
        kept.update(range(number, number + 4))
        if rng.random() < 0.3:
            records = [record for record in log.read("t", 0, 0) if record.value]
            some = rng.sample(records, rng.randint(1, 4))
            log.erase("t", 0, {record.offset: b"" for record in some})
            kept.difference_update(int(record.value[1:11]) for record in some)
    assert _marks_in(tmp_path) == set(map(_mark, kept))
    log.retain(max_bytes=200_000)
    log.shrink(everything=True)  # what is kept moves into the room of what is gone
    kept = {int(record.value[1:11]) for record in log.read("t", 0, 0) if record.value}
    assert _marks_in(tmp_path) == set(map(_mark, kept))


def test_erasing_says_so_when_a_reader_keeps_old_bytes_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davy._sqlite._SCRUB_SECONDS", 0.1)
    log = SqliteLog(f"sqlite:///{tmp_path}")
    log.producer().append([Message("t", "k", b"secret")])
    (record,) = log.read("t", 0, 0)
    reader = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM records").fetchone()
    with pytest.raises(LogError, match="try again"):
        log.erase("t", 0, {record.offset: b""})
    reader.close()
    log.erase("t", 0, {record.offset: b""})
    assert all(b"secret" not in path.read_bytes() for path in tmp_path.iterdir())


def test_a_log_of_the_first_version_is_read_and_erased_as_any_other(tmp_path: Path) -> None:
    log = SqliteLog(f"sqlite:///{tmp_path}")
    log.producer().append([Message("t", "k", b"one"), Message("t", "k", b"secret")])
    log.close()
    with sqlite3.connect(tmp_path / "log.db") as older:
        older.execute("DROP TABLE erased")
        older.execute("DROP TABLE identity")
        older.execute("PRAGMA user_version = 1")
    older.close()
    log = SqliteLog(f"sqlite:///{tmp_path}")
    offset = [record.offset for record in log.read("t", 0, 0)][1]
    log.erase("t", 0, {offset: b"s"})
    assert [record.value for record in log.read("t", 0, 0)] == [b"one", b"s"]
