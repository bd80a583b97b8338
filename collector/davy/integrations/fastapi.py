"""Middleware for FastAPI: ``app.add_middleware(DavyMiddleware)``."""

from davy.integrations.starlette import DavyMiddleware

__all__ = ["DavyMiddleware"]
