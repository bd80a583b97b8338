"""API keys: who may write and who may read. The store keeps a hash of each, never the key."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fastapi.concurrency import run_in_threadpool

from davy.codec import dump, load
from davy.errors import SettingError, StoreError
from davy.existing import unknown
from davy.gateway.refusals import Forbidden, Unauthorised
from davy.secret import Secret
from davy.store import Batch, Store

SCOPES: Final = ("read", "write")
OVERLAP_HOURS: Final = 24.0
"""For so long a rotated key stays good: apps are given the new one meanwhile, one after the other."""
_COLLECTION: Final = "keys"
_FRESH_SECONDS: Final = 1.0
_KEPT_SECONDS: Final = 3600.0
_REMEDY: Final = "send 'Authorization: Bearer <key>', or the key as the password of any user"


@dataclass(frozen=True, slots=True)
class Key:
    """What the store knows of a key. Times are nanoseconds since the epoch; `ends_at` is 0 for a key without an end.

    The secret has 256 random bits, so a plain SHA-256 of it cannot be searched.
    """

    id: str
    project: str
    scopes: Sequence[str]
    hash: str
    made_at: int
    ends_at: int = 0

    def holds(self, now: int) -> bool:
        """Whether the key is still good."""
        return not self.ends_at or now < self.ends_at


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the name its rate is counted under, and what it may do."""

    name: str
    scopes: Sequence[str]

    def needs(self, *scopes: str) -> None:
        """Refuse a caller without these scopes.

        Raises
        ------
        Forbidden
            Names the scopes that lack.
        """
        missing = [scope for scope in scopes if scope not in self.scopes]
        if missing:
            remedy = f"needs the scope {' and '.join(missing)}; `davy keys create` makes a key that has it"
            raise Forbidden("Authorization", self.name, remedy)


def require_rights(project: str, scopes: Sequence[str]) -> None:
    """Raise SettingError unless a key can be made so: the project has a name, and every scope is known."""
    if not project.strip():
        raise SettingError("project", project, "give the project a name")
    wrong = [scope for scope in scopes if scope not in SCOPES]
    if wrong or not scopes:
        raise SettingError("scope", ", ".join(wrong), f"give one or more of {', '.join(SCOPES)}")


Show = Callable[[Key, str], object]
"""What is given a key and its secret."""


