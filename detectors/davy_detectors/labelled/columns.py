"""Rows as named columns: what the index, the labels and the messages between them are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from davy.codec import dump_any, load_any
from davy.event import Array

Columns: TypeAlias = dict[str, NDArray[Any]]
"""By name, each of shape ``(n,)``; ``high`` and ``low`` are the halves of the id, as unsigned numbers."""

_PRIMES: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))


def halves(ids: Array) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return both halves of ids of shape ``(n,)`` and dtype V16; they sort as the ids do."""
    pairs = np.ascontiguousarray(ids).view(">u8").reshape(-1, 2).astype(np.uint64)
    return pairs[:, 0], pairs[:, 1]


def joined_halves(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> Array:
    """Return ids, shape ``(n,)``, dtype V16, from their halves."""
    return np.stack([high, low], axis=1).astype(">u8").view("V16")[:, 0]


def keys_of(rows: Mapping[str, NDArray[Any]]) -> NDArray[np.uint64]:
    """Return a number by which an id is looked up, shape ``(n,)``; two ids have the same one about never."""
    mixed: NDArray[np.uint64] = (rows["high"] ^ (rows["high"] >> np.uint64(29))) * _PRIMES[0]
    mixed = (mixed ^ rows["low"]) * _PRIMES[1]
    return mixed ^ (mixed >> np.uint64(32))


def size_of(rows: Columns) -> int:
    """Return the number of rows."""
    return len(rows["high"])


def take(rows: Columns, index: Array) -> Columns:
    """Return some of the rows."""
    return {name: column[index] for name, column in rows.items()}


def concat(parts: Sequence[Columns]) -> Columns:
    """Return all rows; where a part has not a column of the others, its rows have nothing there."""
    names = {name: column.dtype for part in parts for name, column in part.items()}
    return {
        name: np.concatenate(
            [part[name] if name in part else nothing(size_of(part), dtype) for part in parts]
        )
        for name, dtype in names.items()
    }


def nothing(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a column without values: NaN, or 0 where that cannot be."""
    return np.full(count, np.nan, dtype) if dtype.kind == "f" else np.zeros(count, dtype)


def pack(rows: Columns) -> bytes:
    """Return rows as bytes; equal rows give equal bytes."""
    return dump_any(dict(sorted(rows.items())))


def unpack(data: bytes) -> Columns:
    """Read what `pack` gave."""
    found: Columns = load_any(data)
    return found
