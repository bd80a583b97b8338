"""The door: who may come in, how fast, and with how much. Everything is decided before a body is read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from davy import metrics
from davy.errors import DavyError
from davy.gateway.browser import Browser, guarded
from davy.gateway.keys import Authenticator
from davy.gateway.limits import Admission, Reservation, TokenBuckets
from davy.gateway.names import CALLER, PROJECT
from davy.gateway.refusals import Refusal, TooLarge, TooSlow, Unauthorised, WrongType, answer
from davy.runtime import Runtime

_HEALTH: Final = ("/healthz", "/readyz")
_OPEN: Final = ("/docs", "/openapi.json")
_MEDIA: Final = "/media/"
_WRITING: Final = "/v1/"
_SAFE: Final = ("GET", "OPTIONS")
_DRAINED: Final = 2**20
_DRAIN_SECONDS: Final = 1.0


class Door:
    """Middleware that authenticates, limits, reads bodies whole and counts answers.

    Parameters
    ----------
    app
        What stands behind the door.
    runtime
        Settings and meter.
    guard
        Who knows the keys.
    browser
        Who knows what pages of other sites send.
    """

    def __init__(self, app: ASGIApp, runtime: Runtime, guard: Authenticator, browser: Browser) -> None:
        settings, self._meter = runtime.settings.gateway, runtime.meter
        self._app, self._guard, self._browser, self._settings = app, guard, browser, settings
        self._buckets = TokenBuckets(settings.requests_per_second)
        self._room = Admission(settings.requests_at_once, settings.bytes_at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = HTTPStatus.INTERNAL_SERVER_ERROR.value

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                guarded(message)
            elif headless:
                message = {**message, "body": b""}
            await send(message)

        headless = scope["method"] == "HEAD"
        if headless:  # a copy: the server must go on to know what it was asked
            scope = {**scope, "method": "GET"}
        try:
            await self._let_in(scope, receive, watch)
        except DavyError as error:
            await answer(error)(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path_format", "none")
            self._meter.add(metrics.REQUESTS, route=route, status=str(status))

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, headers = scope["path"], Headers(scope=scope)
        if path in _HEALTH or path.startswith(_MEDIA):
            await self._app(scope, receive, send)
            return
        writing, declared = path.startswith(_WRITING), _length(headers)
        try:
            self._browser.check(scope["method"], headers, keyed=await self._guard.needed())
            if path not in _OPEN:
                await self._admit(scope, headers, writing=writing)
            if (
                writing
                and (encoding := headers.get("content-encoding", "identity").strip().lower()) != "identity"
            ):
                raise WrongType("Content-Encoding", encoding, "send the body as it is, without this header")
            if not writing:
                await self._app(scope, receive, send)
                return
            with self._room.place(self._within(declared)) as place:
                body = await self._read(receive, place)
                await self._app(scope, _replay(body, receive), send)
        except Refusal:
            await _drain(receive, declared)
            raise

    async def _admit(self, scope: Scope, headers: Headers, *, writing: bool) -> None:
        client = scope.get("client")
        address = client[0] if client else "unknown"
        try:
            caller = await self._guard.caller(headers.get("authorization", ""), address)
        except Unauthorised:
            self._buckets.take(address)
            raise
        if writing:
            self._buckets.take(caller.name)
            caller.needs("write")
            CALLER.set(caller.name)
            PROJECT.set(caller.project)
        else:
            caller.needs("read", *(() if scope["method"] in _SAFE else ("write",)))

    def _within(self, size: int) -> int:
        limit = self._settings.body_bytes
        if size > limit:
            raise TooLarge("body", f"{size} bytes", f"at most {limit}; send fewer inferences at once")
        return size

    async def _read(self, receive: Receive, place: Reservation) -> bytes:
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self._settings.read_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refusal("body", f"{len(body)} bytes", "was cut short")
                    part, more = message.get("body", b""), message.get("more_body", False)
                    place.grow(self._within(len(body) + len(part)))
                    body += part
        except TimeoutError as error:
            seconds = self._settings.read_seconds
            raise TooSlow("body", f"{len(body)} bytes", f"must arrive within {seconds:g} s") from error
        return bytes(body)


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    waiting: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


async def _drain(receive: Receive, declared: int) -> None:
    """Read a short body that nobody wants, so that the client reads the answer and keeps its connection."""
    more = 0 < declared <= _DRAINED
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while more:
                more = (await receive()).get("more_body", False)
    except TimeoutError:
        pass  # the connection is closed after the answer


def _length(headers: Headers) -> int:
    try:
        return int(headers.get("content-length", "0"))
    except ValueError:
        return 0
