"""Micro-batches: how many inferences fell into each bin, a fixed number of inferences at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
BLOCK: Final = 32
"""Micro-batches tested in one go."""


class MicroBatches:
    """Counts inferences into micro-batches, in order of arrival, across the borders of batches.

    Counts are additive: those of several partitions may be summed before any test, whatever the interleaving.

    Parameters
    ----------
    streams, bins
        Shape of the counts of one micro-batch.
    size
        Inferences in a micro-batch.

    Examples
    --------
    >>> batches = MicroBatches(streams=1, bins=3, size=4)
    >>> [block.tolist() for block in batches.add(np.array([[0, 1, 1]], np.uint8))]
    []
    >>> [block.tolist() for block in batches.add(np.array([[2, 0]], np.uint8))]
    [[[[1, 2, 1]]]]
    >>> batches.filled
    1
    """

    def __init__(self, streams: int, bins: int, size: int) -> None:
        self._size = size
        self._partial: Counts = np.zeros((streams, bins), np.int64)
        self.filled = 0

    def add(self, bins: NDArray[np.uint8]) -> Iterator[Counts]:
        """Take in bins, shape ``(streams, n)``; give the counts of completed micro-batches.

        They come in blocks of shape ``(micro-batches, streams, bins)``, at most 32 micro-batches each.
        """
        start, count = 0, bins.shape[1]
        while start < count:
            stop = min(count, start + BLOCK * self._size - self.filled)
            yield from self._add(bins[:, start:stop])
            start = stop

    def dump(self) -> Mapping[str, Any]:
        """Give the micro-batch in hand."""
        return {"partial": self._partial.astype(np.min_scalar_type(self._size)), "filled": self.filled}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `dump` gave; raises ValueError on another shape."""
        if np.shape(state["partial"]) != self._partial.shape:
            raise ValueError(f"counts of shape {np.shape(state['partial'])} for {self._partial.shape}")
        self._partial = np.array(state["partial"], np.int64)
        self.filled = int(state["filled"])

    def _add(self, bins: NDArray[np.uint8]) -> Iterator[Counts]:
        streams, width = self._partial.shape
        micro, rest = divmod(self.filled + bins.shape[1], self._size)
        first = np.arange(self.filled, self.filled + bins.shape[1]) // self._size * (streams * width)
        places = np.add(bins, first, dtype=np.intp)
        places += np.arange(0, streams * width, width)[:, None]
        total = (micro + 1) * streams * width
        counts = np.bincount(places.ravel(), minlength=total).reshape(micro + 1, streams, width)
        counts[0] += self._partial
        self._partial, self.filled = counts[micro].copy(), rest
        if micro:
            yield counts[:micro]
