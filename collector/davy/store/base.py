"""The port of the store: small records in named collections, changed in atomic batches, and leases.

State, position and results' ids go into one batch, so an effect happens exactly once whatever crashes. The verbs
are those that SQLite and Redis both have; nothing here emulates one on the other.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class Lease:
    """A right held for a time. `fence` grows with every new owner; a batch under an older fence is refused."""

    name: str
    owner: str
    fence: int


def first_fence() -> int:
    """Return a number that no other store begins with: a right of a store that was lost is not held in a new one."""
    return secrets.randbits(48)


@dataclass(slots=True)
class Batch:
    """Changes that happen together or not at all, in the order they were added.

    Examples
    --------
    >>> batch = Batch().put("positions", "detect", b"7").add("candidates", "c1", b"new")
    >>> [operation[0] for operation in batch.operations]
    ['put', 'add']
    """

    operations: list[tuple[str, str, str, bytes]] = field(default_factory=list)

    def put(self, collection: str, key: str, value: bytes) -> Self:
        """Set a record."""
        self.operations.append(("put", collection, key, value))
        return self

    def add(self, collection: str, key: str, value: bytes) -> Self:
        """Set a record unless there is one already."""
        self.operations.append(("add", collection, key, value))
        return self

    def delete(self, collection: str, key: str) -> Self:
        """Remove a record; removing what is not there is harmless."""
        self.operations.append(("delete", collection, key, b""))
        return self


class Store(Protocol):
    """One store, by URL."""

    url: str

    def get(self, collection: str, key: str) -> bytes | None:
        """Return a record, or None."""

    def get_many(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        """Return those of the records `keys` that are there; a record that is changed meanwhile may be either."""

    def items(self, collection: str) -> Iterator[tuple[str, bytes]]:
        """Return every record of a collection, sorted by key."""

    def count(self, collection: str) -> int:
        """How many records a collection has."""

    def apply(self, batch: Batch, *, lease: Lease | None = None) -> None:
        """Make every change of `batch` in one transaction.

        Raises
        ------
        LeaseLost
            `lease` was given and is no longer held with this fence; nothing was changed.
        StoreError
            The store refused; nothing was changed.
        """

    def acquire(self, name: str, owner: str, *, seconds: float, steal: bool = False) -> Lease | None:
        """Take or renew the right `name` for `seconds`; None while another owner holds it.

        With `steal` it is taken whoever holds it; the fence grows, so batches of the old owner are refused.
        """

    def release(self, lease: Lease) -> None:
        """Release a right; harmless when it is lost already."""

    def probe(self, timeout: float) -> str:
        """Write something small, within about `timeout` seconds; return what that proves.

        Raises
        ------
        StoreError
            The store cannot be written.
        """

    def damage(self, seconds: float) -> str | None:
        """Look over what the store lies on, for at most about `seconds`.

        Returns
        -------
        str or None
            What is damaged, empty when nothing is or the store cannot know; None when the time was not enough.
        """

    def scrub(self) -> None:
        """Make sure that nothing that was deleted or replaced stays on the medium; raises StoreError when some does."""

    def shrink(self, *, everything: bool = False, rewrite: bool = False) -> int:
        """Hand room of the files that is free back to the disk, as a log does; return how many bytes it got."""

    def close(self) -> None:
        """Release everything; calling it twice is harmless."""
