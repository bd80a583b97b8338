"""Middleware for Starlette and any other ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import partial
from typing import Any, Final, TypeAlias

from davy.integrations._completions import HttpExchange, may_complete
from davy.integrations._request import HEADER, Request

__all__ = ["DavyMiddleware"]

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[Any]]
_Send: TypeAlias = Callable[[Any], Awaitable[None]]
_NAME: Final = HEADER.lower().encode()
_LENGTH: Final = len(_NAME)


class DavyMiddleware:
    """Middleware that gives HTTP requests an id and tags inferences with the route; reads no body unless told to.

    The id is the caller's ``X-Davy-Id``, or a new one; the response says it in the same header. The first inference
    made while the request is answered has this id.

    Parameters
    ----------
    app
        The ASGI application.
    model
        ``name:version`` under which the calls of a language model are captured that the application answers in the
        protocol of OpenAI (vLLM, llama.cpp, …), of Text Generation Inference or of the generate extension, whole or
        streamed; empty for the name in the request. None captures nothing but what is watched.
    """

    def __init__(
        self, app: Callable[[_Scope, _Receive, _Send], Awaitable[None]], model: str | None = None
    ) -> None:
        self.app = app
        self._model = model

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = _id_among(scope["headers"])
        request = Request(given.decode("latin-1") if given else None, partial(_route, scope))

        def send_with_id(message: Any) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                if _id_among(headers) is None:
                    message = {**message, "headers": [*headers, (_NAME, request.id.encode())]}
            return send(message)

        token = request.enter()
        try:
            if self._model is None or not may_complete(scope):
                await self.app(scope, receive, send_with_id)
            else:
                await HttpExchange(self._model).follow(self.app, scope, receive, send_with_id)
        finally:
            request.leave(token)


def _id_among(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    for name, value in headers:
        if len(name) == _LENGTH and name.lower() == _NAME:
            return value
    return None


def _route(scope: _Scope) -> str | None:
    path = getattr(scope.get("route"), "path", None)
    if path is None:
        path = getattr(scope.get("endpoint"), "__name__", None)
    return None if path is None else f"{path}"
