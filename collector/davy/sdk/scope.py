"""What holds for every inference captured inside a ``with davy.context(…)``."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, NamedTuple

from davy.sdk.guard import Guard
from davy.sdk.ids import parse


class Scope(NamedTuple):
    """The id, group, sequence number, tags and event time in force."""

    id: bytes | None = None
    group: str | None = None
    seq: int | None = None
    tags: Mapping[str, Any] = {}
    pending: list[bytes] | None = None
    """The id of a request, for the first inference made in it; None where `id` holds for all."""
    at: int | None = None

    def take(self) -> bytes | None:
        """Give the id for the next inference; None when it shall have one of its own."""
        if self.pending is None:
            return self.id
        try:
            return self.pending.pop()
        except IndexError:
            return None


CURRENT: Final[ContextVar[Scope | None]] = ContextVar("davy.scope", default=None)
_GUARD: Final = Guard("context")


class ScopeManager:
    """Puts a scope in force, merged with the one around it, for a thread or an asyncio task."""

    __slots__ = ("_given", "_token")

    def __init__(self, id: Any, group: Any, seq: Any, tags: Any, at: Any) -> None:
        self._given = (id, group, seq, tags, at)
        self._token: Token[Scope | None] | None = None

    def __enter__(self) -> None:
        with _GUARD:
            self._token = CURRENT.set(_merge(CURRENT.get() or Scope(), *self._given))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _GUARD:
            if self._token is not None:
                CURRENT.reset(self._token)


def _merge(outer: Scope, id: Any, group: Any, seq: Any, tags: Any, at: Any) -> Scope:
    return Scope(
        id=outer.id if id is None else parse(id),
        group=outer.group if group is None else str(group),
        seq=outer.seq if seq is None else int(seq),
        tags={**outer.tags, **(tags or {})},
        pending=outer.pending if id is None else None,
        at=outer.at if at is None else int(at),
    )
