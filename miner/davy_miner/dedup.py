"""Near-duplicates: how alike is too alike, who is nearest to whom, and greedy leaders.

Two samples are duplicates when their payloads are equal or the cosine of their vectors reaches the threshold. One
pass in a given order makes the first sample of every group its leader (Hartigan, "Clustering algorithms", 1975, ch. 3);
no two leaders are duplicates of one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from davy_miner.vectors import Matrix

Indices = NDArray[np.intp]

SAFE: Final = 0.999
"""The threshold of a model that was never calibrated: all but equal."""
_BOUNDS: Final = (0.8, 0.999)
_FEWEST: Final = 20
_MOST: Final = 2000
_NEARER: Final = 0.5
_BLOCK: Final = 2048


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold and how many samples drawn by chance it rests on."""

    threshold: float
    samples: int


def calibrate(control: Matrix, last: Calibration | None = None) -> Calibration | None:
    """Choose the threshold from samples drawn by chance; None when there are too few and there is no last one.

    The last calibration stays until half as many samples as it rests on are there again: among fewer samples the
    nearest neighbour is farther away, and a threshold made of them would take distinct samples for duplicates.

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
        Unit vectors, shape ``(n, d)``; the first 2,000 are used, and at least 20 needed.
    last
        The last calibration of the model.

    Returns
    -------
    Calibration or None
        With a threshold in [0.8, 0.999].
    """
    control = control[control.any(axis=1)][:_MOST]
    if len(control) < max(_FEWEST, last.samples / 2 if last else 0):
        return last
    similarity = control @ control.T
    np.fill_diagonal(similarity, -1.0)
    distance = 1.0 - float(np.median(similarity.max(axis=1)))
    return Calibration(float(np.clip(1.0 - distance * _NEARER**2, *_BOUNDS)), len(control))


def nearest(
    rows: Matrix, keys: Sequence[bytes], others: Matrix, other_keys: Sequence[bytes], threshold: float
) -> Indices:
    """Return, for every row, the index of the other it duplicates most, -1 where there is none; shape ``(n,)``."""
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


def leaders(
    order: Indices,
    rows: Matrix,
    keys: Sequence[bytes],
    threshold: float,
    fit: Callable[[int], bool] = lambda _: True,
) -> Iterator[Group]:
    """Return leaders in `order`, each with the duplicates it takes along; only rows named in `order` take part.

    Every row belongs to one group, but for those that are not `fit` to lead, which take no other along. Stop reading
    when there are enough: the work is one matrix product a leader.
    """
    names = np.unique(np.array(keys, dtype=object), return_inverse=True)[1] if len(keys) else np.zeros(0, int)
    free = np.zeros(len(rows), dtype=bool)
    free[order] = True
    for leader in order:
        if not free[leader]:
            continue
        free[leader] = False
        if not fit(int(leader)):
            continue
        alike = free & ((rows @ rows[leader] >= threshold) | (names == names[leader]))
        free &= ~alike
        yield Group(int(leader), np.flatnonzero(alike))
