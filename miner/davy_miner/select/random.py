"""The random arm: chance chooses, every probability is known, and no near-duplicate costs a label.

The control arm is a sample of all traffic in which every inference has a known probability. A round draws from it once
more, in two strata. Near-duplicates of something already labelled or queued cost nothing: all of them are taken. The
rest is put into groups of near-duplicates, and groups are drawn uniformly without replacement; a group costs the one
label of its leader. Given the control arm, the groups depend on payloads only, never on answers, so the inclusion
probability of every member is its control probability times groups drawn over groups there were (two-phase cluster
sampling: Särndal, Swensson & Wretman, "Model assisted survey sampling", 1992, sections 4.2 and 9.3).

A group whose leader nobody can be asked about counts as drawn, and the next one in the random order is drawn for its
label: those looked at are a uniform sample of all groups, whatever their number. What cannot be asked is missing for a
cause that is known, its payload; the estimate is one of the traffic that can be asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from davy_miner.dedup import Group, Indices, leaders
from davy_miner.vectors import Matrix

_PER_LABEL: Final = 20
_ENOUGH: Final = 500


@dataclass(frozen=True, slots=True)
class Drawn:
    """What chance chose.

    Attributes
    ----------
    groups
        The groups drawn; each leader costs one label, its members none.
    unfit
        Leaders of groups that were drawn and cannot be asked, by index: they cost nothing.
    free
        Rows that duplicate something known, by index.
    probability
        Inclusion probability of every row, shape ``(n,)``; 0 for rows that were not drawn.
    """

    groups: Sequence[Group]
    unfit: Sequence[int]
    free: Indices
    probability: NDArray[np.float64]


def draw(  # noqa: PLR0913 - the terms of a round
    control: NDArray[np.float64],
    known: Indices,
    rows: Matrix,
    keys: Sequence[bytes],
    *,
    threshold: float,
    labels: int,
    rng: np.random.Generator,
    fit: Callable[[int], bool] = lambda _: True,
) -> Drawn:
    """Draw from the control arm, spending at most `labels`.

    Parameters
    ----------
    control
        Probability with which the control arm held each row, shape ``(n,)``; 0 for rows it does not hold.
    known
        For every row the known sample it duplicates, -1 for none, shape ``(n,)``.
    rows, keys
        Unit vectors, shape ``(n, d)``, and payload hashes.
    threshold
        Similarity from which two rows are near-duplicates.
    fit
        Whether a row can be asked; called for the leaders drawn only.
    """
    probability = np.zeros(len(control))
    free = np.flatnonzero((control > 0) & (known >= 0))
    probability[free] = control[free]
    offered = rng.permutation(np.flatnonzero((control > 0) & (known < 0)))
    considered = offered[: max(_PER_LABEL * labels, _ENOUGH)]
    groups = list(leaders(considered, rows, keys, threshold))
    drawn, unfit, tried = list[Group](), list[int](), list[Group]()
    for place in rng.permutation(len(groups)):
        if len(drawn) == labels:
            break
        group = groups[place]
        tried.append(group)
        if fit(group.leader):
            drawn.append(group)
        else:
            unfit.append(group.leader)
    if tried:
        share = len(considered) / len(offered) * len(tried) / len(groups)
        members = np.concatenate([[group.leader, *group.members] for group in tried]).astype(np.intp)
        probability[members] = control[members] * share
    return Drawn(sorted(drawn, key=lambda group: group.leader), unfit, free, probability)
