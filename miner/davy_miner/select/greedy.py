"""The greedy arm's order: how strongly all scores together, and an incident, speak for a failure.

Each score is turned into its rank within the pool before Fisher's combination ``-2 sum ln p`` (Fisher, "Statistical
methods for research workers", 1932, section 21.1). Ranks of the reference would let one score dominate as soon as the
traffic drifts and all its tail probabilities collapse; ranks of the pool are uniform whatever happened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from davy.event import Draw
from davy_miner.candidates import Candidate

_INCIDENT: Final = "incident"
_LEAST: Final = 1e-12
_NEUTRAL: Final = 0.5


def evidence(scores: Mapping[str, float], draws: Sequence[Draw]) -> float:
    """Give one candidate's evidence by itself, which decides who leaves a full pool.

    It is Fisher's statistic of its reference ranks plus twice its incident's log-likelihood ratio.

    Examples
    --------
    >>> evidence({"msp": 0.01}, []) > evidence({"msp": 0.2}, [])
    True
    """
    ranks = [min(max(rank, _LEAST), 1.0) for rank in scores.values() if math.isfinite(rank)]
    return 2.0 * incident_evidence(draws) - 2.0 * sum(map(math.log, ranks))


def incident_evidence(draws: Sequence[Draw]) -> float:
    """Give how strongly a candidate speaks for an incident, a log-likelihood ratio; 0 when for none."""
    found = (draw.score for draw in draws if draw.arm.startswith(_INCIDENT))
    return max((score for score in found if math.isfinite(score)), default=0.0)


def fisher(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Give the combined evidence of every candidate of a pool, shape ``(n,)``; greater is more suspicious.

    A score a candidate does not have counts as middling. The evidence of incidents is ranked like one more score:
    carriers come before everyone who carries nothing.
    """
    total = np.zeros(len(candidates))
    for name in sorted({name for candidate in candidates for name in candidate.scores}):
        total += _surprise(np.array([candidate.scores.get(name, np.nan) for candidate in candidates]))
    carried = np.array([_carried(candidate) for candidate in candidates])
    if carried.any():
        total += _surprise(-carried)
    return total


def _carried(candidate: Candidate) -> float:
    if candidate.incident is None:
        return 0.0
    return max(incident_evidence(candidate.draws), _LEAST)


def _surprise(tail: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.stats import rankdata

    known = np.isfinite(tail)
    p = np.full(len(tail), _NEUTRAL)
    p[known] = rankdata(tail[known]) / (known.sum() + 1)
    surprise: NDArray[np.float64] = -2.0 * np.log(p)
    return surprise
