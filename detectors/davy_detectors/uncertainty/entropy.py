"""Entropy of the predicted distribution."""

from __future__ import annotations

from collections.abc import Mapping

from davy_detectors.batch import Floats
from davy_detectors.reference.features import entropy
from davy_detectors.uncertainty.probability import ProbabilityScorer


class PredictiveEntropy(ProbabilityScorer):
    """Shannon entropy of the class probabilities, in nats: 0 for a certain model, ``ln(classes)`` for a clueless one.

    References
    ----------
    Shannon, "A mathematical theory of communication", 1948; as a score of uncertainty: Settles, "Active learning
    literature survey", 2009, section 3.1.

    Examples
    --------
    >>> from davy_detectors.batch import Batch
    >>> batch = Batch.from_columns("iris:1", {"outputs.probs": [[1.0, 0.0], [0.5, 0.5]]})
    >>> PredictiveEntropy().score(batch).round(3).tolist()
    [-0.0, 0.693]
    """

    name = "entropy"

    def of(self, probs: Floats) -> Floats:
        """Score probabilities of shape ``(n, classes)``."""
        return entropy(probs)

    def of_places(self, sureness: Mapping[str, Floats]) -> Floats:
        """Score dense answers by the mean over their places."""
        return sureness["entropy"]
