"""The status page of ``davy up``: what every model does, what is wrong, and what is done about it."""

from davy_dashboards.web._routes import router

__all__ = ["router"]
