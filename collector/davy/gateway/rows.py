"""Rows of bytes to parcels: neighbours of one layout share a record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import Final

from davy.codec import Chunk, pack
from davy.event import INFERENCES
from davy.gateway.writer import PendingRecord

_TOGETHER: Final = 200


def parcels(rows: Iterable[tuple[bytes, Chunk]], *, source: str) -> list[PendingRecord]:
    """Join rows, each an id and its chunk, into parcels of up to 200 with one layout; their order is kept."""
    found = []
    for _, run in groupby(rows, key=lambda row: id(row[1].layout)):
        together = list(run)
        for start in range(0, len(together), _TOGETHER):
            part = together[start : start + _TOGETHER]
            chunks = [chunk for _, chunk in part]
            value = partial(_pack, chunks, source)
            layout, ids = chunks[0].layout, [name for name, _ in part]
            found.append(PendingRecord(INFERENCES, layout.model, value, ids, fields=layout.paths))
    return found


def _pack(chunks: Sequence[Chunk], source: str, rows: Sequence[int]) -> bytes:
    return pack([chunks[row] for row in rows], source=source)
