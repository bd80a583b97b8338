"""Calls of language models that an ASGI application answers: kept while they pass, captured when they have ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

import davy
from davy.errors import InvalidInference
from davy.protocols import read_call
from davy.sdk.guard import Guard
from davy.sdk.home import HOME
from davy.sdk.streams import CLOSED, FAILED, MOST_HELD, OPEN

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[Any]]
_Send: TypeAlias = Callable[[Any], Awaitable[None]]
_App: TypeAlias = Callable[[_Scope, _Receive, _Send], Awaitable[None]]
MOST_BYTES: Final = 4 * 2**20
"""Of a request, and of its answer; of a longer answer the beginning is captured, which is counted."""
_AT_ONCE: Final = 64 * 2**10
"""Bytes that are read before the next request is looked at; more are read by another thread."""
_LIVE: Final = "live"
_GUARD: Final = Guard("middleware")


def may_complete(scope: _Scope) -> bool:
    """Return whether a request may be a call of a language model: it posts JSON."""
    if scope.get("method") != "POST":
        return False
    return any(name == b"content-type" and b"json" in value for name, value in scope["headers"])


class HttpExchange:
    """One request and its answer while they pass; nothing is held back and nothing is changed.

    Parameters
    ----------
    model
        ``name:version``; empty for what the request itself names.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._asked: list[bytes] = []
        self._told: list[bytes] = []
        self._sizes = [0, 0]
        self._cut = [False, False]
        self._answers = False
        self._whole = False
        self._started = time.perf_counter()

    async def follow(self, app: _App, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Have the application answer, and capture the call when it has, or when the client has gone."""

        async def receive_kept() -> Any:
            message = await receive()
            if message["type"] == "http.request":
                self._keep(0, self._asked, message.get("body", b""))
            return message

        async def send_kept(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                self._answers = message["status"] < 300 and not _encoded(message)
            elif message["type"] == "http.response.body" and self._answers:
                self._keep(1, self._told, message.get("body", b""))
                self._whole = not message.get("more_body", False)

        how = ""
        try:
            await app(scope, receive_kept, send_kept)
        except asyncio.CancelledError:
            how = CLOSED
            raise
        except BaseException:
            how = FAILED
            raise
        finally:
            OPEN.hold(-sum(self._sizes))
            if self._answers:
                spent = (time.perf_counter() - self._started) * 1e3
                how = "" if self._whole else how or CLOSED
                if sum(self._sizes) <= _AT_ONCE or how:
                    self._capture(how, spent)
                else:
                    await asyncio.to_thread(self._capture, how, spent)

    def _keep(self, side: int, kept: list[bytes], part: bytes) -> None:
        room = MOST_BYTES - self._sizes[side]
        if len(part) > room or OPEN.held >= MOST_HELD:
            self._cut[side] = True
        elif part and not self._cut[side]:
            kept.append(bytes(part))
            self._sizes[side] += len(part)
            OPEN.hold(len(part))

    def _capture(self, how: str, spent: float) -> None:
        with _GUARD:
            client = HOME.client or HOME.begin()
            if self._cut[0]:
                client.bulk.note(self._model, "stream_dropped")
                return
            try:
                call = read_call(b"".join(self._asked), b"".join(self._told), cut=self._cut[1] or bool(how))
            except InvalidInference:
                client.bulk.note(self._model, "stream_dropped")
                return
            if call is None:
                return
            model = self._model or _named(call.model)
            if self._cut[1]:
                client.bulk.note(model, "stream_cut")
            for inputs, outputs in call.rows:
                ended = {"ended": how} if how else {}
                davy.capture(model, inputs, {**outputs, **ended}, latency_ms=spent)


def _named(name: str) -> str:
    name = "".join(name.split()) or "llm"
    return name if ":" in name else f"{name}:{_LIVE}"


def _encoded(message: Any) -> bool:
    return any(name.lower() == b"content-encoding" for name, _ in message.get("headers", ()))
