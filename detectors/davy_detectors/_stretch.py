"""Records of one model in a row, joined for vectorised work; every row still knows its record."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from davy.codec import select
from davy.event import Array, Envelope
from davy.log import Record
from davy_detectors.batch import Batch


class Stretch:
    """Inferences of one model in the order of the log.

    Parameters
    ----------
    first
        Running number of the first inference.
    items
        Records and their envelopes, none of them empty.

    Attributes
    ----------
    first, count
        The running numbers are ``first … first + count - 1``.
    ids, at, rate
        System columns, shape ``(count,)``.
    """

    def __init__(self, first: int, items: Sequence[tuple[Record, Envelope]]) -> None:
        self.first = first
        self._records = [record for record, _ in items]
        self._envelopes = [envelope for _, envelope in items]
        self._ends = np.cumsum([envelope.count for envelope in self._envelopes])
        self.count = int(self._ends[-1])
        self.ids: Array = np.concatenate([envelope.ids for envelope in self._envelopes])
        self.at: NDArray[np.int64] = np.concatenate([envelope.at for envelope in self._envelopes])
        self.rate: NDArray[np.float64] = np.concatenate([envelope.rate for envelope in self._envelopes])

    @cached_property
    def batch(self) -> Batch:
        """The inferences as the detectors read them."""
        return Batch.concat([Batch.of(envelope) for envelope in self._envelopes])

    def time_of(self, number: int) -> int:
        """Give the event time of the inference with this running number, the nearest one's when it is outside."""
        return int(self.at[min(max(number - self.first, 0), self.count - 1)])

    def inference(self, row: int) -> bytes:
        """Give the bytes of an envelope with this row only."""
        index = int(np.searchsorted(self._ends, row, side="right"))
        start = int(self._ends[index]) - self._envelopes[index].count
        return select(self._records[index].value, [row - start])
