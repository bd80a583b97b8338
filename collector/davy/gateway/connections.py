"""How many connections the gateway holds: those beyond are refused at once, and none is held for nothing.

Uvicorn's own limit does not serve: it counts connections but refuses requests, those of connected clients too. Nor
does it end a connection that never sends a whole request, or a head that never ends.
"""

from __future__ import annotations

import asyncio
import resource
from http import HTTPStatus
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from davy import metrics
from davy.errors import SettingError
from davy.gateway.refusals import Later, Refusal, TooLarge, TooSlow, answer
from davy.meter import Meter
from davy.runtime import Runtime

BACKLOG: Final = 128
"""Connections accepted in one go, before the first of them can be refused."""
_HEAD_BYTES: Final = 64 * 1024
_OTHER_FILES: Final = 512
"""What else may be open: log and store have three files each, for every one of forty threads, and there are blobs."""


class Connection(HttpToolsProtocol):
    """One connection; the attributes of the class are the bounds of its server, see `bounded`."""

    most: ClassVar[int]
    seconds: ClassVar[float]
    meter: ClassVar[Meter]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, unless there are too many connections."""
        held = len(self.connections)
        if held >= self.most:
            transport.set_protocol(asyncio.Protocol())
            self._refuse(transport, Later("connections", held, "the gateway is full; connect again later"))
            return
        super().connection_made(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, and refuse a head that does not end."""
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > _HEAD_BYTES and not self.transport.is_closing():
                remedy = f"at most {_HEAD_BYTES}; send fewer or shorter header fields"
                self._refuse(self.transport, TooLarge("head", f"{self._head} bytes", remedy))

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._in_head, self._head = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that the head is there; whoever reads the body waits for that."""
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, and for the end of a body that nobody read."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._await_request()

    def _await_request(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(self.seconds, self._come_too_late)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _come_too_late(self) -> None:
        if not getattr(self.cycle, "response_complete", True):
            return  # a request that was sent ahead is being answered
        if self._in_head:
            remedy = f"must arrive within {self.seconds:g} s"
            self._refuse(self.transport, TooSlow("head", f"{self._head} bytes", remedy))
        else:
            self.transport.close()

    def _refuse(self, transport: asyncio.Transport, refusal: Refusal) -> None:
        said = answer(refusal)
        status = HTTPStatus(said.status_code)
        self.meter.add(metrics.REQUESTS, route="none", status=str(status.value))
        head = [f"HTTP/1.1 {status.value} {status.phrase}".encode(), b"connection: close"]
        fields = [name + b": " + value for name, value in said.raw_headers]
        transport.write(b"\r\n".join([*head, *fields, b"", said.body]))
        transport.close()


def bounded(runtime: Runtime) -> type[Connection]:
    """Make the class of a server's connections: how many there are, and how long each may take for a request.

    Raises
    ------
    SettingError
        The system does not let this process open so many files.
    """
    settings = runtime.settings.gateway
    _allow_files(settings.connections)

    class Bounded(Connection):
        most = settings.connections
        seconds = settings.read_seconds
        meter = runtime.meter

    return Bounded


def _allow_files(connections: int) -> None:
    """Raise this process's limit of open files where the system allows: a full one could not open its log."""
    needed = connections + BACKLOG + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        remedy = f"needs {needed} open files, and the system allows {hard}; raise `ulimit -Hn` or lower it"
        raise SettingError("gateway.connections", connections, remedy)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
