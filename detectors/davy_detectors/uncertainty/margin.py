"""Margin between the two likeliest classes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from davy_detectors.batch import Floats
from davy_detectors.uncertainty.probability import ProbabilityScorer


class Margin(ProbabilityScorer):
    """One minus the difference of the two largest probabilities: 0 for a certain model, 1 for a tie at the top.

    References
    ----------
    Scheffer, Decomain and Wrobel, "Active hidden Markov models for information extraction", IDA 2001.

    Examples
    --------
    >>> from davy_detectors.batch import Batch
    >>> batch = Batch.from_columns("iris:1", {"outputs.probs": [[0.75, 0.25, 0.0], [0.5, 0.5, 0.0]]})
    >>> Margin().score(batch).tolist()
    [0.5, 1.0]
    """

    name = "margin"

    def of(self, probs: Floats) -> Floats:
        """Score probabilities of shape ``(n, classes)``."""
        ordered = np.partition(probs, (-2, -1), axis=1)
        return 1.0 - (ordered[:, -1] - ordered[:, -2])

    def of_places(self, sureness: Mapping[str, Floats]) -> Floats:
        """Score dense answers by the mean over their places."""
        return 1.0 - sureness["margin"]
