"""Shiryaev-Roberts statistics of many bets on many streams, with where each thinks the change was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from davy_detectors.batch import Floats
from davy_detectors.drift.bets import STAKES, Bets

Singles = NDArray[np.float32]
BLOCK: Final = 32
"""Steps prepared in one go."""
_MOST: Final = 40.0
_NEAR: Final = 0.01


class Evidence:
    """The e-detectors of a group of streams, side by side.

    For every bet, a step of `n` inferences with payoff `P`, the product over these, gives ``R <- (R + n) P``: the sum,
    over all inferences the change may have begun at, of what the bet has paid since the step they are in. Where no
    reference distribution lets ``P`` grow, and `n` owes nothing to what the inferences look like, ``E[(R + n) P] <= R
    + n``: ``R`` less the number of inferences is a supermartingale, so ``R`` needs `A` inferences on average to
    reach `A`, however they are cut into steps.

    Payoffs are products, kept as they are: what a step pays is capped at ``exp(40)``, which single precision holds for
    any sensible threshold. A cap only lowers a payoff, so the promise stands, and what reaches it is an alarm anyway.

    Beside ``R`` two sums with the same weights are kept: of the inferences since the change and of their scores.
    Over ``R`` they are the estimated age of the change and, with it, the mean of the score since then.

    Parameters
    ----------
    bets
        The bets on each stream.
    width
        Bins of a row of counts.

    References
    ----------
    Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", NEJSDS 2024.
    """

    def __init__(self, bets: Sequence[Bets], width: int) -> None:
        scores = max(len(b.scores) for b in bets)
        shape = (len(STAKES), scores)
        self._values: Floats = np.zeros((len(bets), width, scores))
        self._payoffs: Floats = np.full((len(bets), width, *shape), -1.0)
        self._prior: Singles = np.zeros((len(bets), *shape), np.float32)
        for i, b in enumerate(bets):
            rows, columns = b.values.shape
            self._values[i, :rows, :columns] = b.values
            self._payoffs[i, :rows, :, :columns] = b.payoffs.transpose(0, 2, 1)
            self._prior[i, :, :columns] = b.prior.T
        self._payoffs = self._payoffs.reshape(len(bets), width, -1)
        self._sums: Singles = np.zeros((3, *self._prior.shape), np.float32)
        self._parts = tuple(self._sums)
        self._logs: Floats = np.empty((BLOCK, len(bets), self._payoffs.shape[2]))

    def prepare(self, counts: NDArray[np.int64]) -> list[tuple[Singles, Singles]]:
        """Return, for each step, payoffs ``(streams, stakes, scores)`` and score sums ``(streams, 1, scores)``.

        At most 32 steps at a time.
        """
        by_stream = counts.transpose(1, 0, 2).astype(np.float64)
        logs = self._logs[: len(counts)]
        np.matmul(by_stream, self._payoffs, out=logs.transpose(1, 0, 2))
        payoffs = np.minimum(logs, _MOST, out=np.empty(logs.shape, np.float32), casting="same_kind")
        np.exp(payoffs, out=payoffs)
        sums = np.matmul(by_stream, self._values).transpose(1, 0, 2).astype(np.float32, order="C")
        shaped = payoffs.reshape(len(counts), *self._prior.shape)
        return list(zip(shaped, sums[:, :, None, :], strict=True))

    def step(self, payoffs: Singles, sums: Singles, size: int) -> float:
        """Take in one prepared step of `size` inferences; return the sum over the streams of their statistics."""
        evidence, ages, totals = self._parts
        evidence += size
        ages += evidence * size
        totals += evidence * sums
        self._sums *= payoffs
        return float(np.vdot(self._prior, evidence))

    def statistics(self) -> Floats:
        """Return the statistic of every stream, shape ``(streams,)``."""
        weighted: Floats = (self._prior * self._sums[0]).sum(axis=(1, 2), dtype=np.float64)
        return weighted

    def winners(self, stream: int) -> list[tuple[int, float, float]]:
        """Return the bets that hold most evidence, the best first, and those that hold a hundredth of it.

        Each as its score, the age of the change in inferences, and the score's sum since then. Within one long step
        several bets reach the cap, and then their prior weights alone would tell them apart.
        """
        held = self._prior[stream] * self._sums[0, stream]
        near = np.argwhere(held >= held.max() * _NEAR)
        ordered = near[np.argsort(-held[tuple(near.T)], kind="stable")]
        sums = self._sums[:, stream].astype(np.float64)
        return [
            (
                int(score),
                float(sums[1, stake, score] / sums[0, stake, score]),
                float(sums[2, stake, score] / sums[0, stake, score]),
            )
            for stake, score in ordered
        ]

    def restart(self) -> None:
        """Forget all evidence."""
        self._sums[:] = 0.0

    def dump(self) -> Mapping[str, Any]:
        """Return the evidence."""
        return {"sums": self._sums.copy()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `dump` gave; raises ValueError on another shape."""
        if np.shape(state["sums"]) != self._sums.shape:
            raise ValueError(f"evidence of shape {np.shape(state['sums'])} for {self._sums.shape}")
        self._sums[:] = state["sums"]
