"""The error rate of all traffic from the labels of the random arm, without bias from what the detectors like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_Z: Final = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Estimate:
    """An error rate with its 95 % interval.

    `samples` is how many inferences of the random arm have an answer, `labels` how many labels that cost,
    `effective` how many independent draws they are worth, `traffic` how many inferences they stand for.
    """

    rate: float
    low: float
    high: float
    samples: int
    labels: int
    effective: float
    traffic: float


def error_rate(
    failed: NDArray[np.bool_], probability: NDArray[np.float64], groups: Sequence[str]
) -> Estimate | None:
    """Estimate the share of failures, None without samples.

    The point is Hájek's ratio ``sum(y / pi) / sum(1 / pi)``. Its variance is the linearised one with samples that share
    a label summed first (ultimate clusters, with replacement: slightly wide, never narrow). The interval is Wilson's at
    the effective sample size ``rate (1 - rate) / variance``, which holds also for few and for no failures.

    Parameters
    ----------
    failed
        Whether the model was wrong, shape ``(n,)``.
    probability
        Inclusion probabilities, shape ``(n,)``, in (0, 1].
    groups
        What shares a label: the candidate that was labelled, for every sample.

    References
    ----------
    Hájek, discussion in "Foundations of statistical inference", 1971; Korn & Graubard, "Confidence intervals for
    proportions with small expected number of positive counts", Survey Methodology 24 (1998); Wilson, JASA 22 (1927).

    Examples
    --------
    >>> found = error_rate(np.array([True, False, False, False]), np.full(4, 0.1), ["a", "b", "c", "d"])
    >>> found.rate, round(found.traffic)
    (0.25, 40)
    """
    if not len(failed):
        return None
    weight = 1.0 / probability
    total = float(weight.sum())
    rate = float(weight @ failed) / total
    places = np.unique(np.asarray(groups), return_inverse=True)[1]
    labels = int(places.max()) + 1
    residual = np.bincount(places, weights=weight * (failed - rate))
    variance = float(residual @ residual) / total**2 * labels / max(labels - 1, 1)
    if 0.0 < rate < 1.0 and variance > 0.0:
        effective = rate * (1.0 - rate) / variance
    else:
        mass = np.bincount(places, weights=weight)
        effective = total**2 / float(mass @ mass)
    low, high = _wilson(rate, effective)
    return Estimate(rate, low, high, len(failed), labels, effective, total)


def _wilson(rate: float, count: float) -> tuple[float, float]:
    spread = _Z**2 / count
    centre = (rate + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * np.sqrt(rate * (1 - rate) / count + spread / (4 * count))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
