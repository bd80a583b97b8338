"""The store in one SQLite file, shared by the processes of one host."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from davy._directory import filesystem_type
from davy._sqlite import Database
from davy.errors import LeaseLost, StoreError
from davy.store.base import Batch, Lease, first_fence

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
    # When a right was taken: later than now when the clock was set back since.
    ("ALTER TABLE leases ADD COLUMN taken REAL NOT NULL DEFAULT 0",),
)
_STATEMENTS: Final = {
    "put": "INSERT OR REPLACE INTO records VALUES (?, ?, ?)",
    "add": "INSERT OR IGNORE INTO records VALUES (?, ?, ?)",
}
_PAGE: Final = 256
IF_DAMAGED: Final = (
    "nothing is written to it any more; stop Davy and move store.db* aside, then restore a backup, or mend it with"
    " `sqlite3 store.db .recover`, or start without it: the log keeps the inferences, and roles count them anew"
)


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
        self._database = Database(
            url, "store.db", _MIGRATIONS, error=StoreError, if_damaged=IF_DAMAGED, filesystem=filesystem
        )

    def get(self, collection: str, key: str) -> bytes | None:
        """Return a record, or None."""
        query = "SELECT value FROM records WHERE collection = ? AND key = ?"
        with self._database.reading() as connection:
            row = connection.execute(query, (collection, key)).fetchone()
        return None if row is None else row[0]

    def get_many(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        """Return those of the records `keys` that are there, read a page at a time."""
        query = "SELECT key, value FROM records WHERE collection = ? AND key IN ({})"
        found: dict[str, bytes] = {}
        for start in range(0, len(keys), _PAGE):
            page = keys[start : start + _PAGE]
            marks = ", ".join("?" * len(page))
            with self._database.reading() as connection:
                found.update(connection.execute(query.format(marks), (collection, *page)).fetchall())
        return found

    def items(self, collection: str) -> Iterator[tuple[str, bytes]]:
        """Return every record of a collection, sorted by key.

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
        with self._writing() as connection:
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
        with self._writing() as connection:
            now = self._clock()
            query = "SELECT owner, fence, until, taken FROM leases WHERE name = ?"
            found = connection.execute(query, (name,)).fetchone()
            holder, fence, until, taken = found or ("", first_fence(), 0.0, 0.0)
            put = "INSERT OR REPLACE INTO leases (name, owner, fence, until, taken) VALUES (?, ?, ?, ?, ?)"
            if holder != owner:
                if until > now and not steal:
                    if taken > now:  # before the clock was set back: it ends no later than it would have
                        connection.execute(put, (name, holder, fence, now + until - taken, now))
                    return None
                fence += 1
            connection.execute(put, (name, owner, fence, now + seconds, now))
        return Lease(name, owner, fence)

    def release(self, lease: Lease) -> None:
        """Release a right; harmless when it is lost already."""
        statement = "UPDATE leases SET until = 0 WHERE name = ? AND owner = ? AND fence = ?"
        with self._writing() as connection:
            connection.execute(statement, (lease.name, lease.owner, lease.fence))

    def probe(self, timeout: float) -> str:
        """Commit a small write, waiting at most `timeout` seconds for other writers."""
        self._database.refuse_damaged()
        self._database.probe(timeout)
        return "a transaction was written"

    def damage(self, seconds: float) -> str | None:
        """Look the file over; what is found to be damaged is not written to any more."""
        return self._database.damage(seconds)

    def scrub(self) -> None:
        """Make sure that nothing that was deleted or replaced stays in the files."""
        self._database.compact()

    def shrink(self, *, everything: bool = False, rewrite: bool = False) -> int:
        """Hand room of the file that is free back to the disk; return how many bytes it got."""
        self._database.refuse_damaged()
        return self._database.shrink(everything=everything, rewrite=rewrite)

    def back_up(self, target: Path) -> None:
        """Copy the store as it is at one moment into a new file, while others read and write."""
        self._database.back_up(target)

    def close(self) -> None:
        """Release everything; calling it twice is harmless."""
        self._database.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self._database.refuse_damaged()
        with self._database.writing() as connection:
            yield connection

    def _refuse_without(self, lease: Lease, connection: sqlite3.Connection) -> None:
        query = "SELECT 1 FROM leases WHERE name = ? AND owner = ? AND fence = ? AND until > ?"
        held = (lease.name, lease.owner, lease.fence, self._clock())
        if connection.execute(query, held).fetchone() is None:
            raise LeaseLost("lease", lease.name, f"{lease.owner} no longer holds it; acquire it again")
