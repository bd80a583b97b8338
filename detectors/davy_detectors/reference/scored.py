"""Inferences with what a reference says of them: scores, ranks and bins, each worked out once for whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from davy.errors import PluginFailed
from davy_detectors.base import Attempt, Floats, Scorer, attempted
from davy_detectors.reference.features import Feature, features

if TYPE_CHECKING:
    from davy_detectors.batch import Batch
    from davy_detectors.reference.reference import Reference


class ScoredBatch:
    """Inferences of one model as monitors, arms and evidence see them.

    Parameters
    ----------
    reference
        What is normal.
    batch
        Inferences as they came; `batch` has them as the reference's schema reads them.
    attempt
        Calls each scorer.

    Attributes
    ----------
    reference
        What is normal.

    Examples
    --------
    >>> from davy.config import DetectSettings
    >>> from davy_detectors import Batch, Reference
    >>> batch = Batch.from_columns("m:1", {"x": np.linspace(0, 1, 500)})
    >>> scored = Reference.fit("m:1", batch, settings=DetectSettings()).scored(batch)
    >>> scored.bins.shape, scored.take(slice(0, 10)).bins.shape
    ((1, 500), (1, 10))
    """

    def __init__(self, reference: Reference, batch: Batch, attempt: Attempt = attempted) -> None:
        self.reference = reference
        self._given = batch
        self._attempt = attempt

    def __len__(self) -> int:
        return len(self._given)

    @cached_property
    def batch(self) -> Batch:
        """The inferences."""
        return self.reference.schema.conform(self._given)

    @cached_property
    def scores(self) -> Mapping[str, Floats]:
        """The scores by scorer, shape ``(n,)``, higher is more suspicious; a scorer that failed is left out."""
        found = {}
        for name, scorer in self.reference.scorers.items():
            scores = self._attempt(name, partial(scores_of, scorer, self.batch))
            if scores is not None:
                found[name] = scores
        return found

    @cached_property
    def ranks(self) -> Mapping[str, Floats]:
        """The share of the reference that scores as high, by scorer, shape ``(n,)``, in (0, 1].

        ``(#{reference >= score} + 1) / (#reference + 1)``, a conformal p-value: of clean traffic, a share of at most
        `a` has a rank up to `a`. NaN where the score is.
        """
        return {name: self.reference.rank(name, scores) for name, scores in self.scores.items()}

    @cached_property
    def bins(self) -> NDArray[np.uint8]:
        """The bin of every monitored stream, shape ``(streams, n)``, in the order of the reference's `streams`.

        Rows of streams that were not `watched` say nothing.
        """
        found = features(self.batch, self.reference.schema)
        for name, scores in self.scores.items():
            stream = self.reference.scorers[name].stream
            if stream is not None:
                found[stream] = Feature("numeric", scores)
        return self.reference.bin(found, len(self))

    @cached_property
    def watched(self) -> NDArray[np.bool_]:
        """Whether each stream is known, shape ``(streams,)``: that of a scorer which failed is not."""
        failed = {scorer.stream for name, scorer in self.reference.scorers.items() if name not in self.scores}
        return np.array([stream not in failed for stream in self.reference.streams], bool)

    def take(self, rows: slice | NDArray[np.intp] | NDArray[np.bool_]) -> ScoredBatch:
        """Return some of the inferences, with what was worked out of them."""
        part = ScoredBatch(self.reference, self._given.take(rows), self._attempt)
        part.__dict__.update(
            batch=self.batch.take(rows),
            scores={name: scores[rows] for name, scores in self.scores.items()},
            bins=self.bins[:, rows],
        )
        return part


def scores_of(scorer: Scorer, batch: Batch) -> Floats:
    """Return the scores a scorer gives; raises PluginFailed where they are not one float an inference."""
    scores: object = scorer.score(batch)
    if not isinstance(scores, np.ndarray) or scores.shape != (len(batch),) or scores.dtype.kind != "f":
        found = getattr(scores, "shape", type(scores).__name__)
        raise PluginFailed(
            "scores", found, f"return an array of {len(batch)} floats, NaN where there is no score"
        )
    return scores
