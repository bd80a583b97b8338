"""Middleware for Starlette and any other ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, Final, TypeAlias

import davy
from davy.integrations._request import HEADER, Request

__all__ = ["DavyMiddleware"]

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[Any]]
_Send: TypeAlias = Callable[[Any], Awaitable[None]]
_NAME: Final = HEADER.lower().encode()
_FLUSH_SECONDS: Final = 1.0


class DavyMiddleware:
    """Gives every HTTP request an id and tags its inferences with the route; reads no body.

    The id is the caller's ``X-Davy-Id``, or a new one; the response says it in the same header. The first inference
    made while the request is answered has this id. When the application shuts down, what was captured is sent first:
    a server that then ends itself with the signal it was sent, as uvicorn does, runs no exit of Python's.

    Parameters
    ----------
    app
        The ASGI application.
    """

    def __init__(self, app: Callable[[_Scope, _Receive, _Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, partial(_send_what_waits, send))
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name.lower() == _NAME), b"")
        request = Request(given.decode("latin-1"), lambda: _route(scope))

        async def send_with_id(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                if not any(name.lower() == _NAME for name, _ in headers):
                    message = {**message, "headers": [*headers, (_NAME, request.id.encode())]}
            await send(message)

        with request.in_force():
            await self.app(scope, receive, send_with_id)


async def _send_what_waits(send: _Send, message: Any) -> None:
    if message["type"].startswith("lifespan.shutdown"):
        await asyncio.to_thread(davy.flush, _FLUSH_SECONDS)
    await send(message)


def _route(scope: _Scope) -> str | None:
    path = getattr(scope.get("route"), "path", None)
    if path is None:
        path = getattr(scope.get("endpoint"), "__name__", None)
    return None if path is None else f"{path}"
