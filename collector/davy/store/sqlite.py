"""The store in one SQLite file, shared by the processes of one host."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from davy._directory import filesystem_type
from davy._sqlite import Database
from davy.errors import LeaseLost, StoreError
from davy.store.base import Batch, Lease

_MIGRATIONS: Final = (
    (
        """
        CREATE TABLE records (
            collection TEXT NOT NULL,
            key TEXT NOT NULL,
            value BLOB NOT NULL,
            PRIMARY KEY (collection, key)
        )
        """,
        # A row stays when its right is given back, so that the fence goes on growing.
        "CREATE TABLE leases (name TEXT PRIMARY KEY, owner TEXT NOT NULL, fence INTEGER NOT NULL, until REAL NOT NULL)",
    ),
)
_STATEMENTS: Final = {
    "put": "INSERT OR REPLACE INTO records VALUES (?, ?, ?)",
    "add": "INSERT OR IGNORE INTO records VALUES (?, ?, ?)",
}
_PAGE: Final = 256


class SqliteStore:
    """A store in ``store.db``.

    Parameters
    ----------
    url
        ``sqlite:///relative/directory`` or ``sqlite:////absolute/directory``.
    clock
        Seconds since the epoch; by it leases expire.
    filesystem
        Names the type of the file system a path lies on; network file systems are refused.

    Raises
    ------
    StoreError
        The directory cannot be used, a newer Davy wrote the file, or it is not a store.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.time,
        filesystem: Callable[[Path], str] = filesystem_type,
    ) -> None:
        self.url = url
        self._clock = clock
        self._database = Database(url, "store.db", _MIGRATIONS, error=StoreError, filesystem=filesystem)

    def get(self, collection: str, key: str) -> bytes | None:
        """Give a record, or None."""
        query = "SELECT value FROM records WHERE collection = ? AND key = ?"
        with self._database.reading() as connection:
            row = connection.execute(query, (collection, key)).fetchone()
        return None if row is None else row[0]

    def get_many(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        """Give those of the records `keys` that are there, read a page at a time."""
        query = "SELECT key, value FROM records WHERE collection = ? AND key IN ({})"
        found: dict[str, bytes] = {}
        for start in range(0, len(keys), _PAGE):
            page = keys[start : start + _PAGE]
            marks = ", ".join("?" * len(page))
            with self._database.reading() as connection:
                found.update(connection.execute(query.format(marks), (collection, *page)).fetchall())
        return found

    def items(self, collection: str) -> Iterator[tuple[str, bytes]]:
        """Give every record of a collection, sorted by key.

        Records are read a page at a time, so no lock is held between them: one that stands all the while comes
        once, one that is written meanwhile may come or not.
        """
        query = "SELECT key, value FROM records WHERE collection = ? AND key {} ? ORDER BY key LIMIT ?"
        with self._database.reading() as connection:
            page = connection.execute(query.format(">="), (collection, "", _PAGE)).fetchall()
        while page:
            yield from page
            with self._database.reading() as connection:
                page = connection.execute(query.format(">"), (collection, page[-1][0], _PAGE)).fetchall()

    def count(self, collection: str) -> int:
        """How many records a collection has."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT count(*) FROM records WHERE collection = ?", (collection,)
            ).fetchone()
        return int(row[0])

    def apply(self, batch: Batch, *, lease: Lease | None = None) -> None:
        """Make every change of `batch` in one transaction.

        Raises
        ------
        LeaseLost
            `lease` was given and is no longer held with this fence; nothing was changed.
        StoreError
            The store refused; nothing was changed.
        """
        with self._database.writing() as connection:
            if lease is not None:
                self._refuse_without(lease, connection)
            for verb, collection, key, value in batch.operations:
                if verb == "delete":
                    statement = "DELETE FROM records WHERE collection = ? AND key = ?"
                    connection.execute(statement, (collection, key))
                else:
                    connection.execute(_STATEMENTS[verb], (collection, key, value))

    def acquire(self, name: str, owner: str, *, seconds: float, steal: bool = False) -> Lease | None:
        """Take or renew the right `name` for `seconds`; None while another owner holds it, unless to `steal` it."""
        with self._database.writing() as connection:
            now = self._clock()
            query = "SELECT owner, fence, until FROM leases WHERE name = ?"
            holder, fence, until = connection.execute(query, (name,)).fetchone() or ("", 0, 0.0)
            if holder != owner or fence == 0:
                if until > now and not steal:
                    return None
                fence += 1
            statement = "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)"
            connection.execute(statement, (name, owner, fence, now + seconds))
        return Lease(name, owner, fence)

    def release(self, lease: Lease) -> None:
        """Give a right back; harmless when it is lost already."""
        statement = "UPDATE leases SET until = 0 WHERE name = ? AND owner = ? AND fence = ?"
        with self._database.writing() as connection:
            connection.execute(statement, (lease.name, lease.owner, lease.fence))

    def scrub(self) -> None:
        """Let nothing that was deleted or replaced stay in the files."""
        self._database.compact()

    def close(self) -> None:
        """Let go of everything; calling it twice is harmless."""
        self._database.close()

    def _refuse_without(self, lease: Lease, connection: sqlite3.Connection) -> None:
        query = "SELECT 1 FROM leases WHERE name = ? AND owner = ? AND fence = ? AND until > ?"
        held = (lease.name, lease.owner, lease.fence, self._clock())
        if connection.execute(query, held).fetchone() is None:
            raise LeaseLost("lease", lease.name, f"{lease.owner} no longer holds it; acquire it again")
