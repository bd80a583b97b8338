"""What holds for every inference captured inside a ``with davy.context(…)``."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar, Token
from itertools import count, repeat
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeAlias

from davy.event import Path
from davy.sdk.guard import Guard
from davy.sdk.ids import parse

Paths: TypeAlias = tuple[Path, ...]
_TAGS: Final = repeat("tags")


class LateTags(Mapping[str, Any]):
    """Tags that are looked up when an inference is captured."""

    def copy(self) -> dict[str, Any]:
        """Return them as they are now, looked up once."""
        raise NotImplementedError


class GivenId:
    """The id an app gives to the inferences in a scope: of each model the first has it, the others one made of it.

    Those are the same every time, for a request that is repeated, and end as the given one does: its last 8 bytes, by
    which sampling decides, are theirs.

    Examples
    --------
    >>> given = GivenId(bytes(16))
    >>> first, second = given.take("iris:1"), given.take("iris:1")
    >>> first == given.take("digits:1") == bytes(16), second == first, second[8:] == first[8:]
    (True, False, True)
    """

    __slots__ = ("_back", "_counts", "_id")

    def __init__(self, id: bytes) -> None:
        self._id = id
        self._counts: dict[str, count[int]] = {}
        self._back: dict[str, list[bytes]] = {}

    def take(self, model: str) -> bytes:
        """Return the id of the next inference of a model."""
        back = self._back.get(model)
        if back:
            return back.pop()
        number = next(self._counts.setdefault(model, count()))
        if not number:
            return self._id
        from hashlib import sha256  # loads OpenSSL, which most apps that watch a model need not have

        return sha256(self._id + number.to_bytes(8, "big")).digest()[:8] + self._id[8:]

    def put_back(self, model: str, id: bytes) -> None:
        """Take back an id that no inference got."""
        self._back.setdefault(model, []).append(id)


class Scope(NamedTuple):
    """The id, group, sequence number, tags and event time in force."""

    id: bytes | None = None
    group: str | None = None
    seq: int | None = None
    tags: dict[str, Any] | LateTags = {}  # noqa: RUF012 - nobody writes to it
    pending: list[bytes] | None = None
    """The id of a request, for the first inference made in it; None where `id` holds for all."""
    at: int | None = None
    given: GivenId | None = None
    """What `id` gives to each inference; None where it is that of a single one."""

    def take(self, model: str) -> bytes | None:
        """Return the id for the next inference of a model; None when it shall have one of its own."""
        if self.pending is None:
            return self.id if self.given is None else self.given.take(model)
        try:
            return self.pending.pop()
        except IndexError:
            return None

    def tags_now(self) -> dict[str, Any]:
        """Return the tags of an inference captured now."""
        return self.tags.copy()

    def put_back(self, model: str, id: bytes) -> None:
        """Take back an id that no inference got."""
        if self.given is not None:
            self.given.put_back(model, id)
        elif self.pending is not None:
            self.pending.append(id)

    def fields(self) -> tuple[Paths, list[Any]]:
        """Return what an inference captured now gets beside its own fields, in the order the codec has them."""
        tags = self.tags.copy()
        paths: Paths = tuple(zip(_TAGS, tags, strict=False))
        values = [*tags.values()]
        if self.group is not None:
            paths += (("group",),)
            values.append(self.group)
        if self.seq is not None:
            paths += (("seq",),)
            values.append(self.seq)
        return paths, values


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
    own = None if id is None else parse(id)
    return Scope(
        id=own or outer.id,
        group=outer.group if group is None else str(group),
        seq=outer.seq if seq is None else int(seq),
        tags={**outer.tags_now(), **(tags or {})},
        pending=outer.pending if id is None else None,
        at=outer.at if at is None else int(at),
        given=outer.given if own is None else GivenId(own),
    )
