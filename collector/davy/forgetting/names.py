"""The ids of forgotten inferences: written before anything is removed, kept until nothing can bring them back."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final, TypeAlias

from davy.codec import dump_any, load_any
from davy.store import Batch, Collection, Store, marks, plain

Ids: TypeAlias = frozenset[bytes]
"""Ids of inferences, 16 bytes each."""


@dataclass(frozen=True, slots=True)
class _Forgotten:
    """Since when an id is forgotten, or when that was finished, nanoseconds since the epoch, and whether it was."""

    at: int
    done: bool


FORGOTTEN: Final[Collection[_Forgotten]] = plain(
    "forgotten",
    _Forgotten,
    writer="davy forget; retain drops them",
    write=lambda one: {"v": 1, "at": one.at, "done": one.done},
    read=lambda found: _Forgotten(found["at"], found["done"]),
)
"""What is forgotten, by the id in hexadecimal."""

STATE: Final[Collection[bytes]] = marks("forgetting", writer="davy forget, davy recount")
"""The version of `FORGOTTEN`, the payloads that go with it, and until when roles are to stand aside."""
_VERSION: Final = "version"
_PAYLOADS: Final = "payloads"


class ForgottenIds:
    """The forgotten ids, read from the store again whenever they changed.

    Examples
    --------
    >>> from davy.store.memory import MemoryStore
    >>> names = ForgottenIds(MemoryStore("example"))
    >>> names.add(frozenset({bytes(16)}), at=0)
    >>> names.current() == names.unfinished() == {bytes(16)}
    True
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._version: bytes | None = None
        self._ids: frozenset[bytes] = frozenset()

    def current(self) -> frozenset[bytes]:
        """Return every id that is forgotten, removed already or not; one look into the store when nothing changed."""
        version = STATE.get(self._store, _VERSION)
        if version != self._version:
            self._ids = frozenset(map(bytes.fromhex, FORGOTTEN.keys(self._store)))
            self._version = version
        return self._ids

    def unfinished(self) -> frozenset[bytes]:
        """Return the ids of which something may still be there."""
        return frozenset(bytes.fromhex(key) for key, one in FORGOTTEN.items(self._store) if not one.done)

    def finished(self) -> frozenset[bytes]:
        """Return the ids of which nothing is left that anybody is shown."""
        return frozenset(self.current() - self.unfinished())

    def payloads(self) -> frozenset[str]:
        """Return the hashes of the payloads the unfinished ids referred to."""
        stored = STATE.get(self._store, _PAYLOADS)
        return frozenset(load_any(stored)) if stored else frozenset()

    def add(self, ids: Ids, *, at: int) -> None:
        """Write down that `ids` are being forgotten since `at`, nanoseconds since the epoch."""
        self._put(ids, at, Batch(), done=False)

    def add_payloads(self, hashes: frozenset[str]) -> None:
        """Write down which payloads go with them: what refers to these is removed first."""
        hashes = hashes | self.payloads()
        self._store.apply(STATE.put(Batch(), _PAYLOADS, dump_any(sorted(hashes))))

    def finish(self, ids: Ids, *, at: int) -> None:
        """Write down that nothing is left of `ids`, the only ones that were unfinished."""
        self._put(ids, at, STATE.delete(Batch(), _PAYLOADS), done=True)

    def expire(self, before: int, *, dry_run: bool = False) -> int:
        """Drop the ids finished before this time; return their number. If `dry_run`, only return it."""
        old = [key for key, one in FORGOTTEN.items(self._store) if one.done and one.at < before]
        if old and not dry_run:
            self._store.apply(FORGOTTEN.delete(_renewed(Batch()), *old))
        return len(old)

    def _put(self, ids: Ids, at: int, batch: Batch, *, done: bool) -> None:
        for id in sorted(ids):
            FORGOTTEN.put(batch, id.hex(), _Forgotten(at, done))
        self._store.apply(_renewed(batch))


def _renewed(batch: Batch) -> Batch:
    """Let everybody read the names again."""
    return STATE.put(batch, _VERSION, secrets.token_bytes(8))
