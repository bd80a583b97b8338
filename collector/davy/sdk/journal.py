"""Messages in files of one owner: appended, read in order, and safe when the owner is killed at any moment."""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from davy.event import FEEDBACK, INFERENCES
from davy.log import Message
from davy.sdk.sink import PAYLOADS

_HEADER: Final = struct.Struct("<4sIIIQBH")
"""Magic, length and CRC-32 of what follows the first twelve bytes, inferences, time (ns), topic, bytes of the key."""
_SUMMED: Final = 12
_MAGIC: Final = b"DVS1"
_TOPICS: Final = (INFERENCES, FEEDBACK, PAYLOADS)
_CURSOR: Final = struct.Struct("<QQ")
_locked: Final[set[Path]] = set()
"""Heads this process holds: its own POSIX locks would not keep it out."""


class Entry(NamedTuple):
    """Where a record lies and what it holds."""

    segment: int
    offset: int
    length: int
    rows: int
    at: int
    topic: str
    key: str


class Journal:
    """Records of one owner in ``owner.NUMBER.segment``; ``owner.head`` is lock and cursor.

    The lock is the process's (POSIX record lock): it ends with the process, and a forked child does not share it.

    Parameters
    ----------
    head
        The path of the head; made when it is not there.
    segment_bytes
        Where a segment ends.

    Raises
    ------
    BlockingIOError
        Another process, or another journal of this one, holds it.
    OSError
        The directory cannot be used.
    """

    def __init__(self, head: Path, segment_bytes: int) -> None:
        if head in _locked:
            raise BlockingIOError(str(head))
        self._head = head
        self._segment_bytes = segment_bytes
        self._entries: deque[Entry] = deque()
        self._sizes: dict[int, int] = {}
        self._writing = -1
        self._next = 0
        self.torn: list[int] = []
        self._fd = os.open(head, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._recover()
        except OSError:
            os.close(self._fd)
            raise
        _locked.add(head)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(self._sizes.values())

    def append(self, message: Message, count: int, at: int) -> None:
        """Write a record; on return it survives the end of the process. Leaves no part of it on failure."""
        key = message.key.encode()
        rest = _HEADER.pack(_MAGIC, 0, 0, count, at, _TOPICS.index(message.topic), len(key))[_SUMMED:]
        rest += key + message.value
        data = _HEADER.pack(_MAGIC, len(rest), zlib.crc32(rest), 0, 0, 0, 0)[:_SUMMED] + rest
        if self._writing < 0 or self._sizes[self._next - 1] + len(data) > self._segment_bytes:
            self._rotate()
        segment = self._next - 1
        offset = self._sizes[segment]
        try:
            if os.write(self._writing, data) != len(data):
                raise OSError(f"the disk took a part of {len(data)} bytes")
        except OSError:
            os.ftruncate(self._writing, offset)
            raise
        self._sizes[segment] += len(data)
        self._entries.append(Entry(segment, offset, len(data), count, at, message.topic, message.key))

    def first(self) -> Message | None:
        """Read the oldest record; None when its file was damaged since."""
        entry = self._entries[0]
        with self._path(entry.segment).open("rb") as file:
            file.seek(entry.offset)
            data = file.read(entry.length)
        return _message(data) if len(data) == entry.length and _intact(data) else None

    def advance(self) -> Entry:
        """Be done with the oldest record."""
        entry = self._entries.popleft()
        os.pwrite(self._fd, _CURSOR.pack(entry.segment, entry.offset + entry.length), 0)
        self._forget_before(self._entries[0].segment if self._entries else self._next)
        return entry

    def oldest_segment(self) -> int:
        """Return the number of records in the segment that ends first."""
        first = self._entries[0].segment
        return sum(entry.segment == first for entry in self._entries)

    @staticmethod
    def forget_locks() -> None:
        """Do in a forked child: it holds none of the parent's locks."""
        _locked.clear()

    def close(self) -> None:
        """Release the lock; what is left waits for another process."""
        self._end_segment()
        if not self._entries:
            self._head.unlink(missing_ok=True)
        os.close(self._fd)
        _locked.discard(self._head)

    def _recover(self) -> None:
        cursor = os.pread(self._fd, _CURSOR.size, 0)
        done = _CURSOR.unpack(cursor) if len(cursor) == _CURSOR.size else (0, 0)
        pattern = f"{self._head.stem}.*.segment"
        numbers = sorted(int(path.suffixes[-2][1:]) for path in self._head.parent.glob(pattern))
        for number in numbers:
            self._entries.extend(entry for entry in self._scan(number) if (number, entry.offset) >= done)
        self._next = numbers[-1] + 1 if numbers else 0
        self._forget_before(self._entries[0].segment if self._entries else self._next)

    def _scan(self, number: int) -> Iterator[Entry]:
        path, offset = self._path(number), 0
        data = memoryview(path.read_bytes())
        while offset < len(data):
            left = data[offset:]
            whole = len(left) >= _HEADER.size and bytes(left[:4]) == _MAGIC
            _, length, _, count, at, topic, key = _HEADER.unpack(left[: _HEADER.size]) if whole else (0,) * 7
            record = left[: _SUMMED + length]
            if not whole or not _intact(record):
                self.torn.append(max(1, count) if whole else 1)
                os.truncate(path, offset)
                break
            name = bytes(record[_HEADER.size : _HEADER.size + key]).decode()
            yield Entry(number, offset, len(record), count, at, _TOPICS[topic], name)
            offset += len(record)
        self._sizes[number] = offset

    def _rotate(self) -> None:
        self._end_segment()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._writing = os.open(self._path(self._next), flags, 0o600)
        self._sizes[self._next] = 0
        self._next += 1

    def _end_segment(self) -> None:
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1

    def _forget_before(self, segment: int) -> None:
        for number in [number for number in self._sizes if number < segment]:
            if number == self._next - 1:
                self._end_segment()
            with suppress(FileNotFoundError):
                self._path(number).unlink()
            del self._sizes[number]

    def _path(self, number: int) -> Path:
        return self._head.with_name(f"{self._head.stem}.{number:08d}.segment")


def _intact(record: bytes | memoryview) -> bool:
    if len(record) < _HEADER.size:
        return False
    magic, length, crc, _, _, topic, _ = _HEADER.unpack(record[: _HEADER.size])
    rest = record[_SUMMED:]
    return bool(magic == _MAGIC and length == len(rest) and zlib.crc32(rest) == crc and topic < len(_TOPICS))


def _message(record: bytes) -> Message:
    *_, topic, key = _HEADER.unpack(record[: _HEADER.size])
    value = _HEADER.size + key
    return Message(_TOPICS[topic], record[_HEADER.size : value].decode(), record[value:])
