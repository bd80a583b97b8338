"""Margin between the two likeliest classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

import numpy as np

from davy_detectors.base import Floats
from davy_detectors.batch import Batch


class Margin:
    """One minus the difference of the two largest probabilities: 0 for a certain model, 1 for a tie at the top.

    References
    ----------
    Scheffer, Decomain and Wrobel, "Active hidden Markov models for information extraction", IDA 2001.

    Examples
    --------
    >>> batch = Batch.from_columns("iris:1", {"outputs.probs": [[0.75, 0.25, 0.0], [0.5, 0.5, 0.0]]})
    >>> Margin().score(batch).tolist()
    [0.5, 1.0]
    """

    name: Final = "margin"
    stream: Final = None

    @classmethod
    def fit(cls, batch: Batch) -> Self | None:
        """Learn nothing; None when the model gives fewer than two probabilities."""
        return cls() if batch.probs is not None and batch.probs.shape[1] > 1 else None

    def score(self, batch: Batch) -> Floats:
        """Score every inference, shape ``(n,)``."""
        probs = batch.probs
        if probs is None or probs.shape[1] < 2:
            return np.full(len(batch), np.nan)
        ordered = np.partition(probs, (-2, -1), axis=1)
        return 1.0 - (ordered[:, -1] - ordered[:, -2])

    def dump(self) -> Mapping[str, object]:
        """Give nothing: there is no fitted state."""
        return {}

    @classmethod
    def load(cls, state: Mapping[str, object]) -> Self:
        """Make a scorer."""
        del state
        return cls()
