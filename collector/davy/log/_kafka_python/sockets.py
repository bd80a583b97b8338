"""Sockets of kafka-python that get closed.

The library leaves three kinds to the garbage collector: of a connection that was refused or timed out, of a handshake
that failed, and of what was still connecting or had something left to send when its client was closed. And it waits
for ever for a handshake that a broker never ends.
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from typing import Any, Final

from kafka.net import KafkaNetSocket, NetworkSelector

_SCHEME: Final = "direct"
DIRECT: Final = f"{_SCHEME}://"
"""As ``proxy_url``: connect to brokers themselves, by `_Connecting`."""


class ClosingSelector(NetworkSelector):  # type: ignore[misc]
    """The library's event loop, which closes at its end every socket it ever waited for."""

    def __init__(self, *, request_timeout_ms: int, **config: Any) -> None:
        super().__init__(**config)
        self._handshake_seconds = request_timeout_ms / 1000
        self._waited_for: set[socket.socket] = set()

    def register_event(self, fileobj: socket.socket, event: int, task: Any) -> None:
        if fileobj not in self._waited_for:
            self._waited_for = {one for one in self._waited_for if one.fileno() >= 0} | {fileobj}
            if isinstance(fileobj, _Encrypted):
                self.call_at(time.monotonic() + self._handshake_seconds, fileobj.end_handshake)
        super().register_event(fileobj, event, task)

    def close(self) -> None:
        super().close()
        for one in self._waited_for:
            one.close()


def closes_after_failed_handshakes(context: ssl.SSLContext) -> ssl.SSLContext:
    """Make a context wrap sockets that close when they are not trusted, or do not trust."""
    context.sslsocket_class = _Encrypted
    return context


class _Connecting(KafkaNetSocket):  # type: ignore[misc]
    """Makes a connection; the library finds it by its scheme."""

    SCHEMES = (_SCHEME,)
    _made: socket.socket

    def socket(self, *arguments: Any) -> socket.socket:
        self._made = super().socket(*arguments)
        return self._made

    async def connect(self, *arguments: Any, **more: Any) -> Any:
        try:
            return await super().connect(*arguments, **more)
        except BaseException:  # also when the client is closed meanwhile: GeneratorExit
            self._made.close()
            raise


class _Encrypted(ssl.SSLSocket):
    def end_handshake(self) -> None:
        """Fail a handshake that is not over."""
        if self.fileno() >= 0 and self.version() is None:
            with suppress(OSError):
                self.shutdown(socket.SHUT_RDWR)

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError:
            self.close()
            raise
