"""The log in one SQLite file, shared by the processes of one host."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

from davy._directory import filesystem_type
from davy._sqlite import Database
from davy.errors import LogError
from davy.log._clients import GroupConsumer, LogProducer
from davy.log.base import Assigned, Consumer, Extent, Message, Position, Producer, Record, Waiting

# AUTOINCREMENT: a plain rowid is used again once the newest record is deleted. `number` counts the records of a topic,
# `total_bytes` the bytes of all values so far, so that lag and size are differences of two records. The value comes
# last: what stands behind a large value is only reached through all of its pages.
_MIGRATIONS: Final = (
    (
        """
        CREATE TABLE records (
            offset INTEGER PRIMARY KEY AUTOINCREMENT,
            topic TEXT NOT NULL,
            number INTEGER NOT NULL,
            total_bytes INTEGER NOT NULL,
            at INTEGER NOT NULL,
            key TEXT NOT NULL,
            headers TEXT NOT NULL,
            value BLOB NOT NULL
        )
        """,
        # An index holds the rowid, which is the offset: this is (topic, offset).
        "CREATE INDEX records_by_topic ON records (topic)",
        """
        CREATE TABLE groups (
            name TEXT NOT NULL,
            topic TEXT NOT NULL,
            partition INTEGER NOT NULL,
            offset INTEGER NOT NULL,
            PRIMARY KEY (name, topic, partition)
        )
        """,
    ),
    # How much of an erased value counts; see `erase`.
    ("CREATE TABLE erased (offset INTEGER PRIMARY KEY, length INTEGER NOT NULL)",),
    (
        "CREATE TABLE identity (name TEXT NOT NULL)",
        "INSERT INTO identity VALUES (lower(hex(randomblob(16))))",
    ),
)
_COLUMNS: Final = "topic, offset, key, value, headers, at, length"
_NEXT: Final = "(SELECT seq + 1 FROM sqlite_sequence WHERE name = 'records'), 1"
_FIRST_WAIT: Final = 0.01
_LONGEST_WAIT: Final = 0.05
_PAGE: Final = 64
IF_DAMAGED: Final = (
    "what can still be read is read, and new records are still taken, but none is deleted; stop Davy and what writes"
    " here, move log.db* aside, then restore a backup, or mend it with `sqlite3 log.db .recover`, or start without it:"
    " what was counted stays in the store"
)
_DELETED_AT_ONCE: Final = 500
"""Deleting reads every page of a large value: writers get their turn after this many records."""


class SqliteLog:
    """A log in ``log.db``; every topic has one partition, and offsets are shared by topics, so a topic has gaps.

    Parameters
    ----------
    url
        ``sqlite:///relative/directory`` or ``sqlite:////absolute/directory``.
    clock
        Nanoseconds since the epoch.
    filesystem
        Names the type of the file system a path lies on; network file systems are refused.

    Raises
    ------
    LogError
        The directory cannot be used, a newer Davy wrote the file, or it is not a log.
    """

    exclusive = False
    erases = True

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], int] = time.time_ns,
        filesystem: Callable[[Path], str] = filesystem_type,
    ) -> None:
        self.url = url
        self._clock = clock
        self._database = Database(
            url, "log.db", _MIGRATIONS, error=LogError, if_damaged=IF_DAMAGED, filesystem=filesystem
        )

    def producer(self) -> Producer:
        """Open a producer; may be used by one thread at a time."""
        return LogProducer(self)

    def consumer(self, topics: Sequence[str], group: str, *, assigned: Assigned | None = None) -> Consumer:
        """Open a consumer in `group`, which is given every topic whole."""
        return GroupConsumer(self, topics, group, assigned)

    def append(self, messages: Sequence[Message], timeout: float) -> None:
        """Append messages in one transaction: all of them or, when this raises, none."""
        with self._database.writing(timeout) as connection:
            at = self._clock()
            newest = "SELECT total_bytes FROM records ORDER BY offset DESC LIMIT 1"
            total = _scalar(connection, newest) or 0
            numbers: dict[str, int] = {}
            rows = []
            for message in messages:
                topic = message.topic
                if topic not in numbers:
                    newest = "SELECT number FROM records WHERE topic = ? ORDER BY offset DESC LIMIT 1"
                    numbers[topic] = _scalar(connection, newest, topic) or 0
                numbers[topic] += 1
                total += len(message.value)
                headers = json.dumps(dict(message.headers)) if message.headers else ""
                rows.append((topic, numbers[topic], total, at, message.key, headers, message.value))
            connection.executemany(
                "INSERT INTO records (topic, number, total_bytes, at, key, headers, value)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def fetch(self, offsets: Mapping[str, int], max_records: int, timeout: float) -> list[Record]:
        """Return the next records of topics from their offsets, in the order of the appends; wait for the first."""
        deadline, wait = time.monotonic() + timeout, _FIRST_WAIT
        while True:
            found = self._next(offsets, max_records)
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            time.sleep(min(wait, left))
            wait = min(wait * 1.5, _LONGEST_WAIT)

    def backlog(self, offsets: Mapping[str, int]) -> int:
        """How many records topics hold from their offsets on."""
        query = """
            SELECT coalesce(1 + (SELECT number FROM records WHERE topic = :topic ORDER BY offset DESC LIMIT 1)
                - (SELECT number FROM records WHERE topic = :topic AND offset >= :offset
                   ORDER BY offset LIMIT 1), 0)
        """
        with self._database.reading() as connection:
            each = [{"topic": topic, "offset": offset} for topic, offset in offsets.items()]
            return sum(int(connection.execute(query, row).fetchone()[0]) for row in each)

    def committed(self, group: str) -> Position:
        """What a group committed last."""
        with self._database.reading() as connection:
            query = "SELECT topic, partition, offset FROM groups WHERE name = ?"
            rows = connection.execute(query, (group,)).fetchall()
        return {(topic, partition): offset for topic, partition, offset in rows}

    def commit(self, group: str, position: Position) -> None:
        """Keep the position of a group."""
        rows = [(group, topic, partition, offset) for (topic, partition), offset in position.items()]
        with self._database.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO groups VALUES (?, ?, ?, ?)", rows)

    @property
    def replaced(self) -> int:
        """How often the file was moved or deleted while it was open here, and another took its place."""
        return self._database.replaced

    def identity(self, topic: str) -> str:
        """Return the name of this file, one for all topics."""
        del topic
        with self._database.reading() as connection:
            return str(_scalar(connection, "SELECT name FROM identity"))

    def start(self, topic: str) -> Position:
        """The oldest offset kept; of an empty topic the next offset the log will give."""
        query = f"SELECT coalesce((SELECT min(offset) FROM records WHERE topic = ?), {_NEXT})"
        with self._database.reading() as connection:
            return {(topic, 0): int(_scalar(connection, query, topic))}

    def end(self, topic: str) -> Position:
        """The offset after the newest record; of an empty topic the next offset the log will give."""
        query = f"SELECT coalesce((SELECT max(offset) + 1 FROM records WHERE topic = ?), {_NEXT})"
        with self._database.reading() as connection:
            return {(topic, 0): int(_scalar(connection, query, topic))}

    def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> Iterator[Record]:
        """Return the records with ``start <= offset < stop``, outside any group, in order."""
        last = 2**63 - 1 if stop is None else stop - 1
        while partition == 0:
            with self._database.reading() as connection:
                page = _between(connection, topic, start, last, _PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            start = page[-1].offset + 1

    def waiting(self, position: Position) -> Waiting:
        """Return what stands from `position` on."""
        query = "SELECT at FROM records WHERE topic = ? AND offset >= ? ORDER BY offset LIMIT 1"
        with self._database.reading() as connection:
            found = [_scalar(connection, query, topic, offset) for (topic, _), offset in position.items()]
        records = self.backlog({topic: offset for (topic, _), offset in position.items()})
        return Waiting(records, min((at for at in found if at is not None), default=None))

    def probe(self, timeout: float) -> str:
        """Commit a small write, waiting at most `timeout` seconds for other writers."""
        self._database.probe(timeout)
        return "a transaction was written"

    def damage(self, seconds: float) -> str | None:
        """Look the file over; while it is damaged nothing is deleted from it."""
        return self._database.damage(seconds)

    def extent(self, since: int) -> Extent:
        """Return how much it holds, and how much of it was appended since a time."""
        room = self._database.room()
        with self._database.reading() as connection:
            held, _ = _appended(connection, 0)
            grown, first = _appended(connection, _first_since(connection, since))
        return Extent(held, grown, first, room.disk, room.used, room.free, room.shrinks)

    def shrink(self, *, everything: bool = False, rewrite: bool = False) -> int:
        """Hand room of the file that is free back to the disk; return how many bytes it got."""
        self._database.refuse_damaged()
        return self._database.shrink(everything=everything, rewrite=rewrite)

    def back_up(self, target: Path) -> None:
        """Copy the log as it is at one moment into a new file, while others append and read."""
        self._database.back_up(target)

    def retain(
        self, *, before: int | None = None, max_bytes: int | None = None, dry_run: bool = False
    ) -> int:
        """Delete the oldest records by age and by size; return their number."""
        self._database.refuse_damaged()
        with self._database.reading() as connection:
            stop = max(_first_young(connection, before), _first_within(connection, max_bytes))
            if dry_run:
                return int(_scalar(connection, "SELECT count(*) FROM records WHERE offset < ?", stop))
        deleted = 0
        while removed := self._delete_some(stop):
            deleted += removed
        if deleted:
            self._database.checkpoint()
        return deleted

    def erase(self, topic: str, partition: int, values: Mapping[int, bytes]) -> None:
        """Replace the values of records, by offset, and leave nothing of the old ones in the files.

        A value is overwritten in its place, filled up with zeros: if it took less room, SQLite would move records that
        are kept from page to page, and leave copies of them behind that a later call could not reach.
        """
        self._database.refuse_damaged()
        if partition == 0 and values:
            with self._database.writing() as connection:
                for offset, value in values.items():
                    _overwrite(connection, topic, offset, value)
        self._database.scrub()

    def close(self) -> None:
        """Release everything; calling it twice is harmless."""
        self._database.close()

    def _next(self, offsets: Mapping[str, int], max_records: int) -> list[Record]:
        query = "SELECT offset FROM records WHERE topic = ? AND offset >= ? ORDER BY offset LIMIT ?"
        with self._database.reading() as connection:
            waiting = {
                topic: [row[0] for row in connection.execute(query, (topic, offset, max_records))]
                for topic, offset in offsets.items()
            }
            last = sorted(chain.from_iterable(waiting.values()))[:max_records][-1:]
            found: list[Record] = []
            for topic in waiting if last else ():
                found += _between(connection, topic, offsets[topic], last[0], max_records)
        return sorted(found, key=lambda record: record.offset)

    def _delete_some(self, stop: int) -> int:
        query = "SELECT offset FROM records WHERE offset < ? ORDER BY offset LIMIT 1 OFFSET ?"
        with self._database.writing() as connection:
            turn = _scalar(connection, query, stop, _DELETED_AT_ONCE) or stop
            connection.execute("DELETE FROM erased WHERE offset < ?", (turn,))
            return connection.execute("DELETE FROM records WHERE offset < ?", (turn,)).rowcount


def _scalar(connection: sqlite3.Connection, query: str, *values: object) -> Any:
    row = connection.execute(query, values).fetchone()
    return None if row is None else row[0]


def _overwrite(connection: sqlite3.Connection, topic: str, offset: int, value: bytes) -> None:
    where = "FROM records WHERE topic = ? AND offset = ?"
    size = _scalar(connection, f"SELECT length(value) {where}", topic, offset)
    if size is not None:
        padded = value.ljust(size, b"\0")
        connection.execute("UPDATE records SET value = ? WHERE offset = ?", (padded, offset))
        connection.execute("INSERT OR REPLACE INTO erased VALUES (?, ?)", (offset, len(value)))


def _between(connection: sqlite3.Connection, topic: str, first: int, last: int, limit: int) -> list[Record]:
    query = (
        f"SELECT {_COLUMNS} FROM records LEFT JOIN erased USING (offset)"
        " WHERE topic = ? AND offset BETWEEN ? AND ? ORDER BY offset LIMIT ?"
    )
    return [
        Record(topic, 0, offset, key, value[:length], json.loads(headers) if headers else {}, at)
        for topic, offset, key, value, headers, at, length in connection.execute(
            query, (topic, first, last, limit)
        )
    ]


def _first_young(connection: sqlite3.Connection, before: int | None) -> int:
    """Return the first offset that age lets stay: records go in order, so one with a clock ahead keeps the rest."""
    if before is None:
        return 0
    query = f"SELECT coalesce((SELECT offset FROM records WHERE at >= ? ORDER BY offset LIMIT 1), {_NEXT})"
    return int(_scalar(connection, query, before))


def _first_since(connection: sqlite3.Connection, since: int) -> int:
    """Return the first offset appended at or after a time, in as many looks as halving takes: no index has times."""
    low, high = (
        int(_scalar(connection, f"SELECT coalesce({which}(offset), 0) FROM records"))
        for which in ("min", "max")
    )
    high += 1
    query = "SELECT offset, at FROM records WHERE offset >= ? ORDER BY offset LIMIT 1"
    while low < high:
        middle = (low + high) // 2
        found = connection.execute(query, (middle,)).fetchone()
        if found is None or found[1] >= since:
            high = middle
        else:
            low = int(found[0]) + 1
    return low


def _appended(connection: sqlite3.Connection, offset: int) -> tuple[int, int | None]:
    """Return the bytes of the values from an offset on, and when the first of them was appended."""
    query = "SELECT total_bytes - length(value), at FROM records WHERE offset >= ? ORDER BY offset LIMIT 1"
    first = connection.execute(query, (offset,)).fetchone()
    if first is None:
        return 0, None
    return int(_scalar(connection, "SELECT total_bytes FROM records ORDER BY offset DESC LIMIT 1")) - int(
        first[0]
    ), int(first[1])


def _first_within(connection: sqlite3.Connection, max_bytes: int | None) -> int:
    """Return the first offset that size lets stay."""
    if max_bytes is None:
        return 0
    query = f"""
        SELECT coalesce((
            SELECT offset FROM records
            WHERE total_bytes - length(value) >= ? + (
                SELECT total_bytes FROM records ORDER BY offset DESC LIMIT 1)
            ORDER BY offset LIMIT 1), {_NEXT})
    """
    return int(_scalar(connection, query, -max_bytes))
