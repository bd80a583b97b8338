"""API keys: who may write and who may read. The store keeps a hash of each, never the key."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from davy._directory import directory_of, unwritten
from davy.errors import DavyError, SettingError, StoreError
from davy.existing import unknown
from davy.gateway.refusals import Forbidden, Unauthorised
from davy.projects import require_project
from davy.runtime import Runtime
from davy.secret import Secret
from davy.store import Batch, Collection, Store, events

SCOPES: Final = ("read", "write")
OVERLAP_HOURS: Final = 24.0
"""For so long a rotated key stays good: apps are given the new one meanwhile, one after the other."""
_FRESH_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 1.0
"""So long a request waits for a store to give its keys; those it gave last do meanwhile."""
_KEPT_SECONDS: Final = 3600.0
_MARK: Final = "keys-needed"
_MARK_TEXT: Final = """\
An API key was made for this Davy, so its gateway needs one, also where the store with the keys is lost.
Remove this file, with no key in the store, to open the gateway on loopback to everybody again.
"""
_REMEDY: Final = "send 'Authorization: Bearer <key>', or the key as the password of any user"
_logger = logging.getLogger("davy.gateway")


@dataclass(frozen=True, slots=True)
class Key:
    """What the store knows of a key. Times are nanoseconds since the epoch; `ends_at` is 0 for a key without an end.

    The secret has 256 random bits, so a plain SHA-256 of it cannot be searched. `binds` says whether what the key
    writes is called after its project; those made before there was such a thing write names as they are sent.
    """

    id: str
    project: str
    scopes: Sequence[str]
    hash: str
    made_at: int
    ends_at: int = 0
    binds: bool = False

    def holds(self, now: int) -> bool:
        """Whether the key is still good."""
        return not self.ends_at or now < self.ends_at


_KEYS: Final[Collection[Key]] = events("keys", Key, writer="davy keys")
"""Every key ever made, by its id."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the name its rate is counted under, what it may do, and the project its models belong to."""

    name: str
    scopes: Sequence[str]
    project: str = ""

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


def require_rights(project: str, scopes: Sequence[str], *, binds: bool = True) -> None:
    """Raise SettingError unless a key can be made so: the project has a name that fits, and every scope is known."""
    if not project.strip():
        raise SettingError("project", project, "give the project a name")
    wrong = [scope for scope in scopes if scope not in SCOPES]
    if wrong or not scopes:
        raise SettingError("scope", ", ".join(wrong), f"give one or more of {', '.join(SCOPES)}")
    if binds and "write" in scopes:
        require_project(project)


Show = Callable[[Key, str], object]
"""What is given a key and its secret."""


