"""Remembers where in the log the inferences of one model lie, near ones exactly, far ones coarsely."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import numpy as np

_ENTRIES: Final = 1024
_AFTER_THINNING: Final = 768
_COARSENESS: Final = 1 / 32


class Trail:
    """The running number of the first inference of handled records, and the record's offset, in order.

    At most 1024 records are remembered. When there are more, records are forgotten such that the gap between
    two remembered ones is at most about 3 % of how long ago they were: the trail reaches back to the first record
    and reading from a remembered record wastes little. One partition holds a model; if that changes, the trail
    starts anew.

    Examples
    --------
    >>> trail = Trail()
    >>> trail.add(0, partition=0, offset=10); trail.add(200, partition=0, offset=11)
    >>> trail.before(150), trail.before(200), trail.number_at(11)
    ((0, 10), (200, 11), 200)
    """

    def __init__(self, partition: int = 0, numbers: Sequence[int] = (), offsets: Sequence[int] = ()) -> None:
        self.partition = partition
        self._numbers = list(numbers)
        self._offsets = list(offsets)

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, number: int, *, partition: int, offset: int) -> None:
        """Remember that the record at `offset` begins with inference `number`."""
        if partition != self.partition:
            self.partition, self._numbers, self._offsets = partition, [], []
        self._numbers.append(number)
        self._offsets.append(offset)
        share = _COARSENESS
        if len(self) > _ENTRIES:
            while len(self) > _AFTER_THINNING:
                self._thin(share)
                share *= 2

    def before(self, number: int) -> tuple[int, int] | None:
        """Give (number, offset) of the last remembered record that begins at or before `number`, else of the first."""
        if not self._numbers:
            return None
        index = max(0, bisect_right(self._numbers, number) - 1)
        return self._numbers[index], self._offsets[index]

    def number_at(self, offset: int) -> int | None:
        """Give the number of the first inference of the record at `offset`, None if it is not remembered."""
        index = bisect_right(self._offsets, offset) - 1
        return self._numbers[index] if index >= 0 and self._offsets[index] == offset else None

    def dump(self) -> dict[str, Any]:
        """Give the state, a few kilobytes."""
        return {
            "partition": self.partition,
            "numbers": np.array(self._numbers, np.int64),
            "offsets": np.array(self._offsets, np.int64),
        }

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Self:
        """Go on from what `dump` gave."""
        return cls(state["partition"], state["numbers"].tolist(), state["offsets"].tolist())

    def _thin(self, share: float) -> None:
        numbers, now, kept = self._numbers, self._numbers[-1], [0]
        for index in range(1, len(numbers) - 1):
            gap, age = numbers[index + 1] - numbers[kept[-1]], now - numbers[kept[-1]]
            if gap > share * age:
                kept.append(index)
        kept.append(len(numbers) - 1)
        self._numbers = [numbers[index] for index in kept]
        self._offsets = [self._offsets[index] for index in kept]
