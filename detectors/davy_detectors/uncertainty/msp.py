"""Maximum softmax probability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

import numpy as np

from davy_detectors.base import Floats
from davy_detectors.batch import Batch


class MaximumSoftmaxProbability:
    """One minus the probability of the likeliest class: 0 for a certain model, ``1 - 1/classes`` for a clueless one.

    References
    ----------
    Hendrycks and Gimpel, "A baseline for detecting misclassified and out-of-distribution examples", ICLR 2017.
    Best overall confidence score over all sources of failure in Jaeger et al., FD-Shifts, ICLR 2023.

    Examples
    --------
    >>> batch = Batch.from_columns("iris:1", {"outputs.probs": [[0.75, 0.25], [0.5, 0.5]]})
    >>> MaximumSoftmaxProbability().score(batch).tolist()
    [0.25, 0.5]
    """

    name: Final = "msp"
    stream: Final = None

    @classmethod
    def fit(cls, batch: Batch) -> Self | None:
        """Learn nothing; None when the model gives no probabilities."""
        return cls() if batch.probs is not None else None

    def score(self, batch: Batch) -> Floats:
        """Score every inference, shape ``(n,)``."""
        if batch.probs is None:
            return np.full(len(batch), np.nan)
        scores: Floats = 1.0 - batch.probs.max(axis=1)
        return scores

    def dump(self) -> Mapping[str, object]:
        """Give nothing: there is no fitted state."""
        return {}

    @classmethod
    def load(cls, state: Mapping[str, object]) -> Self:
        """Make a scorer."""
        del state
        return cls()
