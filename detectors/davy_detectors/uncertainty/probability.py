"""What the scorers that look at nothing but the class probabilities have in common.

Of a dense answer, which has probabilities at every place of a picture or a text, they take the mean over the places.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final, Self

import numpy as np

from davy_detectors.batch import Batch, Floats


class ProbabilityScorer(ABC):
    """A scorer without fitted state: a function of the probabilities of at least two classes."""

    name: ClassVar[str]
    stream: Final = None

    @abstractmethod
    def of(self, probs: Floats) -> Floats:
        """Score probabilities of shape ``(n, classes)``; gives shape ``(n,)``, higher is more suspicious."""

    @abstractmethod
    def of_places(self, sureness: Mapping[str, Floats]) -> Floats:
        """Score dense answers by how sure the model was over all places, shape ``(n,)``; see `Batch.sureness`."""

    @classmethod
    def fit(cls, batch: Batch) -> Self | None:
        """Learn nothing; None when the model gives no probabilities of at least two classes."""
        return cls() if _classes(batch) > 1 or batch.sureness is not None else None

    def score(self, batch: Batch) -> Floats:
        """Score every inference, shape ``(n,)``; NaN where the model gave no probabilities."""
        if batch.probs is not None and _classes(batch) > 1:
            return self.of(batch.probs)
        return np.full(len(batch), np.nan) if batch.sureness is None else self.of_places(batch.sureness)

    def dump(self) -> Mapping[str, object]:
        """Return nothing: there is no fitted state."""
        return {}

    @classmethod
    def load(cls, state: Mapping[str, object]) -> Self:
        """Make a scorer."""
        del state
        return cls()


def _classes(batch: Batch) -> int:
    return 0 if batch.probs is None else batch.probs.shape[1]
