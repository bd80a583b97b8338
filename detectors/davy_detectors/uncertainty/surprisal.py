"""How surprising the tokens of an answer were to the model that gave it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

import numpy as np

from davy.fields.reading import array_of, numbers, rows_of
from davy_detectors.batch import Batch, Floats

_MEAN: Final = ("outputs", "mean_surprisal")
_LOGPROBS: Final = ("outputs", "logprobs")


class MeanSurprisal:
    """Mean negative log-probability of the tokens of a generated answer, in nats: the logarithm of its perplexity.

    Taken from ``outputs.mean_surprisal``, else from the log-probabilities of the tokens in ``outputs.logprobs``.

    References
    ----------
    Malinin and Gales, "Uncertainty estimation in autoregressive structured prediction", ICLR 2021 (length-normalised).

    Examples
    --------
    >>> batch = Batch.from_columns("llm:1", {"outputs.mean_surprisal": [0.2, 3.0]})
    >>> MeanSurprisal.fit(batch).score(batch).tolist()
    [0.2, 3.0]
    """

    name: Final = "surprisal"
    stream: Final = None

    @classmethod
    def fit(cls, batch: Batch) -> Self | None:
        """Learn nothing; None when no answer says how likely its tokens were."""
        scorer = cls()
        return scorer if bool(np.isfinite(scorer.score(batch)).any()) else None

    def score(self, batch: Batch) -> Floats:
        """Score every inference, shape ``(n,)``, higher is more surprising; NaN where the tokens tell nothing."""
        column = batch.fields.get(_MEAN)
        if column is not None:
            mean = numbers(column)
            return np.where(np.isfinite(mean), mean, np.nan)
        column = batch.fields.get(_LOGPROBS)
        if column is None:
            return np.full(len(batch), np.nan)
        rows = (array_of(value) for value in rows_of(column))
        means = (np.nan if row is None or not row.size else -float(np.mean(row)) for row in rows)
        return np.fromiter(means, np.float64, len(batch))

    def dump(self) -> Mapping[str, object]:
        """Return nothing: there is no fitted state."""
        return {}

    @classmethod
    def load(cls, state: Mapping[str, object]) -> Self:
        """Make a scorer."""
        del state
        return cls()
