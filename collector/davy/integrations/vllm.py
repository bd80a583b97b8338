"""Middleware for vLLM's own server: ``vllm serve MODEL --middleware davy.integrations.vllm.DavyMiddleware``."""

from __future__ import annotations

from typing import Any

from davy.integrations.starlette import DavyMiddleware as _Middleware

__all__ = ["DavyMiddleware"]


class DavyMiddleware(_Middleware):
    """Captures what is completed and embedded, under the name in the request, ``:live`` where it has no version.

    Parameters
    ----------
    app
        The ASGI application.
    """

    def __init__(self, app: Any) -> None:
        super().__init__(app, model="")
