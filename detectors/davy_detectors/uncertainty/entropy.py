"""Entropy of the predicted distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

import numpy as np

from davy_detectors.base import Floats
from davy_detectors.batch import Batch
from davy_detectors.features import entropy


class PredictiveEntropy:
    """Shannon entropy of the class probabilities, in nats: 0 for a certain model, ``ln(classes)`` for a clueless one.

    References
    ----------
    Shannon, "A mathematical theory of communication", 1948; as a score of uncertainty: Settles, "Active learning
    literature survey", 2009, section 3.1.

    Examples
    --------
    >>> batch = Batch.from_columns("iris:1", {"outputs.probs": [[1.0, 0.0], [0.5, 0.5]]})
    >>> PredictiveEntropy().score(batch).round(3).tolist()
    [-0.0, 0.693]
    """

    name: Final = "entropy"
    stream: Final = None

    @classmethod
    def fit(cls, batch: Batch) -> Self | None:
        """Learn nothing; None when the model gives no probabilities."""
        return cls() if batch.probs is not None else None

    def score(self, batch: Batch) -> Floats:
        """Score every inference, shape ``(n,)``."""
        return np.full(len(batch), np.nan) if batch.probs is None else entropy(batch.probs)

    def dump(self) -> Mapping[str, object]:
        """Give nothing: there is no fitted state."""
        return {}

    @classmethod
    def load(cls, state: Mapping[str, object]) -> Self:
        """Make a scorer."""
        del state
        return cls()
