"""How many inferences fell into each bin, by step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from davy_detectors.base import Counts


def count(bins: NDArray[np.uint8], steps: NDArray[np.int64], total: int, width: int) -> Counts:
    """Count the bins of inferences by the step each belongs to.

    Counts are additive: those of several batches or partitions are summed, whatever the order of the inferences.

    Parameters
    ----------
    bins
        Shape ``(streams, n)``, below `width`.
    steps
        Step of each inference, ``0 … total - 1``, shape ``(n,)``.

    Returns
    -------
    Shape ``(total, streams, width)``.

    Examples
    --------
    >>> count(np.array([[0, 1, 1]], np.uint8), np.array([0, 0, 1]), total=2, width=3).tolist()
    [[[1, 1, 0]], [[0, 1, 0]]]
    """
    streams = len(bins)
    places = np.add(bins, steps * (streams * width), dtype=np.intp)
    places += np.arange(0, streams * width, width)[:, None]
    counts = np.bincount(places.ravel(), minlength=total * streams * width)
    return counts.reshape(total, streams, width)
