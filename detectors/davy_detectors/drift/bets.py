"""Bets of a stream: what each pays in each bin, such that no distribution the reference allows makes it grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt
from typing import Final

import numpy as np

from davy.config import DetectSettings
from davy_detectors.batch import Floats
from davy_detectors.drift.band import clopper_pearson, empirical_bernstein
from davy_detectors.drift.scores import Score, dictionary
from davy_detectors.reference.binning import Bins

STAKES: Final = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
"""Stakes of the bets on one score, in units of one over the score's standard deviation."""
_CAP: Final = 0.95
_GRID: Final = 2.0**32


@dataclass(frozen=True, eq=False)
class Bets:
    """The bets on one stream: five on each score of its dictionary.

    Attributes
    ----------
    scores
        The dictionary, as many as ``J``.
    values
        Scores by bin with the neutral bins filled in, shape ``(bins, J)``.
    means, bounds, deviations
        Reference mean of each score, the upper bound of its true mean, its standard deviation; shape ``(J,)``.
    stakes
        Shape ``(J, 5)``.
    payoffs
        Logarithm of what a bet pays for one inference, by bin; shape ``(bins, J, 5)``. Multiples of 2^-32 rounded
        down, so sums over inferences are exact and do not depend on their order.
    prior
        Weights of the bets, shape ``(J, 5)``, sum 1; zero for a score whose mean cannot rise.
    """

    scores: list[Score]
    values: Floats
    means: Floats
    bounds: Floats
    deviations: Floats
    stakes: Floats
    payoffs: Floats
    prior: Floats

    @classmethod
    def of(cls, bins: Bins, settings: DetectSettings, streams: int) -> Bets:
        """Make the bets on one of `streams` streams, whose bounds hold together except with `reference_error`."""
        scores = dictionary(bins)
        share = settings.reference_error / (streams * sum(score.weight for score in scores))
        fitted = [_null(score, bins, share * score.weight, settings.tolerance) for score in scores]
        means, bounds, deviations = np.array(fitted).T
        values = np.array([np.where(s.neutral, m, s.values) for s, m in zip(scores, means, strict=True)])
        stakes = np.minimum(STAKES / deviations[:, None], _CAP / bounds[:, None])
        growth = np.log1p(stakes[:, None, :] * (values - bounds[:, None])[:, :, None])
        weights = np.array([score.weight for score in scores]) * (bounds < 1.0)
        prior = np.repeat(weights[:, None], len(STAKES), axis=1) / len(STAKES)
        return cls(
            scores=scores,
            values=values.T,
            means=means,
            bounds=bounds,
            deviations=deviations,
            stakes=stakes,
            payoffs=(np.floor(growth * _GRID) / _GRID).transpose(1, 0, 2),
            prior=prior / max(prior.sum(), _TINY),
        )

    def score_named(self, change: str, current: float) -> int | None:
        """Find the score that describes a rise to `current` by these words; None when none does."""
        words = (score.describe(current) for score in self.scores)
        return next((j for j, word in enumerate(words) if word == change), None)

    def clearest(self, found: Sequence[tuple[int, float, float]]) -> tuple[int, float, float]:
        """Choose among bets that hold about as much evidence, each a score, an age and a sum, the best first.

        Of categories it is the one that is least likely under the reference, by its Kullback-Leibler divergence for
        each inference: "unseen, now 32 %" says more than "'a' less often". Of numbers it is the first.
        """
        if not all(score.indicator for score in self.scores):
            return found[0]
        return max(found, key=lambda each: _divergence(each[2] / each[1], float(self.bounds[each[0]])))

    def best_stake(self, score: int, current: float) -> int:
        """Choose the stake that grows fastest when the score's mean has risen to `current`, to second order."""
        rise = max(current - float(self.bounds[score]), 0.0)
        best = rise / (float(self.deviations[score]) ** 2 + rise**2)
        return int(np.abs(self.stakes[score] - best).argmin())


_TINY: Final = 1e-300


def _divergence(share: float, bound: float) -> float:
    """Return the Kullback-Leibler divergence of a share from the highest the reference allows; 0 below it."""
    if share <= bound:
        return 0.0
    rest = (1.0 - share) * log((1.0 - share) / (1.0 - bound)) if share < 1.0 else 0.0
    return share * log(share / max(bound, _TINY)) + rest


def _null(score: Score, bins: Bins, error: float, tolerance: float) -> tuple[float, float, float]:
    """Return the reference mean of a score, the upper bound of its true mean, and its standard deviation."""
    counts = np.where(score.neutral, 0, bins.counts)
    total = int(counts.sum())
    if total == 0:
        return 0.5, 1.0, 0.5
    mean = float(counts @ score.values) / total
    variance = float(counts @ (score.values - mean) ** 2) / max(total - 1, 1)
    if score.indicator:
        bound = clopper_pearson(int(counts @ score.values), total, error)
        deviation = sqrt(max(variance, bound * (1.0 - bound), 1.0 / total**2))
    else:
        bound = empirical_bernstein(mean, variance, total, error)
        deviation = sqrt(max(variance, 1.0 / total))
    return round(mean * 2**20) / 2**20, min(1.0, bound + tolerance * sqrt(variance)), deviation
