"""The random arm: chance chooses, every probability is known, and no near-duplicate costs a label.

The control arm is a sample of all traffic in which every inference has a known probability. A round draws from it once
more, in two strata. Near-duplicates of something already labelled or queued cost nothing: all of them are taken. The
rest is put into groups of near-duplicates, and groups are drawn uniformly without replacement; a group costs the one
label of its leader. Given the control arm, the groups depend on payloads only, never on answers, so the inclusion
probability of every member is its control probability times groups drawn over groups there were (two-phase cluster
sampling: Särndal, Swensson & Wretman, "Model assisted survey sampling", 1992, sections 4.2 and 9.3).
"""

from __future__ import annotations

from collections.abc import Sequence
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
    free
        Rows that duplicate something known, by index.
    probability
        Inclusion probability of every row, shape ``(n,)``; 0 for rows that were not drawn.
    """

    groups: Sequence[Group]
    free: Indices
    probability: NDArray[np.float64]


def draw(
    control: NDArray[np.float64],
    known: Indices,
    rows: Matrix,
    keys: Sequence[bytes],
    *,
    threshold: float,
    labels: int,
    rng: np.random.Generator,
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
    """
    probability = np.zeros(len(control))
    free = np.flatnonzero((control > 0) & (known >= 0))
    probability[free] = control[free]
    offered = rng.permutation(np.flatnonzero((control > 0) & (known < 0)))
    considered = offered[: max(_PER_LABEL * labels, _ENOUGH)]
    groups = list(leaders(considered, rows, keys, threshold))
    chosen = rng.choice(len(groups), size=min(labels, len(groups)), replace=False) if groups else ()
    drawn = [groups[place] for place in sorted(chosen)]
    if drawn:
        share = len(considered) / len(offered) * len(drawn) / len(groups)
        members = np.concatenate([[group.leader, *group.members] for group in drawn]).astype(np.intp)
        probability[members] = control[members] * share
    return Drawn(drawn, free, probability)
