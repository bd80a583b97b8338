"""One SQLite file that threads and processes of one host share: opening, migrations, transactions, errors."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from davy._connections import Connections
from davy._directory import directory_of, filesystem_type, is_network, make_directory
from davy.errors import DavyError

_OPEN_SECONDS: Final = 30.0
_CHECKPOINT_SECONDS: Final = 1.0
_SCRUB_SECONDS: Final = 10.0
_FIRST_WAIT: Final = 0.0003
_LONGEST_WAIT: Final = 0.004
_PERMISSION: Final = "give this user write permission on the directory and its files"
_REMEDIES: Final = {
    sqlite3.SQLITE_READONLY: _PERMISSION,
    sqlite3.SQLITE_CANTOPEN: _PERMISSION,
    sqlite3.SQLITE_PERM: _PERMISSION,
    sqlite3.SQLITE_FULL: "free space on the disk",
    sqlite3.SQLITE_NOTADB: "this is no SQLite file; move it away",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; move it away or restore a backup",
    sqlite3.SQLITE_TOOBIG: "a value is too large; put it into the blob store",
}


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
        filesystem: Callable[[Path], str] = filesystem_type,
    ) -> None:
        directory = make_directory(directory_of(url), error)
        self.path = directory.resolve() / name
        self._error = error
        self._connections = Connections(self.path, error)
        kind = filesystem(self.path.parent)
        if is_network(kind):
            remedy = f"lies on a network file system ({kind}), where file locks fail; choose a local disk"
            raise error("directory", str(directory), remedy)
        with self._failures("be opened", _OPEN_SECONDS):
            if not self.path.exists():
                self.path.touch(mode=0o600)
            self._migrate(migrations)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give this thread's connection for queries; every query sees one state of the database."""
        with self._failures("be read", _OPEN_SECONDS), self._connections.use() as connection:
            _wait_for_locks(connection, _OPEN_SECONDS)
            yield connection

    @contextmanager
    def writing(self, timeout: float = _OPEN_SECONDS) -> Iterator[sqlite3.Connection]:
        """Give this thread's connection in a transaction, committed at the end or undone on any error.

        Waits at most `timeout` seconds for other writers.
        """
        with self._failures("be written", timeout), self._connections.use() as connection:
            try:
                _begin(connection, timeout)
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def checkpoint(self, timeout: float = _CHECKPOINT_SECONDS) -> bool:
        """Move the write-ahead file into the database and cut it to nothing; False when others were in the way."""
        with self.reading() as connection:
            _wait_for_locks(connection, timeout)
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def compact(self) -> None:
        """Write the database anew, in time proportional to its size: nothing but what it holds is in it then.

        ``secure_delete`` overwrites what is deleted, but when SQLite moves a record to another page, a copy may stay
        in the unused part of the old one, out of its reach.
        """
        with self.reading() as connection:
            connection.execute("VACUUM")
        self.scrub()

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
            raise self._refused(verb, failure, advice) from failure
        except OSError as failure:
            raise self._refused(verb, failure, _PERMISSION) from failure
        except (UnicodeEncodeError, OverflowError) as failure:
            raise self._refused(
                verb, failure, "give text that UTF-8 can hold and 64-bit numbers"
            ) from failure

    def _refused(self, verb: str, failure: Exception, advice: str) -> DavyError:
        return self._error("file", str(self.path), f"cannot {verb} ({failure}): {advice}")

    def _migrate(self, migrations: Sequence[Sequence[str]]) -> None:
        with self._connections.use() as connection:
            if self._version(connection, migrations) == len(migrations):
                return
            _use_write_ahead_log(connection)
        with self.writing() as connection:
            for statements in migrations[self._version(connection, migrations) :]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(migrations)}")

    def _version(self, connection: sqlite3.Connection, migrations: Sequence[object]) -> int:
        found = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if found > len(migrations):
            remedy = (
                f"a newer Davy wrote it (version {found}, this one reads {len(migrations)}); upgrade Davy"
            )
            raise self._error("file", str(self.path), remedy)
        return found


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
