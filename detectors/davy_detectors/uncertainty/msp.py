"""Maximum softmax probability."""

from __future__ import annotations

from collections.abc import Mapping

from davy_detectors.batch import Floats
from davy_detectors.uncertainty.probability import ProbabilityScorer


class MaximumSoftmaxProbability(ProbabilityScorer):
    """One minus the probability of the likeliest class: 0 for a certain model, ``1 - 1/classes`` for a clueless one.

    References
    ----------
    Hendrycks and Gimpel, "A baseline for detecting misclassified and out-of-distribution examples", ICLR 2017.
    Best overall confidence score over all sources of failure in Jaeger et al., FD-Shifts, ICLR 2023.

    Examples
    --------
    >>> from davy_detectors.batch import Batch
    >>> batch = Batch.from_columns("iris:1", {"outputs.probs": [[0.75, 0.25], [0.5, 0.5]]})
    >>> MaximumSoftmaxProbability().score(batch).tolist()
    [0.25, 0.5]
    """

    name = "msp"

    def of(self, probs: Floats) -> Floats:
        """Score probabilities of shape ``(n, classes)``."""
        scores: Floats = 1.0 - probs.max(axis=1)
        return scores

    def of_places(self, sureness: Mapping[str, Floats]) -> Floats:
        """Score dense answers by the mean over their places."""
        return 1.0 - sureness["confidence"]
