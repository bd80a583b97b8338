"""What the middleware shares: the id of a request, the scope in force while it is answered, tags found late."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Token
from typing import Any, Final

from davy.errors import InvalidInference
from davy.sdk.guard import swallowed
from davy.sdk.ids import Ids, join, parse
from davy.sdk.sampling import Sampler
from davy.sdk.scope import CURRENT, LateTags, Scope

HEADER: Final = "X-Davy-Id"
_IDS: Final = Ids(Sampler(1.0))
"""Of requests: sampling decides when an inference is captured, whose ids they are."""


class RequestTags(LateTags):
    """The tags of a request, looked up when an inference is captured: the route is known only then."""

    __slots__ = ("_outer", "_route")

    def __init__(self, outer: Mapping[str, Any], route: Callable[[], str | None]) -> None:
        self._outer = outer
        self._route = route

    def copy(self) -> dict[str, Any]:
        try:  # as `Guard` does, without its cost
            route = self._route()
        except Exception as error:  # noqa: BLE001 - a router of another kind
            swallowed("middleware", error)
            route = None
        return {**self._outer} if route is None else {**self._outer, "route": route}

    def __getitem__(self, key: str) -> Any:
        return self.copy()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.copy())

    def __len__(self) -> int:
        return len(self.copy())


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

    __slots__ = ("_pending", "_route", "id")

    def __init__(self, given: str | None, route: Callable[[], str | None]) -> None:
        raw = _parsed(given) if given else None
        if raw is None:
            raw = join(time.time_ns(), _IDS.admitted())
        self.id = raw.hex()
        self._pending = [raw]
        self._route = route

    def enter(self) -> Token[Scope | None]:
        """Put the scope in force, until `leave` with what this returns."""
        outer = CURRENT.get()
        if outer is None:
            return CURRENT.set(Scope(None, None, None, RequestTags({}, self._route), self._pending))
        tags = RequestTags(outer.tags_now(), self._route)
        return CURRENT.set(outer._replace(tags=tags, pending=self._pending))

    @staticmethod
    def leave(token: Token[Scope | None]) -> None:
        """Put back the scope that was in force before."""
        CURRENT.reset(token)

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Put the scope in force for a ``with``."""
        token = self.enter()
        try:
            yield
        finally:
            self.leave(token)


def _parsed(given: str) -> bytes | None:
    try:
        return parse(given)
    except InvalidInference:
        return None
