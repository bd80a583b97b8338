"""A socket that takes connections, and turns them away with words when no file can be opened.

asyncio tries again a second later, once for each connection that may wait, and each of these tries multiplies in the
same way: the log grows by hundreds of thousands of lines, and whoever connects waits for nothing.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from contextlib import suppress
from typing import Any, Final

from davy._directory import unwritten
from davy.gateway.connections import last_words
from davy.gateway.refusals import Later
from davy.meter import Meter

_USED_UP: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_QUIET_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.05
_READ_BYTES: Final = 64 * 1024
_logger = logging.getLogger("davy.gateway")


class Listener(socket.socket):
    """Holds a file open that is of no use, to close it when no connection can be taken and refused otherwise."""

    meter: Meter
    _spare: int | None = None
    _said_at = -_QUIET_SECONDS

    def accept(self) -> tuple[socket.socket, Any]:
        """Take a connection.

        Raises
        ------
        BlockingIOError
            None waits any more, or the one that waited was turned away.
        """
        self._hold_spare()
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in _USED_UP:
                raise
            self._say(error)
            self._turn_away()
            raise BlockingIOError(errno.EAGAIN, "was turned away") from error

    def close(self) -> None:
        """Close the socket, and what it holds."""
        self._drop_spare()
        super().close()

    def takes(self) -> bool:
        """Whether a connection could be taken now."""
        try:
            os.close(os.dup(self.fileno()))
        except OSError:
            return False
        return True

    def _turn_away(self) -> None:
        if (
            self._spare is None
        ):  # somebody was faster: who waits goes on waiting, and so does this loop for a moment
            time.sleep(_PAUSE_SECONDS)
            return
        self._drop_spare()
        with suppress(OSError):
            connection, _ = super().accept()
            with connection:
                connection.setblocking(False)
                connection.send(
                    last_words(Later("open files", "all", "all are in use; ask again later"), self.meter)
                )
                connection.shutdown(socket.SHUT_WR)
                connection.recv(_READ_BYTES)  # what stays unread would make the system drop the answer
        self._hold_spare()

    def _hold_spare(self) -> None:
        if self._spare is None:
            with suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY)

    def _drop_spare(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _say(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._said_at >= _QUIET_SECONDS:
            self._said_at = now
            _logger.error("connections are turned away (said once a minute): %s", unwritten(error))
