"""The store in the memory of one process: for tests, and for roles that live together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from davy.errors import LeaseLost
from davy.store.base import Batch, Lease


@dataclass(frozen=True, slots=True)
class _Held:
    lease: Lease
    taken: float
    until: float


class MemoryStore:
    """A store that lives as long as its process.

    Parameters
    ----------
    name
        What stands behind ``memory://``.
    clock
        Seconds since the epoch; by it leases expire.

    Examples
    --------
    >>> store = MemoryStore("example")
    >>> store.apply(Batch().put("incidents", "i1", b"open"))
    >>> store.get("incidents", "i1")
    b'open'
    """

    _named: Final[dict[str, MemoryStore]] = {}
    _naming: Final = threading.Lock()

    def __init__(self, name: str = "", *, clock: Callable[[], float] = time.time) -> None:
        self.url = f"memory://{name}"
        self._clock = clock
        self._lock = threading.Lock()
        self._collections: dict[str, dict[str, bytes]] = {}
        self._leases: dict[str, _Held] = {}

    @classmethod
    def named(cls, name: str) -> MemoryStore:
        """Return the one store of this name in this process; the empty name is a name too."""
        with cls._naming:
            return cls._named.setdefault(name, cls(name))

    def get(self, collection: str, key: str) -> bytes | None:
        """Return a record, or None."""
        with self._lock:
            return self._collections.get(collection, {}).get(key)

    def get_many(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        """Return those of the records `keys` that are there."""
        with self._lock:
            records = self._collections.get(collection, {})
            return {key: records[key] for key in keys if key in records}

    def items(self, collection: str) -> Iterator[tuple[str, bytes]]:
        """Return every record of a collection, sorted by key, as they were when the first was asked for."""
        with self._lock:
            found = sorted(self._collections.get(collection, {}).items())
        yield from found

    def count(self, collection: str) -> int:
        """How many records a collection has."""
        with self._lock:
            return len(self._collections.get(collection, {}))

    def apply(self, batch: Batch, *, lease: Lease | None = None) -> None:
        """Make every change of `batch` together.

        Raises
        ------
        LeaseLost
            `lease` was given and is no longer held with this fence; nothing was changed.
        """
        with self._lock:
            if lease is not None and not self._holds(lease):
                raise LeaseLost("lease", lease.name, f"{lease.owner} no longer holds it; acquire it again")
            for verb, collection, key, value in batch.operations:
                records = self._collections.setdefault(collection, {})
                if verb == "delete":
                    records.pop(key, None)
                elif verb == "put":
                    records[key] = bytes(value)
                else:
                    records.setdefault(key, bytes(value))

    def acquire(self, name: str, owner: str, *, seconds: float, steal: bool = False) -> Lease | None:
        """Take or renew the right `name` for `seconds`; None while another owner holds it, unless to `steal` it."""
        with self._lock:
            now = self._clock()
            held = self._leases.get(name) or _Held(Lease(name, owner, 1), now, now)
            lease = held.lease
            if lease.owner != owner:
                if held.until > now and not steal:
                    if held.taken > now:  # before the clock was set back: it ends no later than it would have
                        self._leases[name] = _Held(lease, now, now + held.until - held.taken)
                    return None
                lease = Lease(name, owner, lease.fence + 1)
            self._leases[name] = _Held(lease, now, now + seconds)
        return lease

    def release(self, lease: Lease) -> None:
        """Release a right; harmless when it is lost already."""
        with self._lock:
            held = self._leases.get(lease.name)
            if held is not None and held.lease == lease:
                self._leases[lease.name] = _Held(lease, 0.0, 0.0)

    def probe(self, timeout: float) -> str:
        """Memory takes what it is given."""
        del timeout
        return "memory of this process"

    def damage(self, seconds: float) -> str:
        """Memory is not looked over."""
        del seconds
        return ""

    def shrink(self, *, everything: bool = False, rewrite: bool = False) -> int:
        """Nothing lies on a disk."""
        del everything, rewrite
        return 0

    def scrub(self) -> None:
        """Nothing that was deleted is kept."""

    def close(self) -> None:
        """Leave the records to whoever else opened this name."""

    def _holds(self, lease: Lease) -> bool:
        held = self._leases.get(lease.name)
        return held is not None and held.lease == lease and held.until > self._clock()
