"""Receipts: what became of every run of forgetting, for whoever has to show it later. They name no inference."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from davy.forgetting.names import Ids
from davy.store import Batch, Collection, Store, events


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a run did.

    Attributes
    ----------
    at
        When it ended, in nanoseconds since the epoch.
    ids
        The SHA-256 of each of the 16 bytes that named an inference, in hexadecimal, sorted.
    removed, hidden
        How many things of each kind are gone, and are still in a log that cannot erase.
    due
        When retention has removed what is hidden; None when nothing is.
    left
        How many things could not be removed; a later run has a receipt of its own.
    """

    at: int
    ids: Sequence[str]
    removed: Mapping[str, int]
    hidden: Mapping[str, int]
    due: int | None
    left: int


RECEIPTS: Final[Collection[Receipt]] = events("forget_receipts", Receipt, writer="davy forget")
"""Every receipt, by time."""


def hashed(ids: Ids) -> list[str]:
    """Return the names by which a receipt knows inferences.

    Examples
    --------
    >>> hashed(frozenset({bytes(16)}))[0][:16]
    '374708fff7719dd5'
    """
    return sorted(sha256(id).hexdigest() for id in ids)


def write(store: Store, receipt: Receipt) -> None:
    """Keep a receipt, for good."""
    key = f"{receipt.at:020d}-{secrets.token_hex(4)}"
    store.apply(RECEIPTS.put(Batch(), key, receipt))


def receipts(store: Store, ids: Ids = frozenset()) -> list[Receipt]:
    """Return the receipts, oldest first; if `ids` are given, those that name one of them."""
    wanted = set(hashed(ids))
    return [one for one in RECEIPTS.values(store) if not wanted or not wanted.isdisjoint(one.ids)]
