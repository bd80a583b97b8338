"""Payloads that nothing refers to: their envelope never arrived, or has left the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from davy.blobs import Blobs, StoredBlob
from davy.forgetting.keepers import Keeper


def collect(blobs: Blobs, some: Iterable[StoredBlob], rooms: Sequence[Keeper], *, before: int) -> int:
    """Delete the `orphans` among some payloads; return their number."""
    found = orphans(blobs, some, rooms, before=before)
    for payload in found:
        blobs.delete(payload.hash)
    return len(found)


def orphans(
    blobs: Blobs, some: Iterable[StoredBlob], rooms: Sequence[Keeper], *, before: int
) -> list[StoredBlob]:
    """Return those of some payloads that nothing refers to.

    Parameters
    ----------
    blobs
        Where they are stored.
    some
        The payloads to look at. What is referred to is compared with these only, so they bound the memory needed.
    rooms
        Who refers to payloads.
    before
        Only those put before this time, nanoseconds since the epoch: a payload is put before its envelope is appended.
    """
    left = {payload.hash for payload in some if payload.at < before}
    for room in rooms:
        if not left:
            return []
        left.difference_update(room.payloads(frozenset()))
    if not left:
        return []
    # One of them may have been put again while the references were read: it has a new time now.
    return [payload for payload in blobs.stored() if payload.hash in left and payload.at < before]
