"""One round's choice: a pure function of the candidates, the budget and a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from davy.codec import decode
from davy_miner.budget import random_share
from davy_miner.candidates import Candidate, control_draw
from davy_miner.dedup import Indices, calibrate, leaders, nearest
from davy_miner.select import draw, fisher
from davy_miner.vectors import Matrix, payload_key, vectors

GREEDY: Final = "greedy"
RANDOM: Final = "random"


@dataclass(frozen=True, slots=True)
class Chosen:
    """How a candidate was taken: costs a label when `duplicate_of` is None, else it is a near-duplicate."""

    arm: str
    probability: float
    duplicate_of: str | None = None
    kind: Literal["", "exact", "near"] = ""


@dataclass(slots=True)
class Choice:
    """What a round decided, by candidate id. Candidates not named here go on waiting."""

    threshold: float
    chosen: dict[str, Chosen] = field(default_factory=dict)

    def labels(self, arm: str) -> list[str]:
        """Name the candidates of an arm that cost a label."""
        return [key for key, one in self.chosen.items() if one.arm == arm and one.duplicate_of is None]


def choose(
    waiting: Sequence[Candidate],
    known: Sequence[Candidate],
    *,
    budget: int,
    greedy_share: float,
    similarity: float = 0.0,
    kept: float = 1.0,
    seed: int = 0,
) -> Choice:
    """Choose what to label.

    The random arm draws first, so that its probabilities owe nothing to scores; then the greedy arm takes the most
    suspicious of what is left. Neither takes a near-duplicate of what was chosen before or is known.

    Parameters
    ----------
    waiting
        The pool, sorted by id.
    known
        Candidates queued, shown or answered in earlier rounds, sorted by id.
    budget
        The most labels to spend.
    greedy_share
        Part of the budget for the greedy arm; it also gets what the random arm cannot use.
    similarity
        Cosine from which two samples are near-duplicates; 0 calibrates it on the control arm.
    kept
        Share of unoffered control candidates that still wait; the others left the pool by chance.
    seed
        Of the random arm.
    """
    pool = _Pool.of(waiting, known)
    threshold = similarity or calibrate(pool.control_sample())
    choice = Choice(threshold)
    known_at = pool.nearest_known(np.arange(len(waiting)), threshold)
    drawn = draw(
        pool.control * kept,
        known_at,
        pool.rows,
        pool.keys,
        threshold=threshold,
        labels=random_share(budget, greedy_share),
        rng=np.random.default_rng(seed),
    )
    _set_aside_known(choice, pool, known_at, drawn.probability)
    for group in drawn.groups:
        choice.chosen[pool.ids[group.leader]] = Chosen(RANDOM, float(drawn.probability[group.leader]))
        pool.mark(choice, RANDOM, group.members, group.leader, drawn.probability)
    _choose_greedily(choice, pool, waiting, [group.leader for group in drawn.groups], budget)
    return choice


def _set_aside_known(choice: Choice, pool: _Pool, known_at: Indices, drawn: NDArray[np.float64]) -> None:
    for row in np.flatnonzero(known_at >= 0).tolist():
        place, probability = known_at[row], float(drawn[row])
        kind: Literal["exact", "near"] = "exact" if pool.known_keys[place] == pool.keys[row] else "near"
        arm = RANDOM if probability else ""
        choice.chosen[pool.ids[row]] = Chosen(arm, probability, pool.known_ids[place], kind)


@dataclass(frozen=True, slots=True)
class _Pool:
    ids: Sequence[str]
    rows: Matrix
    keys: Sequence[bytes]
    control: NDArray[np.float64]
    known_ids: Sequence[str]
    known_rows: Matrix
    known_keys: Sequence[bytes]
    by_chance: NDArray[np.bool_]

    @classmethod
    def of(cls, waiting: Sequence[Candidate], known: Sequence[Candidate]) -> _Pool:
        everyone = [*waiting, *known]
        envelopes = [decode(candidate.inference) for candidate in everyone]
        rows, keys = vectors(envelopes), [payload_key(envelope) for envelope in envelopes]
        draws = [control_draw(candidate) for candidate in everyone]
        size = len(waiting)
        control = [
            0.0 if one is None or c.offered else one.probability
            for one, c in zip(draws, everyone, strict=True)
        ]
        return cls(
            ids=[candidate.id for candidate in waiting],
            rows=rows[:size],
            keys=keys[:size],
            control=np.array(control[:size], dtype=np.float64),
            known_ids=[candidate.id for candidate in known],
            known_rows=rows[size:],
            known_keys=keys[size:],
            by_chance=np.array([one is not None for one in draws], dtype=bool),
        )

    def control_sample(self) -> Matrix:
        """Everything that chance drew, waiting or known."""
        return np.concatenate([self.rows, self.known_rows])[self.by_chance]

    def nearest_known(self, some: Indices, threshold: float) -> Indices:
        keys = [self.keys[row] for row in some]
        return nearest(self.rows[some], keys, self.known_rows, self.known_keys, threshold)

    def mark(
        self, choice: Choice, arm: str, members: Indices, leader: int, probability: NDArray[np.float64]
    ) -> None:
        for row in members.tolist():
            kind: Literal["exact", "near"] = "exact" if self.keys[row] == self.keys[leader] else "near"
            choice.chosen[self.ids[row]] = Chosen(arm, float(probability[row]), self.ids[leader], kind)


def _choose_greedily(
    choice: Choice, pool: _Pool, waiting: Sequence[Candidate], drawn: Sequence[int], budget: int
) -> None:
    nothing = np.zeros(len(waiting))
    left = np.array([key not in choice.chosen for key in pool.ids], dtype=bool)
    rest = np.flatnonzero(left)
    taken = np.array(drawn, dtype=np.intp)
    alike = nearest(
        pool.rows[rest],
        [pool.keys[row] for row in rest],
        pool.rows[taken],
        [pool.keys[row] for row in taken],
        choice.threshold,
    )
    for place in np.unique(alike[alike >= 0]):
        pool.mark(choice, "", rest[alike == place], int(taken[place]), nothing)
    order = np.argsort(-fisher(waiting), kind="stable")
    left[rest[alike >= 0]] = False
    groups = leaders(order[left[order]], pool.rows, pool.keys, choice.threshold)
    for group in islice(groups, budget - len(drawn)):
        choice.chosen[pool.ids[group.leader]] = Chosen(GREEDY, _in_pool(waiting[group.leader]))
        pool.mark(choice, "", group.members, group.leader, nothing)


def _in_pool(candidate: Candidate) -> float:
    missed = np.prod([1.0 - min(draw.probability, 1.0) for draw in candidate.draws])
    return float(1.0 - missed)
