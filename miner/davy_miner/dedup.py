"""Near-duplicates: how alike is too alike, who is nearest to whom, and greedy leaders.

Two samples are duplicates when their payloads are equal or the cosine of their vectors reaches the threshold. One
pass in a given order makes the first sample of every group its leader (Hartigan, "Clustering algorithms", 1975, ch. 3);
no two leaders are duplicates of one another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from davy_miner.vectors import Matrix

Indices = NDArray[np.intp]

FALLBACK: Final = 0.95
_BOUNDS: Final = (0.8, 0.999)
_FEWEST: Final = 20
_MOST: Final = 2000
_NEARER: Final = 0.5
_BLOCK: Final = 2048


def calibrate(control: Matrix) -> float:
    """Choose the threshold from samples drawn by chance.

    Two samples count as near-duplicates when they are less than half as far apart as an ordinary sample is from its
    nearest neighbour. With ``s`` the similarity to the nearest neighbour, the squared distance of unit vectors is
    ``2 (1 - s)``, so the threshold is ``1 - median(1 - s) / 4``.

    The median, not a high quantile: a burst of frames puts near-duplicates into the control arm too, and a 99 %
    quantile is then the similarity of those frames; the median stands until half of all control samples have a
    near-duplicate among themselves. Without bursts, in ``d`` dimensions, a share ``1 - 2 ** -(2 ** -d)`` of samples is
    taken for a duplicate: 4 % for four, 0.3 % for eight.

    Parameters
    ----------
    control
        Unit vectors, shape ``(n, d)``; the first 2,000 are used. Below 20 the threshold is 0.95.

    Returns
    -------
    float
        In [0.8, 0.999].
    """
    control = control[control.any(axis=1)][:_MOST]
    if len(control) < _FEWEST:
        return FALLBACK
    similarity = control @ control.T
    np.fill_diagonal(similarity, -1.0)
    distance = 1.0 - float(np.median(similarity.max(axis=1)))
    return float(np.clip(1.0 - distance * _NEARER**2, *_BOUNDS))


def nearest(
    rows: Matrix, keys: Sequence[bytes], others: Matrix, other_keys: Sequence[bytes], threshold: float
) -> Indices:
    """Give, for every row, the index of the other it duplicates most, -1 where there is none; shape ``(n,)``."""
    found = np.full(len(rows), -1, dtype=np.intp)
    if not len(others):
        return found
    for start in range(0, len(rows), _BLOCK):
        similarity = rows[start : start + _BLOCK] @ others.T
        best = similarity.argmax(axis=1)
        enough = similarity[np.arange(len(best)), best] >= threshold
        found[start : start + _BLOCK][enough] = best[enough]
    places = {key: place for place, key in enumerate(other_keys)}
    exact = np.array([places.get(key, -1) for key in keys], dtype=np.intp)
    return np.where(exact >= 0, exact, found)


@dataclass(frozen=True, slots=True)
class Group:
    """A leader and the rows that are its duplicates, by index."""

    leader: int
    members: Indices


def leaders(order: Indices, rows: Matrix, keys: Sequence[bytes], threshold: float) -> Iterator[Group]:
    """Give leaders in `order`, each with the duplicates it takes along; only rows named in `order` take part.

    Every row belongs to one group. Stop reading when there are enough: the work is one matrix product a leader.
    """
    names = np.unique(np.array(keys, dtype=object), return_inverse=True)[1] if len(keys) else np.zeros(0, int)
    free = np.zeros(len(rows), dtype=bool)
    free[order] = True
    for leader in order:
        if not free[leader]:
            continue
        free[leader] = False
        alike = free & ((rows @ rows[leader] >= threshold) | (names == names[leader]))
        free &= ~alike
        yield Group(int(leader), np.flatnonzero(alike))
