"""How many connections the gateway holds: when it is full, those that say nothing make room; none is held for nothing.

Uvicorn's own limit does not serve: it counts connections but refuses requests, those of connected clients too. Nor
does it end a connection that never sends a whole request, or a head that never ends. When there are too many, whoever
sends a request is worth more than whoever does not: so thousands of half-open connections keep nobody out.
"""

from __future__ import annotations

import asyncio
import resource
from http import HTTPStatus
from itertools import chain
from typing import Any, ClassVar, Final

from fastapi.responses import JSONResponse
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from davy import metrics
from davy.errors import SettingError
from davy.gateway.refusals import Later, Refusal, TooLarge, TooSlow, answer
from davy.meter import Meter
from davy.runtime import Runtime

BACKLOG: Final = 128
"""Connections accepted in one go, before the first of them can be refused."""
_HEAD_BYTES: Final = 64 * 1024
_AROUND: Final = len(": \r\n")
_OTHER_FILES: Final = 512
"""What else may be open: log and store have three files each, for every one of forty threads, and there are blobs."""


class Connection(HttpToolsProtocol):
    """One connection; the attributes of the class are the bounds of its server, see `bounded`."""

    most: ClassVar[int]
    silent: ClassVar[dict[Connection, None]]
    idle: ClassVar[dict[Connection, None]]
    """Connections that wait for a request, longest first: for their first one, and for another one."""
    seconds: ClassVar[float]
    meter: ClassVar[Meter]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = False
        self._read = self._head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, in the place of another connection that waits if there are too many."""
        held = len(self.connections)
        if held >= self.most and not self._make_room():
            transport.set_protocol(asyncio.Protocol())
            self._refuse(transport, _full(held))
            return
        super().connection_made(transport)
        self._await_request(self.silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self.stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, and refuse a head that does not end."""
        super().data_received(data)
        if self._in_head:
            self._read += len(data)
            if self._read > _HEAD_BYTES and not self.transport.is_closing():
                self._refuse(self.transport, _too_long(self._read))

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._in_head, self._read, self._head = True, 0, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the bytes of the head."""
        self._head += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count the bytes of the head."""
        self._head += len(name) + len(value) + _AROUND
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Note that the head is there; whoever reads the body waits for that."""
        self._in_head = False
        self.stop_waiting()
        app = self.app
        if self._head > _HEAD_BYTES:
            self.url = b"/"  # it may be longer than can be read
            self.app = _last_answer(_too_long(self._head), self.meter)
        super().on_headers_complete()
        self.app = app

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(self.transport, Refusal("request", msg, "send HTTP/1.1"))

    def on_response_complete(self) -> None:
        """Wait for the next request, and for the end of a body that nobody read."""
        super().on_response_complete()
        sent_ahead = not self.cycle.response_complete
        if not sent_ahead and not self.transport.is_closing():
            self._await_request(self.idle)

    def _await_request(self, among: dict[Connection, None]) -> None:
        self.stop_waiting()
        among[self] = None
        self._deadline = self.loop.call_later(self.seconds, self._come_too_late)

    def stop_waiting(self) -> None:
        """Wait for no request any more."""
        self.silent.pop(self, None)
        self.idle.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _come_too_late(self) -> None:
        if self._in_head:
            remedy = f"must arrive within {self.seconds:g} s"
            self._refuse(self.transport, TooSlow("head", f"{self._read} bytes", remedy))
        else:
            self.transport.close()

    def _make_room(self) -> bool:
        """End the connection that has waited longest for a request; false when all are at work."""
        one = next(chain(self.silent, self.idle), None)
        if one is None:
            return False
        silent = one in self.silent
        one.stop_waiting()
        self.connections.discard(one)
        if silent:
            self._refuse(one.transport, _full(self.most))
        else:
            one.transport.close()  # who keeps a connection expects that, and asks again
        return True

    def _refuse(self, transport: asyncio.Transport, refusal: Refusal) -> None:
        transport.write(last_words(refusal, self.meter))
        transport.close()


def last_words(refusal: Refusal, meter: Meter) -> bytes:
    """Return what is sent on a connection that is closed then."""
    said = _last_answer(refusal, meter)
    status = HTTPStatus(said.status_code)
    fields = [name + b": " + value for name, value in said.raw_headers]
    head = [f"HTTP/1.1 {status.value} {status.phrase}".encode(), *fields]
    return b"\r\n".join([*head, b"", said.body])


def _last_answer(refusal: Refusal, meter: Meter) -> JSONResponse:
    """Return the last answer of a connection; nobody else counts it."""
    said = answer(refusal)
    said.headers["connection"] = "close"
    meter.add(metrics.REQUESTS, route="none", status=str(said.status_code))
    return said


def _full(held: int) -> Refusal:
    return Later("connections", held, "the gateway is full; connect again later")


def _too_long(head: int) -> Refusal:
    return TooLarge("head", f"{head} bytes", f"at most {_HEAD_BYTES}; send fewer or shorter header fields")


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
        silent: ClassVar[dict[Connection, None]] = {}
        idle: ClassVar[dict[Connection, None]] = {}
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
