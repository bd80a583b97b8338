"""The greedy arm's order: how strongly all scores together, and an incident, speak for a failure.

Every score comes as its upper-tail rank in the reference; they are combined as Fisher does, ``-2 sum ln p`` (Fisher,
"Statistical methods for research workers", 1932, section 21.1), with weights for scores that say the same: the three
probability scores of a classifier must not outvote its one geometry score. The weights are those of the best
combination of correlated forecasts (Bates and Granger, "The combination of forecasts", 1969); correlations are measured
where nothing was selected, on the control arm. An incident's evidence is ranked there too and decides among equals: the
alarm it comes from is young, and what it says about a single sample is rough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from davy.event import Draw
from davy_miner.candidates import Candidate, control_draw

_INCIDENT: Final = "incident"
_LEAST: Final = 1e-12
_MIDDLING: Final = 0.5
_FEWEST: Final = 20
_RIDGE: Final = 0.1
_INCIDENT_VOTE: Final = 0.125


def evidence(scores: Mapping[str, float], draws: Sequence[Draw]) -> float:
    """Return one candidate's evidence by itself, which decides who leaves a full pool.

    It is Fisher's statistic of its reference ranks plus twice its incident's log-likelihood ratio.

    Examples
    --------
    >>> evidence({"msp": 0.01}, []) > evidence({"msp": 0.2}, [])
    True
    """
    ranks = [min(max(rank, _LEAST), 1.0) for rank in scores.values() if math.isfinite(rank)]
    return 2.0 * incident_evidence(draws) - 2.0 * sum(map(math.log, ranks))


def incident_evidence(draws: Sequence[Draw]) -> float:
    """Return how strongly a candidate speaks for an incident, a log-likelihood ratio; 0 when for none."""
    found = (draw.score for draw in draws if draw.kind == _INCIDENT)
    return max((score for score in found if math.isfinite(score)), default=0.0)


def fisher(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Return the combined evidence of every candidate of a pool, shape ``(n,)``; greater is more suspicious.

    A score a candidate does not have counts as middling. With fewer than 20 control samples the whole pool stands in
    for them.
    """
    if not candidates:
        return np.zeros(0)
    control = np.array([control_draw(candidate) is not None for candidate in candidates], dtype=bool)
    if control.sum() < _FEWEST:
        control[:] = True
    carried = np.array([incident_evidence(candidate.draws) for candidate in candidates])
    total = _INCIDENT_VOTE * _surprise(_tail(carried, control))
    names = sorted({name for candidate in candidates for name in candidate.scores})
    if names:
        ranks = [[candidate.scores.get(name, np.nan) for candidate in candidates] for name in names]
        surprise = _surprise(np.array(ranks))
        total += _votes(surprise[:, control]) @ surprise
    return total


def _surprise(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    surprise: NDArray[np.float64] = -2.0 * np.log(np.clip(np.nan_to_num(ranks, nan=_MIDDLING), _LEAST, 1.0))
    return surprise


def _votes(surprise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weight of each score, sum 1: rows of the inverse correlation matrix summed, none negative.

    A ridge keeps scores that are all but copies from cancelling one another.
    """
    deviation = surprise - surprise.mean(axis=1, keepdims=True)
    scale = np.sqrt((deviation**2).sum(axis=1))
    scale[scale == 0] = np.inf
    correlation = (deviation @ deviation.T) / np.outer(scale, scale)
    np.fill_diagonal(correlation, 1.0 + _RIDGE)
    votes = np.maximum(np.linalg.solve(correlation, np.ones(len(correlation))), 0.0)
    share: NDArray[np.float64] = votes / votes.sum()
    return share


def _tail(evidence: NDArray[np.float64], control: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Rank evidence among the control samples; who carries none has rank 1."""
    ordinary = np.sort(evidence[control])
    above = len(ordinary) - np.searchsorted(ordinary, evidence, side="left")
    return np.where(evidence > 0, np.minimum((above + 1) / (len(ordinary) + 1), 1.0), 1.0)
