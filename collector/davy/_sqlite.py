"""One SQLite file that threads and processes of one host share: opening, migrations, transactions, errors."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from davy._connections import Connections
from davy._directory import directory_of, filesystem_type, is_network, make_directory, way_out
from davy.errors import DavyError

_OPEN_SECONDS: Final = 30.0
_CHECKPOINT_SECONDS: Final = 1.0
_SCRUB_SECONDS: Final = 10.0
_INCREMENTAL: Final = 2
"""What ``PRAGMA auto_vacuum`` says of a file that can give single pages back."""
_SHRINK_BYTES: Final = 4 * 2**20
"""So much is given back in one transaction."""
_SPARE_SHARE: Final = 0.01
_SPARE_BYTES: Final = 8 * 2**20
_REWRITE_BYTES: Final = 128 * 2**20
_REWRITE_SECONDS: Final = 5.0
"""So much is written anew, and for so long, without being asked: writers wait meanwhile."""
_FIRST_WAIT: Final = 0.0003
_LONGEST_WAIT: Final = 0.004
_PERMISSION: Final = "give this user write permission on the directory and its files"
_REMEDIES: Final = {
    sqlite3.SQLITE_READONLY: _PERMISSION,
    sqlite3.SQLITE_PERM: _PERMISSION,
    sqlite3.SQLITE_FULL: "free space on the disk",
    sqlite3.SQLITE_NOTADB: "this is no SQLite file; move it and its -wal and -shm files away",
    sqlite3.SQLITE_TOOBIG: "a value is too large; put it into the blob store",
}
_UNSAID: Final = {
    sqlite3.SQLITE_CANTOPEN: _PERMISSION,
    sqlite3.SQLITE_IOERR: "see that the disk is well",
}
"""What to do where SQLite does not say what the system refused, and the system refuses nothing now."""
_FILES: Final = 4
"""SQLite opens three files, this looks at a directory."""
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_logger = logging.getLogger("davy.sqlite")


@dataclass(frozen=True, slots=True)
class FileUsage:
    """Bytes that a file takes with its -wal, and how many are in use and free for what comes; whether it can shrink."""

    disk: int
    used: int
    free: int
    shrinks: bool


class Database:
    """A file in write-ahead mode, migrated to this version's tables.

    Parameters
    ----------
    url
        ``sqlite:///relative/directory`` or ``sqlite:////absolute/directory``; the directory is made.
    name
        Name of the file in it.
    migrations
        Statements that lead from one version of the file to the next; a file's version is how many it has had.
    error
        What is raised when SQLite refuses.
    if_damaged
        The way out when the file is damaged, in words.
    filesystem
        Names the type of the file system a path lies on.

    Notes
    -----
    ``synchronous=NORMAL``: what a transaction wrote outlives the process, killed or not; a power failure may take the
    last moments but never leaves half a transaction (SQLite documentation, "Write-Ahead Logging").
    """

    def __init__(
        self,
        url: str,
        name: str,
        migrations: Sequence[Sequence[str]],
        *,
        error: type[DavyError],
        if_damaged: str,
        filesystem: Callable[[Path], str] = filesystem_type,
    ) -> None:
        self.path = make_directory(directory_of(url), error).resolve() / name
        self._error = error
        self._if_damaged = if_damaged
        self._damage = ""
        self._migrations = migrations
        self._filesystem = filesystem
        self._connections = Connections(self.path, error, self._prepare)
        with self._failures("be opened", _OPEN_SECONDS), self._connections.use():
            pass

    @property
    def replaced(self) -> int:
        """How often the file was moved or deleted while it was open here, and another took its place."""
        return self._connections.replaced

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Return this thread's connection for queries; every query sees one state of the database."""
        with self._failures("be read", _OPEN_SECONDS), self._connections.use() as connection:
            _wait_for_locks(connection, _OPEN_SECONDS)
            yield connection

    @contextmanager
    def writing(self, timeout: float = _OPEN_SECONDS) -> Iterator[sqlite3.Connection]:
        """Return this thread's connection in a transaction, committed at the end or undone on any error.

        Waits at most `timeout` seconds for other writers.
        """
        with self._failures("be written", timeout), self._connections.use() as connection:
            before = connection.total_changes
            try:
                _begin(connection, timeout)
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            self._connections.written += connection.total_changes - before
            if self._connections.moved:
                remedy = "was moved or deleted while it was written; do it again, in the new one"
                raise self._error("file", str(self.path), remedy)

    def probe(self, timeout: float) -> None:
        """Commit a write that changes nothing: the version of the file becomes what it is; raises when it cannot be."""
        with self.writing(timeout) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            connection.execute(f"PRAGMA user_version = {version}")

    def damage(self, seconds: float) -> str | None:
        """Look the whole file over, as others go on reading and writing.

        Returns
        -------
        str or None
            What is damaged, empty when nothing is; None when `seconds` were not enough to know.
        """
        self._connections.renew()  # what a connection remembers of the file may be older than the damage
        try:
            with self._failures("be looked over", seconds), self._connections.use() as connection:
                found = _quick_check(connection, seconds)
        finally:
            self._connections.renew()
        if found is not None and found != self._damage:
            self._note(found)
        return found

    def refuse_damaged(self) -> None:
        """Raise when the last look at the file found damage: writing on could spoil what can still be saved."""
        if self._damage:
            raise self._error("file", str(self.path), f"is damaged ({self._damage}): {self._if_damaged}")

    def checkpoint(self, timeout: float = _CHECKPOINT_SECONDS) -> bool:
        """Move the write-ahead file into the database and cut it to nothing; False when others were in the way."""
        deadline = time.monotonic() + timeout
        with self.reading() as connection:
            while True:
                left = deadline - time.monotonic()
                _wait_for_locks(connection, max(0.0, left))
                busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if not busy or left <= 0:
                    return not busy
                # While another connection checkpoints, SQLite answers at once and does not wait for its lock.
                time.sleep(_LONGEST_WAIT)

    def compact(self) -> None:
        """Write the database anew, in time proportional to its size: nothing but what it holds is in it then.

        ``secure_delete`` overwrites what is deleted, but when SQLite moves a record to another page, a copy may stay
        in the unused part of the old one, out of its reach.
        """
        with self.reading() as connection:
            _rewrite(connection)
        self.scrub()

    def room(self) -> FileUsage:
        """Return what the file takes on the disk, and how much of that is free."""
        with self.reading() as connection:
            size, pages, free, mode = (
                int(connection.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_size", "page_count", "freelist_count", "auto_vacuum")
            )
        return FileUsage(self._disk_bytes(), size * (pages - free), size * free, mode == _INCREMENTAL)

    def shrink(self, *, everything: bool = False, rewrite: bool = False) -> int:
        """Hand free room back to the disk in short transactions; return the bytes it got.

        A hundredth of the file and 8 MiB stay for what comes, unless `everything` goes. A file of an older version has
        to be written anew first, once, while writers wait: that is done when it holds 128 MiB at most, for five
        seconds at most, and otherwise when asked for by `rewrite`. It takes room on the disk for what the file holds.
        """
        before, moved = self._disk_bytes(), False
        if not self.room().shrinks:
            moved = self._rewrite(asked=rewrite)
            if not moved:
                return 0
        with self.reading() as connection:
            size, pages = (
                int(connection.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_size", "page_count")
            )
        spare = 0 if everything else int(_SPARE_SHARE * pages) + _SPARE_BYTES // size
        while self._give_back(spare, _SHRINK_BYTES // size):
            moved = True
            time.sleep(2 * _LONGEST_WAIT)  # writers get their turn
        if moved or everything:
            self.checkpoint()
        return max(0, before - self._disk_bytes())

    def back_up(self, target: Path) -> None:
        """Copy one state of the database into a new file, while others read and write, and look the copy over.

        Raises
        ------
        DavyError
            The copy cannot be written, or is damaged as the file is.
        """
        target.touch(mode=0o600, exist_ok=False)
        with self.reading() as connection, closing(sqlite3.connect(target)) as copy:
            try:
                connection.backup(copy)
                copy.execute("PRAGMA synchronous = FULL")
                found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
            except sqlite3.Error as error:
                # A disk that is full shows as either, and the second may be of the file that is read.
                code, room = error.sqlite_errorcode & 0xFF, shutil.disk_usage(target.parent).free
                if code != sqlite3.SQLITE_FULL and (
                    code != sqlite3.SQLITE_IOERR or room > self.path.stat().st_size
                ):
                    raise
                raise self._error("file", str(target), "no room is left: free space on its disk") from error
        if found != "ok":
            raise self._error("file", str(self.path), f"is damaged ({found}): {self._if_damaged}")

    def scrub(self) -> None:
        """Cut the write-ahead file, which holds older pages; raises when others used the database all the time."""
        if not self.checkpoint(_SCRUB_SECONDS):
            busy = f"others read it for {_SCRUB_SECONDS:g} s, so deleted bytes are still in its -wal file"
            raise self._error("file", str(self.path), f"{busy}; try again")

    def close(self) -> None:
        """Close the connections of every thread; calling it twice is harmless."""
        self._connections.close()

    @contextmanager
    def _failures(self, verb: str, timeout: float) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as failure:
            code = getattr(failure, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            busy = f"another process held it for {timeout:g} s; try again"
            advice = busy if code == sqlite3.SQLITE_BUSY else _REMEDIES.get(code, "the database refused")
            if code in _UNSAID:
                advice = _refused_by_system(self.path.parent) or _UNSAID[code]
            if code == sqlite3.SQLITE_CORRUPT:
                advice = f"the file is damaged: {self._if_damaged}"
            raise self._refused(verb, failure, advice) from failure
        except OSError as failure:
            raise self._refused(verb, failure, _advice(failure)) from failure
        except (UnicodeEncodeError, OverflowError) as failure:
            raise self._refused(
                verb, failure, "give text that UTF-8 can hold and 64-bit numbers"
            ) from failure

    def _refused(self, verb: str, failure: Exception, advice: str) -> DavyError:
        return self._error("file", str(self.path), f"cannot {verb} ({failure}): {advice}")

    def _disk_bytes(self) -> int:
        paths = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(path.stat().st_size for path in paths if path.exists())

    def _give_back(self, spare: int, most: int) -> bool:
        """Hand back up to `most` of the free pages beyond `spare`; return whether there were any."""
        with self.reading() as connection:
            free = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
            if free <= spare:
                return False
            # Of a statement without columns `execute` does the first step only, which is one page.
            connection.executescript(f"PRAGMA incremental_vacuum({min(most, free - spare)})")
        return True

    def _rewrite(self, *, asked: bool) -> bool:
        """Write a file of an older version anew so that it can shrink; False when it is too large to do so unasked."""
        if not asked and self.room().used > _REWRITE_BYTES:
            return False
        begun = time.monotonic()
        try:
            with self.reading() as connection, _interrupted(connection, None if asked else _REWRITE_SECONDS):
                _rewrite(connection)
        except DavyError as error:
            if asked or getattr(error.__cause__, "sqlite_errorcode", 0) != sqlite3.SQLITE_INTERRUPT:
                raise
            return False
        said = "%s was written anew in %.1f s: from now on it shrinks when it holds less"
        _logger.info(said, self.path, time.monotonic() - begun)
        return True

    def _note(self, damage: str) -> None:
        self._damage = damage
        if damage:
            _logger.error("%s is damaged (%s): %s", self.path, damage, self._if_damaged)
        else:
            _logger.warning("%s is whole again", self.path)
            self._connections.close()  # with the damaged pages they remember

    def _prepare(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """Make the file when there is none, and bring it to this version's tables."""
        make_directory(self.path.parent, self._error)
        kind = self._filesystem(self.path.parent)
        if is_network(kind):
            remedy = f"lies on a network file system ({kind}), where file locks fail; choose a local disk"
            raise self._error("directory", str(self.path.parent), remedy)
        if not self.path.exists():
            self._make()
        connection = connect()
        if self._version(connection) == len(self._migrations):
            return
        connection.execute(
            "PRAGMA auto_vacuum = INCREMENTAL"
        )  # of a file without tables; any other stays as it is
        _use_write_ahead_log(connection)
        _begin(connection, _OPEN_SECONDS)
        for statements in self._migrations[self._version(connection) :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(self._migrations)}")
        connection.execute("COMMIT")

    def _make(self) -> None:
        """Make an empty file, once, whoever else tries.

        What a file that was moved alone has left here is set aside: SQLite would take it for the new file's.
        """
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            if self.path.exists():
                return
            for left in (self.path.with_name(self.path.name + suffix) for suffix in ("-wal", "-shm")):
                if left.exists():
                    left.replace(left.with_name(f"{left.name}.left"))
            self.path.touch(mode=0o600)
        finally:
            os.close(directory)

    def _version(self, connection: sqlite3.Connection) -> int:
        found = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if found > len(self._migrations):
            remedy = f"a newer Davy wrote it (version {found}, this one reads {len(self._migrations)}); upgrade Davy"
            raise self._error("file", str(self.path), remedy)
        return found


def _advice(failure: OSError) -> str:
    return _PERMISSION if failure.errno in {errno.EACCES, errno.EPERM} else way_out(failure)


def _refused_by_system(directory: Path) -> str:
    """Return what to do about what the system refuses here, empty when it refuses nothing.

    The directory is tried and not the file: closing a file gives back every lock this process has on it.
    """
    held: list[int] = []
    try:
        while len(held) < _FILES:
            held.append(os.open(directory, os.O_RDONLY))
    except OSError as failure:
        return _advice(failure)
    finally:
        for one in held:
            os.close(one)
    return ""


def _quick_check(connection: sqlite3.Connection, seconds: float) -> str | None:
    _wait_for_locks(connection, seconds)
    try:
        with _interrupted(connection, seconds):
            rows = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.Error as failure:
        code = getattr(failure, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _DAMAGED:
            return str(failure)
        if code in {sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY}:
            return None
        raise
    said = "; ".join(str(text) for (text,) in rows)
    return "" if said == "ok" else " ".join(said.split())


@contextmanager
def _interrupted(connection: sqlite3.Connection, seconds: float | None) -> Iterator[None]:
    """Interrupt what the connection does in this block after so many seconds, if any."""
    if seconds is None:
        yield
        return
    over = threading.Timer(seconds, connection.interrupt)
    over.daemon = True
    over.start()
    try:
        yield
    finally:
        over.cancel()
        over.join()


def _rewrite(connection: sqlite3.Connection) -> None:
    """Write the database anew, such that it can give single pages back."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("VACUUM")


def _begin(connection: sqlite3.Connection, timeout: float) -> None:
    """Take the write lock: SQLite's own waiting backs off to 0.1 s, which starves one writer among busy ones."""
    _wait_for_locks(connection, 0)
    deadline, wait = time.monotonic() + timeout, _FIRST_WAIT
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as failure:
            left = deadline - time.monotonic()
            if failure.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or left <= 0:
                raise
        time.sleep(min(wait, left))
        wait = min(wait * 1.2, _LONGEST_WAIT)


def _wait_for_locks(connection: sqlite3.Connection, timeout: float) -> None:
    connection.execute(f"PRAGMA busy_timeout = {int(timeout * 1000)}")


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Change the journal mode; SQLite does not wait for other processes that do the same, so this does."""
    deadline = time.monotonic() + _OPEN_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as failure:
            if failure.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
