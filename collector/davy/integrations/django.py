"""Middleware for Django: ``"davy.integrations.django.DavyMiddleware"`` in ``MIDDLEWARE``."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from davy.integrations._request import HEADER, Request

__all__ = ["DavyMiddleware"]


class DavyMiddleware:
    """Middleware that gives every request an id and tags its inferences with the route; reads no body.

    The id is the caller's ``X-Davy-Id``, or a new one; the response says it in the same header. The first inference
    made while the request is answered has this id. Works under WSGI and ASGI.

    Parameters
    ----------
    get_response
        What Django calls next.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response
        self._asynchronous = iscoroutinefunction(get_response)
        if self._asynchronous:
            from asgiref.sync import markcoroutinefunction  # comes with Django

            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Answer one request."""
        if self._asynchronous:
            return self._answer_later(request)
        found = _request(request)
        with found.in_force():
            return _with_id(self._get_response(request), found)

    async def _answer_later(self, request: Any) -> Any:
        found = _request(request)
        with found.in_force():
            return _with_id(await self._get_response(request), found)


def _request(request: Any) -> Request:
    return Request(request.headers.get(HEADER), lambda: _route(request))


def _with_id(response: Any, request: Request) -> Any:
    response.headers.setdefault(HEADER, request.id)
    return response


def _route(request: Any) -> str | None:
    match = getattr(request, "resolver_match", None)
    return None if match is None else str(match.route)
