"""What the middleware shares: the id of a request, the scope in force while it is answered, tags found late."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from davy.errors import InvalidInference
from davy.sdk.guard import Guard
from davy.sdk.ids import fresh, parse
from davy.sdk.scope import CURRENT, Scope

HEADER: Final = "X-Davy-Id"
_GUARD: Final = Guard("middleware")


class RequestTags(Mapping[str, Any]):
    """The tags of a request, looked up when an inference is captured: the route is known only then."""

    def __init__(self, outer: Mapping[str, Any], route: Callable[[], str | None]) -> None:
        self._outer = outer
        self._route = route

    def _found(self) -> dict[str, Any]:
        with _GUARD:
            route = self._route()
            if route is not None:
                return {**self._outer, "route": route}
        return dict(self._outer)

    def __getitem__(self, key: str) -> Any:
        return self._found()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found())

    def __len__(self) -> int:
        return len(self._found())


class Request:
    """One request: its id and the scope for its inferences.

    The first inference made for the request has the request's id, further ones have ids of their own.

    Parameters
    ----------
    given
        The header the caller sent; one that is no id is as none.
    route
        Gives the template of the route, such as ``/users/{id}``, once it is known.
    """

    def __init__(self, given: str | None, route: Callable[[], str | None]) -> None:
        raw = _parsed(given) or fresh(time.time_ns())
        self.id = raw.hex()
        self._pending = [raw]
        self._route = route

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Put the scope in force for a ``with``."""
        outer = CURRENT.get() or Scope()
        tags = RequestTags(outer.tags, self._route)
        token = CURRENT.set(outer._replace(tags=tags, pending=self._pending))
        try:
            yield
        finally:
            CURRENT.reset(token)


def _parsed(given: str | None) -> bytes | None:
    try:
        return parse(given) if given else None
    except InvalidInference:
        return None