class KeyRing:
    """The keys in a store.

    Examples
    --------
    >>> from davy.store import open_store
    >>> ring = KeyRing(open_store("memory://keys"))
    >>> key, secret = ring.create("fraud", ["write"])
    >>> secret.startswith(f"davy_{key.id}_"), [found.project for found in ring.listed()]
    (True, ['fraud'])
    """

    def __init__(self, store: Store, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._store = store
        self._clock = clock

    def listed(self) -> list[Key]:
        """Every key ever made, those that ended too, oldest first."""
        found = [load(Key, data) for _, data in self._store.items(_COLLECTION)]
        return sorted(found, key=lambda key: key.made_at)

    def create(self, project: str, scopes: Sequence[str], *, show: Show | None = None) -> tuple[Key, str]:
        """Make a key; return it with its secret, which is kept nowhere.

        `show` is given both before the key is good, so that no key is whose secret could not be shown.

        Raises
        ------
        SettingError
            The project has no name, or a scope is unknown.
        """
        require_rights(project, scopes)
        id = secrets.token_hex(6)
        secret = f"davy_{id}_{secrets.token_urlsafe(32)}"
        key = Key(id, project, tuple(sorted(set(scopes))), _hash(secret), self._clock())
        if show is not None:
            show(key, secret)
        self._put(key)
        return key, secret

    def revoke(self, id: str) -> Key:
        """End a key now; gateways that run refuse it within a second or two.

        Raises
        ------
        SettingError
            There is no such key.
        """
        return self._end(id, 0)

    def rotate(
        self, id: str, *, overlap_hours: float = OVERLAP_HOURS, show: Show | None = None
    ) -> tuple[Key, str]:
        """Make a key like this one and end this one, after `overlap_hours` in which both are good.

        `show` is called as by `create`; when it raises, this one goes on.

        Raises
        ------
        SettingError
            There is no such key, or it ended already.
        """
        old = self._find(id)
        if not old.holds(self._clock()):
            raise SettingError("key", id, "ended already; `davy keys create` makes a new one")
        made = self.create(old.project, old.scopes, show=show)
        self._end(id, overlap_hours)
        return made

    def _end(self, id: str, hours: float) -> Key:
        key, end = self._find(id), self._clock() + int(hours * 3.6e12)
        key = replace(key, ends_at=min(end, key.ends_at or end))
        self._put(key)
        return key

    def _find(self, id: str) -> Key:
        data = self._store.get(_COLLECTION, id)
        if data is None:
            known = (name for name, _ in self._store.items(_COLLECTION))
            raise unknown("key", id, known, what="key", remedy="`davy keys list` shows all")
        return load(Key, data)

    def _put(self, key: Key) -> None:
        self._store.apply(Batch().put(_COLLECTION, key.id, dump(key)))


class Guard:
    """Says who a caller is; reads the keys from the store again every second, in a thread.

    While the store does not answer the keys it gave last hold for an hour: nobody can revoke one meanwhile, and whoever
    watches Davy has to be let in when it is unwell.

    Parameters
    ----------
    operator
        The key of `gateway.api_key` or its file, with every scope; None for none.
    must
        Whether a key is needed even if there are none, as on any address but loopback.
    """

    def __init__(
        self, ring: KeyRing, operator: Secret | None, *, must: bool, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._ring, self._clock = ring, clock
        self._operator_key, self._operator = operator, ""
        self._must = must or operator is not None
        self._keys: dict[str, Key] = {}
        self._read_at = -_FRESH_SECONDS
        self._answered_at: float | None = None
        self._reading = asyncio.Lock()

    async def needed(self) -> bool:
        """Whether a key is needed: one was ever made, or everybody could knock."""
        await self._refresh()
        return self._must or bool(self._keys)

    async def caller(self, header: str, address: str) -> Caller:
        """Return the caller of an Authorization header from an address.

        Raises
        ------
        Unauthorised
            A key is needed and this is none that is known and good.
        """
        needed = await self.needed()
        given = given_key(header)
        hashed = _hash(given)
        if self._operator and hmac.compare_digest(hashed, self._operator):
            return Caller("operator", SCOPES)
        key = self._keys.get(_id(given))
        same = hmac.compare_digest(hashed, key.hash if key else _hash(""))
        if key is not None and same and key.holds(self._clock()):
            return Caller(f"key {key.id}", key.scopes)
        if needed:
            raise Unauthorised("Authorization", "", _REMEDY)
        return Caller(address, SCOPES)

    async def _refresh(self) -> None:
        if time.monotonic() - self._read_at < _FRESH_SECONDS:
            return
        async with self._reading:
            if time.monotonic() - self._read_at >= _FRESH_SECONDS:
                self._keys = await self._listed()
                operator = self._operator_key.current() if self._operator_key is not None else ""
                self._operator = _hash(operator) if operator else ""
                self._read_at = time.monotonic()

    async def _listed(self) -> dict[str, Key]:
        try:
            found = {key.id: key for key in await run_in_threadpool(self._ring.listed)}
        except StoreError:
            if self._answered_at is None or time.monotonic() - self._answered_at > _KEPT_SECONDS:
                raise
            return self._keys
        self._answered_at = time.monotonic()
        return found


def given_key(header: str) -> str:
    """Return the key of an Authorization header: a bearer token from programs, a Basic password from browsers.

    Examples
    --------
    >>> given_key("Bearer lamp"), given_key("Basic YW55b25lOmxhbXA=")
    ('lamp', 'lamp')
    """
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2].decode()
    except ValueError:
        return ""


def _id(given: str) -> str:
    parts = given.split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == "davy" else ""


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
