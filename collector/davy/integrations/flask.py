"""Middleware for Flask and any other WSGI application: ``app.wsgi_app = DavyMiddleware(app.wsgi_app)``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from davy.integrations._request import HEADER, Request

__all__ = ["DavyMiddleware"]


class DavyMiddleware:
    """Middleware that gives every request an id and tags its inferences with the route; reads no body.

    The id is the caller's ``X-Davy-Id``, or a new one; the response says it in the same header. The first inference
    made while the request is answered has this id.

    Parameters
    ----------
    app
        The WSGI application.
    """

    def __init__(self, app: Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]) -> None:
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        known: list[str | None] = []
        request = Request(environ.get("HTTP_X_DAVY_ID"), lambda: known[0] if known else _route(environ))

        def start_with_id(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            known.append(_route(environ))  # Flask forgets the request before a streamed body is made
            if not any(name.lower() == HEADER.lower() for name, _ in headers):
                headers = [*headers, (HEADER, request.id)]
            return start_response(status, headers, *more)

        with request.in_force():
            body = self.app(environ, start_with_id)
        return body if isinstance(body, (list, tuple)) else _Body(body, request)


class _Body:
    """A body made while it is sent: what is predicted meanwhile belongs to the request."""

    def __init__(self, body: Iterable[bytes], request: Request) -> None:
        self._body = body
        self._request = request
        self._parts: Iterator[bytes] | None = None

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        with self._request.in_force():
            if self._parts is None:
                self._parts = iter(self._body)
            return next(self._parts)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()


def _route(environ: dict[str, Any]) -> str | None:
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    return None if rule is None else str(rule.rule)
