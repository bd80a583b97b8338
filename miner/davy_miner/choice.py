"""One round's choice: a pure function of the candidates, the budget and a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from davy.codec import decode
from davy_miner.budget import random_share
from davy_miner.candidates import Candidate, control_draw
from davy_miner.dedup import SAFE, Calibration, Indices, calibrate, leaders, nearest
from davy_miner.problems import Problem
from davy_miner.select import draw, fisher
from davy_miner.vectors import Matrix, payload_key, vectors

GREEDY: Final = "greedy"
RANDOM: Final = "random"
_PATIENCE: Final = 200


@dataclass(frozen=True, slots=True)
class Chosen:
    """How a candidate was taken.

    It is a near-duplicate of `duplicate_of`, or nobody can be asked about it for a `problem`, or it costs a label.
    """

    arm: str
    probability: float
    duplicate_of: str | None = None
    kind: Literal["", "exact", "near"] = ""
    problem: Problem | None = None

    @property
    def costs(self) -> bool:
        """Whether it costs a label."""
        return self.duplicate_of is None and self.problem is None


@dataclass(slots=True)
class Choice:
    """What a round decided, by candidate id. Candidates not named here go on waiting."""

    threshold: float
    calibration: Calibration | None = None
    chosen: dict[str, Chosen] = field(default_factory=dict)

    def labels(self, arm: str) -> list[str]:
        """Name the candidates of an arm that cost a label."""
        return [key for key, one in self.chosen.items() if one.arm == arm and one.costs]


def choose(  # noqa: PLR0913 - the terms of a round
    waiting: Sequence[Candidate],
    known: Sequence[Candidate],
    *,
    budget: int,
    greedy_share: float,
    similarity: float = 0.0,
    kept: float = 1.0,
    seed: int = 0,
    others: Sequence[Candidate] = (),
    last: Calibration | None = None,
    returned: Mapping[str, int] | None = None,
    ask: Callable[[Candidate], Problem | None] = lambda _: None,
) -> Choice:
    """Choose what to label.

    The random arm draws first, so that its probabilities owe nothing to scores; then the greedy arm takes the most
    suspicious of what is left. Neither takes a near-duplicate of what was chosen before or is known. What nobody can be
    asked about costs nothing: the next of the same arm is taken instead.

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
    others
        More that chance drew, in whatever state, to calibrate on.
    last
        The last calibration of the model.
    returned
        Labels by arm that come on top of the budget: those given back by what could not be asked.
    ask
        Says what stands against asking about a candidate; called for what would cost a label only.
    """
    pool = _Pool.of(waiting, known, others)
    calibration = None if similarity else calibrate(pool.control_sample(), last)
    threshold = similarity or (calibration.threshold if calibration else SAFE)
    choice = Choice(threshold, calibration)
    asked = _Asked(waiting, ask)
    back = Counter(returned or {})
    known_at = pool.nearest_known(np.arange(len(waiting)), threshold)
    drawn = draw(
        pool.control * kept,
        known_at,
        pool.rows,
        pool.keys,
        threshold=threshold,
        labels=random_share(budget, greedy_share) + back[RANDOM],
        rng=np.random.default_rng(seed),
        fit=asked.fit,
    )
    for row in drawn.unfit:
        choice.chosen[pool.ids[row]] = Chosen(
            RANDOM, float(drawn.probability[row]), problem=asked.problems[row]
        )
    _set_aside_known(choice, pool, known_at, drawn.probability)
    for group in drawn.groups:
        choice.chosen[pool.ids[group.leader]] = Chosen(RANDOM, float(drawn.probability[group.leader]))
        pool.mark(choice, RANDOM, group.members, group.leader, drawn.probability)
    labels = budget + back.total() - len(drawn.groups)
    _choose_greedily(choice, pool, asked, [group.leader for group in drawn.groups], labels)
    return choice


class _Asked:
    """Asks about rows of the pool, and keeps what stands against it.

    After `_PATIENCE` rows in a round that nobody can be asked about the rest is left to the push, which says the same
    of each: the round does not draw the pictures of a whole pool.
    """

    def __init__(self, waiting: Sequence[Candidate], ask: Callable[[Candidate], Problem | None]) -> None:
        self.waiting = waiting
        self._ask = ask
        self.problems: dict[int, Problem] = {}

    def fit(self, row: int) -> bool:
        """Return whether a row can be asked about."""
        found = self._ask(self.waiting[row]) if len(self.problems) < _PATIENCE else None
        if found is not None:
            self.problems[row] = found
        return found is None


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
    drawn_by_chance: Matrix

    @classmethod
    def of(
        cls, waiting: Sequence[Candidate], known: Sequence[Candidate], others: Sequence[Candidate]
    ) -> _Pool:
        everyone = [*waiting, *known, *others]
        envelopes = [decode(candidate.inference) for candidate in everyone]
        rows, keys = vectors(envelopes), [payload_key(envelope) for envelope in envelopes]
        draws = [control_draw(candidate) for candidate in everyone]
        size, whole = len(waiting), len(waiting) + len(known)
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
            known_rows=rows[size:whole],
            known_keys=keys[size:whole],
            drawn_by_chance=rows[np.array([one is not None for one in draws], dtype=bool)],
        )

    def control_sample(self) -> Matrix:
        """Everything that chance drew, in whatever state."""
        return self.drawn_by_chance

    def nearest_known(self, some: Indices, threshold: float) -> Indices:
        keys = [self.keys[row] for row in some]
        return nearest(self.rows[some], keys, self.known_rows, self.known_keys, threshold)

    def mark(
        self, choice: Choice, arm: str, members: Indices, leader: int, probability: NDArray[np.float64]
    ) -> None:
        for row in members.tolist():
            kind: Literal["exact", "near"] = "exact" if self.keys[row] == self.keys[leader] else "near"
            choice.chosen[self.ids[row]] = Chosen(arm, float(probability[row]), self.ids[leader], kind)


def _choose_greedily(choice: Choice, pool: _Pool, asked: _Asked, drawn: Sequence[int], labels: int) -> None:
    waiting = asked.waiting
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
    if labels <= 0:
        return
    order = np.argsort(-fisher(waiting), kind="stable")
    left[rest[alike >= 0]] = False
    groups = leaders(order[left[order]], pool.rows, pool.keys, choice.threshold, asked.fit)
    for group in islice(groups, labels):
        choice.chosen[pool.ids[group.leader]] = Chosen(GREEDY, _in_pool(waiting[group.leader]))
        pool.mark(choice, "", group.members, group.leader, nothing)
    for row in sorted(asked.problems):
        if pool.ids[row] not in choice.chosen:
            choice.chosen[pool.ids[row]] = Chosen(GREEDY, _in_pool(waiting[row]), problem=asked.problems[row])


def _in_pool(candidate: Candidate) -> float:
    missed = np.prod([1.0 - min(draw.probability, 1.0) for draw in candidate.draws])
    return float(1.0 - missed)
