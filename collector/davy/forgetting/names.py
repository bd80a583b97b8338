"""The ids of forgotten inferences: written before anything is removed, kept until nothing can bring them back."""

from __future__ import annotations

import secrets
from typing import Final, TypeAlias

from davy.codec import dump_any, load_any
from davy.store import Batch, Store

Ids: TypeAlias = frozenset[bytes]
"""Ids of inferences, 16 bytes each."""

COLLECTION: Final = "forgotten"
STATE: Final = "forgetting"
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
        version = self._store.get(STATE, _VERSION)
        if version != self._version:
            self._ids = frozenset(bytes.fromhex(key) for key, _ in self._store.items(COLLECTION))
            self._version = version
        return self._ids

    def unfinished(self) -> frozenset[bytes]:
        """Return the ids of which something may still be there."""
        stored = self._store.items(COLLECTION)
        return frozenset(bytes.fromhex(key) for key, data in stored if not load_any(data)["done"])

    def finished(self) -> frozenset[bytes]:
        """Return the ids of which nothing is left that anybody is shown."""
        return frozenset(self.current() - self.unfinished())

    def payloads(self) -> frozenset[str]:
        """Return the hashes of the payloads the unfinished ids referred to."""
        stored = self._store.get(STATE, _PAYLOADS)
        return frozenset(load_any(stored)) if stored else frozenset()

    def add(self, ids: Ids, *, at: int) -> None:
        """Write down that `ids` are being forgotten since `at`, nanoseconds since the epoch."""
        self._put(ids, at, Batch(), done=False)

    def add_payloads(self, hashes: frozenset[str]) -> None:
        """Write down which payloads go with them: what refers to these is removed first."""
        hashes = hashes | self.payloads()
        self._store.apply(Batch().put(STATE, _PAYLOADS, dump_any(sorted(hashes))))

    def finish(self, ids: Ids, *, at: int) -> None:
        """Write down that nothing is left of `ids`, the only ones that were unfinished."""
        self._put(ids, at, Batch().delete(STATE, _PAYLOADS), done=True)

    def expire(self, before: int, *, dry_run: bool = False) -> int:
        """Drop the ids finished before this time; return their number. If `dry_run`, only return it."""
        old = []
        for key, data in self._store.items(COLLECTION):
            found = load_any(data)
            if found["done"] and found["at"] < before:
                old.append(key)
        if old and not dry_run:
            batch = Batch().put(STATE, _VERSION, secrets.token_bytes(8))
            for key in old:
                batch.delete(COLLECTION, key)
            self._store.apply(batch)
        return len(old)

    def _put(self, ids: Ids, at: int, batch: Batch, *, done: bool) -> None:
        for id in sorted(ids):
            batch.put(COLLECTION, id.hex(), dump_any({"v": 1, "at": at, "done": done}))
        self._store.apply(batch.put(STATE, _VERSION, secrets.token_bytes(8)))
