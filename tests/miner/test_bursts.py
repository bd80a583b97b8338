"""What a label buys on a stream of bursts: distinct failures for half greedy, half random against random alone.

A small classifier of scikit-learn's digits answers 6,000 frames a run. An eighth of the sources is spoiled, and sources
show in Pareto bursts of up to 60 near-identical frames. Scores are the tail ranks of two detectors in clean frames:
low confidence, and distance from the clean frames of the class. Synthetic and small: it gives the direction.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from support.mining import make_candidate, make_flag

from davy_miner.choice import GREEDY, RANDOM, choose

pytestmark = pytest.mark.fast

SEEDS = 10
LABELS = 100
FRAMES = 6000
FLAG_SHARE = 0.01
CONTROL_SHARE = 0.02


class World:
    """The classifier and what its scores look like on clean frames."""

    def __init__(self) -> None:
        digits = load_digits()
        order = np.random.default_rng(0).permutation(len(digits.target))
        images, self.truth = digits.data[order] / 16, digits.target[order]
        self.images = images
        self.model = LogisticRegression(max_iter=300).fit(images[:600], self.truth[:600])
        self.centres = np.array([images[:600][self.truth[:600] == c].mean(axis=0) for c in range(10)])
        self.clean = np.sort(self.scores(images[600:1200]), axis=1)

    def scores(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        probs = self.model.predict_proba(rows)
        distance = np.linalg.norm(rows - self.centres[probs.argmax(axis=1)], axis=1)
        return np.stack([1 - probs.max(axis=1), distance])

    def ranks(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Upper-tail ranks in the clean frames, shape (2, n), in (0, 1]."""
        size = self.clean.shape[1]
        above = [
            size - np.searchsorted(clean, found)
            for clean, found in zip(self.clean, self.scores(rows), strict=True)
        ]
        return (np.array(above) + 1) / (size + 1)


def frames(
    world: World, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Images, their truth and their source."""
    rows, truth, source = [], [], []
    while len(rows) < FRAMES:
        place = int(rng.integers(1200, len(world.images)))
        image = world.images[place].reshape(8, 8)
        if rng.random() < 1 / 8:
            image = [np.rot90(image), 1 - image, (image + np.roll(image, 2, 0)) / 2, image[:, ::-1]][
                rng.integers(4)
            ]
        length = min(60, 1 + int(3 * rng.pareto(1.2)))
        rows.extend(image.ravel() + 0.02 * rng.normal(size=(length, 64)))
        truth += [world.truth[place]] * length
        source += [len(set(source))] * length if not source else [source[-1] + 1] * length
    return np.array(rows[:FRAMES]), np.array(truth[:FRAMES]), np.array(source[:FRAMES])


def one_run(world: World, seed: int) -> tuple[float, float, float]:
    """Distinct failures a label: mined, drawn at random, plain greedy without removal of near-duplicates."""
    rng = np.random.default_rng([5, seed])
    rows, truth, source = frames(world, rng)
    answers, ranks = world.model.predict(rows), world.ranks(rows)
    failed = answers != truth
    control = rng.random(FRAMES) < CONTROL_SHARE
    pool = {}
    for row in np.flatnonzero(control | (ranks <= FLAG_SHARE).any(axis=0)).tolist():
        flag = make_flag(
            row,
            embedding=(),
            inputs={"image": rows[row].reshape(8, 8)},
            outputs={"label": int(answers[row])},
            control=CONTROL_SHARE if control[row] else 0.0,
            scores={"msp": float(ranks[0, row]), "distance": float(ranks[1, row])},
        )
        pool[make_candidate(flag).id] = (row, make_candidate(flag))
    waiting = [candidate for _, (_, candidate) in sorted(pool.items())]
    choice = choose(waiting, [], budget=LABELS, greedy_share=0.5, seed=seed)
    mined = np.array([pool[key][0] for arm in (GREEDY, RANDOM) for key in choice.labels(arm)])
    assert len(mined) == LABELS
    chance = rng.choice(FRAMES, LABELS, replace=False)
    plain = np.argsort(np.log(ranks).sum(axis=0))[:LABELS]
    return tuple(len(np.unique(source[some[failed[some]]])) / LABELS for some in (mined, chance, plain))  # type: ignore[return-value]


def test_a_label_buys_three_times_the_distinct_failures_of_a_random_one() -> None:
    world = World()
    mined, chance, plain = np.array([one_run(world, seed) for seed in range(SEEDS)]).mean(axis=0)
    assert mined >= 3 * chance, (mined, chance, plain)
    assert mined >= 2 * plain, (mined, chance, plain)
