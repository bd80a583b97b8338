"""Connections to one SQLite file: one a thread, none across a fork.

SQLite keeps the locks of a file in the memory of the process. A child that inherits this memory believes it holds
locks that only its parent holds ("How To Corrupt An SQLite Database File", section 2.6). So every connection is
closed just before a fork and opened again on next use, on either side. A transaction under way gets a moment to end;
when it does not, the parent goes on undisturbed and the child refuses to use the file.

A connection stays on the file it was opened on, also when somebody moves or deletes that. So before each use the path
is looked at: when it leads elsewhere, everything is closed and opened again on what is there.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from davy.errors import DavyError

_FORK_SECONDS: Final = 0.5
_BUSY_SECONDS: Final = 30.0
_logger = logging.getLogger("davy.sqlite")


class _Connection:
    """A connection and the lock its thread holds while using it."""

    __slots__ = ("lock", "open", "sqlite")

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self.sqlite = sqlite3.connect(
            f"{path.as_uri()}?mode=rw",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,  # `close` and a fork close them from another thread
        )
        self.open = True
        try:
            self.sqlite.execute("PRAGMA synchronous = NORMAL")
            # What is deleted or replaced is overwritten with zeros.
            self.sqlite.execute("PRAGMA secure_delete = ON")
        except sqlite3.Error:
            self.close()
            raise

    def close(self) -> None:
        self.sqlite.close()
        self.open = False


class Connections:
    """The connections of this process to one file.

    Parameters
    ----------
    path
        The file.
    error
        What is raised in a child that was forked in the middle of a transaction.
    prepare
        Given a connection to the file, makes it ready for use; makes the file before, when there is none.

    Attributes
    ----------
    written
        Rows that this process wrote into the file that is open.
    replaced
        How often the path led to another file, or none, than the one that was open.
    """

    def __init__(
        self, path: Path, error: type[DavyError], prepare: Callable[[Callable[[], sqlite3.Connection]], None]
    ) -> None:
        self._path = path
        self._error = error
        self._prepare = prepare
        self._inherited = False
        self._file: tuple[int, int] | None = None
        self.written = self.replaced = 0
        self._begin()
        _all.add(self)

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """Return this thread's connection; it is not to be kept, and not to be asked for again inside."""
        while True:
            connection = self._own()
            with connection.lock:
                if connection.open:
                    yield connection.sqlite
                    return

    def renew(self) -> None:
        """Close this thread's connection, with the pages it remembers of the file; its next use opens a new one."""
        with self._lock:
            found = self._open.pop(threading.current_thread(), None)
        if found is not None:
            found.close()

    @property
    def moved(self) -> bool:
        """Whether the path leads to another file, or none, than the one that is open.

        Raises
        ------
        OSError
            The path cannot be looked at, so nobody knows: a file out of reach is not one that was moved.
        """
        return self._file is not None and self._file != _file_at(self._path)

    def close(self) -> None:
        """Close every connection; calling it twice is harmless, and a later use opens a new one."""
        with self._lock:
            _close_all(self._open)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._held = False
        self._local = threading.local()
        self._open: dict[threading.Thread, _Connection] = {}
        self._finalizer = weakref.finalize(self, _close_all, self._open)
        self._finalizer.atexit = False  # threads may still be writing then

    def _own(self) -> _Connection:
        if self._pid != os.getpid():  # forked by something that does not call Python's hooks
            self.resume_in_child()
        if self._inherited:
            remedy = "this process was forked in the middle of a transaction; open it after the fork"
            raise self._error("file", str(self._path), remedy)
        if self.moved:
            self._leave()
        found: _Connection | None = getattr(self._local, "connection", None)
        if found is None or not found.open:
            found = self._local.connection = self._connect()
        return found

    def _connect(self) -> _Connection:
        with self._lock:
            for thread in [thread for thread in self._open if not thread.is_alive()]:
                self._open.pop(thread).close()
            if self._file is None:
                self._open_file()
            connection = self._open[threading.current_thread()] = _Connection(self._path)
            return connection

    def _open_file(self) -> None:
        opened: list[_Connection] = []

        def connect() -> sqlite3.Connection:
            opened.append(_Connection(self._path))
            return opened[0].sqlite

        try:
            self._prepare(connect)
            self._file = _file_at(self._path)
        finally:
            for connection in opened:
                connection.close()

    def _leave(self) -> None:
        """Close what is open on a file that is no longer at the path; the next connection opens what is there."""
        with self._lock:
            if not self.moved:
                return  # another thread was faster
            _close_all(self._open)
            said = "%s was moved or deleted while open; goes on in a new one. Rows of this process in the old: %d"
            _logger.warning(said, self._path, self.written)
            self._file, self.written = None, 0
            self.replaced += 1

    def close_before_fork(self, deadline: float) -> None:
        """Close what is idle until `deadline` (monotonic seconds); new connections wait for the fork to be over."""
        self._held = self._lock.acquire(timeout=max(deadline - time.monotonic(), 0))
        for thread, connection in list(self._open.items()):
            if connection.lock.acquire(timeout=max(deadline - time.monotonic(), 0)):
                connection.close()
                connection.lock.release()
                del self._open[thread]

    def resume_in_parent(self) -> None:
        """Allow connections to be made again."""
        if self._held:
            self._held = False
            self._lock.release()

    def resume_in_child(self) -> None:
        """Begin anew; connections that could not be closed are kept, unused, since closing frees the parent's locks."""
        self._inherited = self._inherited or bool(self._open)
        self._finalizer.detach()
        _kept.append((self._open, self._local))
        self._begin()


def _file_at(path: Path) -> tuple[int, int] | None:
    """Return what tells the file at a path from any other that is open, None where there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _close_all(connections: dict[threading.Thread, _Connection]) -> None:
    for connection in connections.values():
        with connection.lock:
            connection.close()
    connections.clear()


_all: weakref.WeakSet[Connections] = weakref.WeakSet()
_kept: list[object] = []


def _before_fork() -> None:
    deadline = time.monotonic() + _FORK_SECONDS
    for connections in tuple(_all):
        connections.close_before_fork(deadline)


def _after_fork_in_parent() -> None:
    for connections in tuple(_all):
        connections.resume_in_parent()


def _after_fork_in_child() -> None:
    for connections in tuple(_all):
        connections.resume_in_child()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
