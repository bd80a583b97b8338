"""Remembers pairs of two growing numbers, near ones exactly, far ones coarsely: an index into a long past."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

_ENTRIES: Final = 1024
_AFTER_THINNING: Final = 768
_COARSENESS: Final = 1 / 32


class SparseIndex:
    """Pairs of a key and a value, both never falling.

    At most 1024 pairs are remembered. When there are more, pairs are forgotten such that the gap between the keys of
    two remembered ones is at most about 3 % of how long ago they were: the index reaches back to the first pair, and
    going on from a remembered pair wastes little.

    Examples
    --------
    >>> index = SparseIndex()
    >>> index.add(0, 10); index.add(200, 11)
    >>> index.before(150), index.before(200)
    ((0, 10), (200, 11))
    """

    def __init__(self, keys: Sequence[int] = (), values: Sequence[int] = ()) -> None:
        self._keys = list(keys)
        self._values = list(values)

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: int, value: int) -> None:
        """Remember a pair."""
        self._keys.append(key)
        self._values.append(value)
        share = _COARSENESS
        if len(self) > _ENTRIES:
            while len(self) > _AFTER_THINNING:
                self._thin(share)
                share *= 2

    def before(self, key: int) -> tuple[int, int] | None:
        """Return the last remembered pair whose key is at most `key`, else the first; None when there is none."""
        if not self._keys:
            return None
        index = self._index(key)
        return self._keys[index], self._values[index]

    def since(self, key: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return keys and values of the pair that `before` gives and of all after it."""
        index = self._index(key)
        return np.array(self._keys[index:], np.int64), np.array(self._values[index:], np.int64)

    def forget_after(self, value: int) -> None:
        """Forget the pairs with greater values."""
        stop = bisect_right(self._values, value)
        del self._keys[stop:], self._values[stop:]

    def forget_keys_after(self, key: int) -> None:
        """Forget the pairs with greater keys."""
        stop = bisect_right(self._keys, key)
        del self._keys[stop:], self._values[stop:]

    def dump(self) -> dict[str, Any]:
        """Return the state, at most 16 kilobytes."""
        return {"keys": np.array(self._keys, np.int64), "values": np.array(self._values, np.int64)}

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Self:
        """Go on from what `dump` gave."""
        return cls(state["keys"].tolist(), state["values"].tolist())

    def _index(self, key: int) -> int:
        return max(0, bisect_right(self._keys, key) - 1)

    def _thin(self, share: float) -> None:
        keys, now, kept = self._keys, self._keys[-1], [0]
        for index in range(1, len(keys) - 1):
            gap, age = keys[index + 1] - keys[kept[-1]], now - keys[kept[-1]]
            if gap > share * age:
                kept.append(index)
        kept.append(len(keys) - 1)
        self._keys = [keys[index] for index in kept]
        self._values = [self._values[index] for index in kept]
