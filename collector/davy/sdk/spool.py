"""What the sink does not take waits on disk: bounded in bytes and age, taken over when its process dies."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from davy._directory import filesystem_type, is_network, make_directory
from davy.errors import SettingError
from davy.log import Message
from davy.sdk.forksafe import ForkSafe, abandon
from davy.sdk.journal import Entry, Journal

_SEGMENTS: Final = 8
_HOUR_NS: Final = 3600 * 10**9


class Spool(ForkSafe):
    """The journals a process holds: those of the dead first, then its own, which it makes when it first needs it.

    Several processes may share the directory; each has files of its own. On a failure of the disk nothing is lost
    but the right to call `append` with success.

    Parameters
    ----------
    directory
        Where; made when it is not there.
    most_bytes, hours
        What a process keeps, in bytes and for how long; the oldest goes first.
    expired
        Called with what expired.
    """

    def __init__(
        self, directory: Path, most_bytes: int, hours: float, expired: Callable[[Entry], None]
    ) -> None:
        super().__init__()
        self._directory = make_directory(directory, SettingError)
        if is_network(filesystem_type(directory)):
            raise SettingError("sdk.spool", str(directory), "choose a local disk: file locks must be trusted")
        self._most_bytes = most_bytes
        self._segment_bytes = max(1, most_bytes // _SEGMENTS)
        self._keep_ns = int(hours * _HOUR_NS)
        self._expired = expired
        self._lock = threading.RLock()
        self._journals: list[Journal] = []
        self._own: Journal | None = None
        self._closed = False

    def renew(self) -> None:
        """Leave the files to the parent, which holds their locks."""
        abandon(self._journals)
        Journal.forget_locks()
        self._lock = threading.RLock()
        self._journals = []
        self._own = None

    def __len__(self) -> int:
        """How many records wait."""
        return sum(map(len, self._journals))

    def append(self, message: Message, count: int) -> None:
        """Keep a message of `count` inferences; raises OSError when the disk does not take it."""
        with self._lock:
            now = time.time_ns()
            if self._own is None:
                self._own = Journal(self._directory / f"{os.urandom(8).hex()}.head", self._segment_bytes)
                self._journals.append(self._own)
            self._expire(now, len(message.value))
            self._own.append(message, count, now)

    def first(self) -> tuple[Message | None, Entry] | None:
        """Read the oldest record, which stays; the message is None when it cannot be read any more."""
        with self._lock:
            self._expire(time.time_ns(), 0)
            for journal in self._journals:
                if journal:
                    try:
                        return journal.first(), next(iter(journal))
                    except OSError:
                        return None, next(iter(journal))
        return None

    def advance(self, entry: Entry) -> bool:
        """Be done with the oldest record; false when it is not `entry`, which expired meanwhile."""
        with self._lock:
            journal = next((journal for journal in self._journals if journal), None)
            if journal is None or next(iter(journal)) is not entry:
                return False
            journal.advance()
            return True

    def adopt(self) -> tuple[list[Entry], int]:
        """Take over what dead processes left; return the records, and how many inferences were lost with torn ends."""
        entries, torn = list[Entry](), 0
        with self._lock:
            if self._closed:
                return entries, torn
            for head in sorted(self._directory.glob("*.head"), key=_age):
                with suppress(BlockingIOError, PermissionError):
                    journal = Journal(head, self._segment_bytes)
                    entries += journal
                    torn += sum(journal.torn)
                    if journal:
                        place = len(self._journals) - (self._own is not None)
                        self._journals.insert(place, journal)
                    else:
                        journal.close()
        return entries, torn

    def close(self) -> None:
        """Close the files; what is in them waits for the next process."""
        with self._lock:
            self._closed = True
            for journal in self._journals:
                journal.close()
            self._journals, self._own = [], None

    def _expire(self, now: int, more: int) -> None:
        for journal in self._journals:
            while journal and now - next(iter(journal)).at > self._keep_ns:
                self._expired(journal.advance())
        size = sum(journal.size for journal in self._journals) + more
        for journal in self._journals:
            while journal and size > self._most_bytes:
                before = journal.size
                for _ in range(journal.oldest_segment()):
                    self._expired(journal.advance())
                size -= before - journal.size
        for journal in [each for each in self._journals if not each and each is not self._own]:
            journal.close()
            self._journals.remove(journal)


def _age(path: Path) -> float:
    try:
        return path.stat().st_ctime
    except FileNotFoundError:
        return 0.0