class Mark:
    """A file that says that a key was ever made; it lies elsewhere than the keys, for the day these are lost.

    Parameters
    ----------
    path
        Where it lies; None where there is no place for it.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._said = False

    def set(self) -> None:
        """Make the file; where it cannot be made, say so once: the next look tries again."""
        if self._path is None or self.is_set():
            return
        try:
            self._path.write_text(_MARK_TEXT)
        except OSError as error:
            if not self._said:
                said = (
                    "%s cannot be written (%s): after a restart without the store the gateway would be open"
                )
                _logger.warning(said, self._path, unwritten(error))
            self._said = True

    def is_set(self) -> bool:
        """Whether the file is there, or cannot be looked at."""
        try:
            return self._path is not None and bool(self._path.stat())
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True


class KeyRing:
    """The keys in a store.

    Parameters
    ----------
    store
        Where they are.
    mark
        What remembers, beside the store, that there was one.

    Examples
    --------
    >>> from davy.store import open_store
    >>> ring = KeyRing(open_store("memory://keys"))
    >>> key, secret = ring.create("fraud", ["write"])
    >>> secret.startswith(f"davy_{key.id}_"), [found.project for found in ring.listed()]
    (True, ['fraud'])
    """

    def __init__(
        self, store: Store, mark: Mark | None = None, *, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._store = store
        self._mark = mark or Mark(None)
        self._clock = clock

    @classmethod
    def of(cls, runtime: Runtime) -> KeyRing:
        """Return the keys of a runtime, with a mark beside its log where that is a directory of this host."""
        url = runtime.settings.url
        place = directory_of(url).absolute() / _MARK if url.startswith("sqlite:") else None
        return cls(runtime.store, Mark(place))

    def made(self) -> tuple[list[Key], bool]:
        """Return the keys of the store, and whether any was ever made, be it gone; that is remembered."""
        keys = self.listed()
        if keys:
            self._mark.set()
        return keys, bool(keys) or self._mark.is_set()

    def listed(self) -> list[Key]:
        """Every key ever made, those that ended too, oldest first."""
        return sorted(_KEYS.values(self._store), key=lambda key: key.made_at)

    def create(
        self, project: str, scopes: Sequence[str], *, binds: bool = True, show: Show | None = None
    ) -> tuple[Key, str]:
        """Make a key; return it with its secret, which is kept nowhere.

        What it writes is called after its project if it `binds`. `show` is given both before the key is good, so that
        no key is whose secret could not be shown.

        Raises
        ------
        SettingError
            The project has no name, or none that can stand before those of models, or a scope is unknown.
        """
        require_rights(project, scopes, binds=binds)
        id = secrets.token_hex(6)
        secret = f"davy_{id}_{secrets.token_urlsafe(32)}"
        key = Key(id, project, tuple(sorted(set(scopes))), _hash(secret), self._clock(), binds=binds)
        if show is not None:
            show(key, secret)
        self._put(key)
        self._mark.set()
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
        made = self.create(old.project, old.scopes, binds=old.binds, show=show)
        self._end(id, overlap_hours)
        return made

    def _end(self, id: str, hours: float) -> Key:
        key, end = self._find(id), self._clock() + int(hours * 3.6e12)
        key = replace(key, ends_at=min(end, key.ends_at or end))
        self._put(key)
        return key

    def _find(self, id: str) -> Key:
        found = _KEYS.get(self._store, id)
        if found is None:
            raise unknown("key", id, _KEYS.keys(self._store), what="key", remedy="`davy keys list` shows all")
        return found

    def _put(self, key: Key) -> None:
        self._store.apply(_KEYS.put(Batch(), key.id, key))


class Authenticator:
    """Says who a caller is; reads the keys from the store again every second, in a thread of its own.

    A request waits a second at most for a store that hangs. While the store does not answer the keys it gave last hold
    for an hour: nobody can revoke one meanwhile, and whoever watches Davy has to be let in when it is unwell. Once a
    key was seen one is needed as long as the process lives, whatever becomes of the store.

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
        self._answered_at: float | None = None
        self._refused: DavyError = StoreError("store", "keys", "has not said yet which there are: ask again")
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="davy-keys")
        self._read_at = -_FRESH_SECONDS
        self._begun_at = time.monotonic()
        self._reading: Future[None] = self._reader.submit(self._read_at_the_start)

    async def needed(self) -> bool:
        """Whether a key is needed: one was ever made, or everybody could knock.

        Raises
        ------
        DavyError
            The store has not answered for an hour, or never, so nobody knows.
        """
        await self._refresh()
        if not self._must:
            self._require_known()
        return self._must

    async def caller(self, header: str, address: str) -> Caller:
        """Return the caller of an Authorization header from an address.

        Raises
        ------
        Unauthorised
            A key is needed and this is none that is known and good.
        DavyError
            It may be good: the store has not answered for an hour, or never.
        """
        needed = await self.needed()
        given = given_key(header)
        hashed = _hash(given)
        if self._operator and hmac.compare_digest(hashed, self._operator):
            return Caller("operator", SCOPES)
        self._require_known()
        key = self._keys.get(_id(given))
        same = hmac.compare_digest(hashed, key.hash if key else _hash(""))
        if key is not None and same and key.holds(self._clock()):
            return Caller(f"key {key.id}", key.scopes, key.project if key.binds else "")
        if needed:
            raise Unauthorised("Authorization", "", _REMEDY)
        return Caller(address, SCOPES)

    async def _refresh(self) -> None:
        """Have the keys read again when it is time, and wait for that, but not for long."""
        if self._reading.done():
            if time.monotonic() - self._read_at < _FRESH_SECONDS:
                return
            self._begun_at = time.monotonic()
            self._reading = self._reader.submit(self._read)
        left = self._begun_at + _PATIENCE_SECONDS - time.monotonic()
        await asyncio.wait([asyncio.wrap_future(self._reading)], timeout=max(0.0, left))

    def _read_at_the_start(self) -> None:
        """Read the keys for the case that the store fails before the first request, which reads them again."""
        self._read()
        self._read_at = -_FRESH_SECONDS

    def _read(self) -> None:
        try:
            operator = self._operator_key.current() if self._operator_key is not None else ""
            self._operator = _hash(operator) if operator else ""
            keys, ever = self._ring.made()
        except DavyError as error:
            self._refused = error
        else:
            self._must = self._must or ever
            self._keys = {key.id: key for key in keys}
            self._answered_at = time.monotonic()
        finally:
            self._read_at = time.monotonic()

    def _require_known(self) -> None:
        if self._answered_at is None or time.monotonic() - self._answered_at > _KEPT_SECONDS:
            raise self._refused


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
