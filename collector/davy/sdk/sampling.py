"""Which inferences are captured: by a hash of the id, so the same inference is always in or always out."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from davy.event import Array

_GOLDEN: Final = 0x9E3779B97F4A7C15
"""2**64 over the golden ratio: multiplying by it spreads ids that count up as evenly as random ones (Knuth 6.4)."""
_MASK: Final = 2**64 - 1


class Sampler:
    """Keeps a share of all ids.

    `rate` is written into every inference, so that what reads them can weight them by ``1 / rate``.
    """

    __slots__ = ("_threshold", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._threshold = int(rate * 2**64)

    def keeps(self, low: int) -> bool:
        """Whether the id with this low half is captured."""
        return low * _GOLDEN & _MASK < self._threshold

    def keeps_each(self, lows: Array) -> NDArray[np.bool_]:
        """Whether each of these ids is captured."""
        if self._threshold > _MASK:
            return np.ones(len(lows), dtype=bool)
        kept: NDArray[np.bool_] = lows * np.uint64(_GOLDEN) < np.uint64(self._threshold)
        return kept
