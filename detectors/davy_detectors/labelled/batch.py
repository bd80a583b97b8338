"""Inferences of one model that met what became known about them, as monitors see them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from davy_detectors.labelled.columns import Columns, joined_halves, take
from davy_detectors.labelled.rows import SCORE, SEGMENT
from davy_detectors.labelled.values import Values, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from davy.event import Array
    from davy_detectors.base import Floats


@dataclass(frozen=True)
class LabelledBatch:
    """Pairs of an inference and a truth about it, by column; a read-only value.

    There is one pair an inference and kind of truth: of several truths of a kind the earliest counts. Rows are in the
    order of the ids.

    Parameters
    ----------
    model
        ``"name:version"``.
    columns, vocabulary
        The pairs, and the texts behind their digests.

    Examples
    --------
    >>> from davy_detectors.labelled.columns import halves
    >>> high, low = halves(np.zeros(2, "V16"))
    >>> columns = {"high": high, "low": low, "verdict": np.full(2, np.nan)}
    >>> columns |= {"answer_number": np.array([1.0, 2.0]), "truth_number": np.array([1.0, 3.0])}
    >>> columns |= {name: np.zeros(2, np.uint64) for name in ("answer_text", "truth_text")}
    >>> LabelledBatch("m:1", columns, Vocabulary()).right
    array([1., 0.])
    """

    model: str
    columns: Columns
    vocabulary: Vocabulary

    def __len__(self) -> int:
        return len(self.columns["high"])

    @cached_property
    def ids(self) -> Array:
        """Shape ``(n,)``, dtype ``V16``."""
        return joined_halves(self.columns["high"], self.columns["low"])

    @property
    def at(self) -> NDArray[np.int64]:
        """Event times of the inferences, nanoseconds since the epoch, shape ``(n,)``."""
        return self.columns["inference_at"]

    @property
    def labelled_at(self) -> NDArray[np.int64]:
        """When each truth became known, nanoseconds since the epoch, shape ``(n,)``."""
        return self.columns["label_time"]

    @cached_property
    def kinds(self) -> Array:
        """What each truth is, shape ``(n,)``: ``truth``, ``override``, ``outcome``, ``label`` or the app's own word."""
        return self._texts(self.columns["kind"])

    @cached_property
    def truth(self) -> Values:
        """The truths; nothing where one is not a single value, as boxes are."""
        return Values(self.columns["truth_number"], self.columns["truth_text"])

    @cached_property
    def answer(self) -> Values:
        """What the model answered; nothing where that is not a single value."""
        return Values(self.columns["answer_number"], self.columns["answer_text"])

    @cached_property
    def right(self) -> Floats:
        """Whether the model was right: 1 or 0, NaN where that is not known; shape ``(n,)``.

        A person's verdict where there is one, else whether answer and truth are equal.
        """
        verdict = self.columns["verdict"]
        return np.where(np.isnan(verdict), self.answer.equal(self.truth), verdict)

    @cached_property
    def scores(self) -> Mapping[str, NDArray[np.float32]]:
        """The rank of each inference in the reference by scorer, as flags carry them, shape ``(n,)``; NaN without."""
        return self._named(SCORE)

    @cached_property
    def segments(self) -> Mapping[str, NDArray[np.uint64]]:
        """The segments each inference is of, by name, as digests of their texts, shape ``(n,)``."""
        return self._named(SEGMENT)

    @cached_property
    def arms(self) -> Array:
        """The arm that chose each inference to be labelled, shape ``(n,)``; empty where none did."""
        return self._texts(self.columns["arm"])

    @property
    def probability(self) -> Floats:
        """The inclusion probability in that arm, with the sampling before, shape ``(n,)``; NaN without an arm."""
        return self.columns["probability"]

    @property
    def rate(self) -> Floats:
        """Sampling rate in force, shape ``(n,)``."""
        return self.columns["rate"]

    def text(self, digest: int) -> str:
        """Return the text behind a digest of `truth`, `answer` or `segments`; empty where it is not known any more."""
        return self.vocabulary.text(digest)

    def take(self, rows: Array) -> LabelledBatch:
        """Return some of the pairs."""
        return LabelledBatch(self.model, take(self.columns, rows), self.vocabulary)

    def _named(self, prefix: str) -> dict[str, NDArray[Any]]:
        return {
            name.removeprefix(prefix): column
            for name, column in self.columns.items()
            if name.startswith(prefix)
        }

    def _texts(self, digests: NDArray[np.uint64]) -> Array:
        distinct, codes = np.unique(digests, return_inverse=True)
        return np.array([self.vocabulary.text(digest) for digest in distinct.tolist()], object)[codes]
