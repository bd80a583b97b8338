"""Records of one model in a row, joined for vectorised work; every row still knows its record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from davy.codec import split
from davy.event import Array, Envelope
from davy.log import Record
from davy_detectors.batch import Batch


class RecordSlice:
    """Inferences of one model in the order of the log.

    Parameters
    ----------
    items
        Records and their envelopes, none of them empty.
    horizon
        See `window_times`.

    Attributes
    ----------
    count
        How many inferences.
    ids, at, rate
        System columns, shape ``(count,)``.
    window_times
        When each inference counts, shape ``(count,)``.
    """

    def __init__(self, items: Sequence[tuple[Record, Envelope]], horizon: int) -> None:
        self._records = [record for record, _ in items]
        self._envelopes = [envelope for _, envelope in items]
        self._ends = np.cumsum([envelope.count for envelope in self._envelopes])
        self.count = int(self._ends[-1])
        self.ids: Array = np.concatenate([envelope.ids for envelope in self._envelopes])
        self.at: NDArray[np.int64] = np.concatenate([envelope.at for envelope in self._envelopes])
        self.rate: NDArray[np.float64] = np.concatenate([envelope.rate for envelope in self._envelopes])
        self.window_times = np.concatenate(
            [window_times(record, envelope, horizon) for record, envelope in items]
        )

    @cached_property
    def batch(self) -> Batch:
        """The inferences as the detectors read them."""
        return Batch.concat([Batch.of(envelope) for envelope in self._envelopes])

    def window_times_by_record(self) -> list[NDArray[np.int64]]:
        """Return the window times of each record's inferences."""
        return np.split(self.window_times, self._ends[:-1])

    def inferences(self, rows: NDArray[np.intp]) -> Iterator[bytes]:
        """Return, for each of these rows, which rise, the bytes of an envelope with it alone."""
        starts = np.searchsorted(rows, np.concatenate([[0], self._ends]))
        for record, envelope, end, (first, last) in zip(
            self._records, self._envelopes, self._ends.tolist(), pairwise(starts.tolist()), strict=True
        ):
            if first < last:
                yield from split(record.value, (rows[first:last] - end + envelope.count).tolist())


def window_times(record: Record, envelope: Envelope, horizon: int) -> NDArray[np.int64]:
    """Return the time at which each inference counts, nanoseconds since the epoch, shape ``(n,)``.

    It is the event time, but never after the append of the record, which is what a clock ahead claims, and never more
    than `horizon` nanoseconds before it, so that no inference comes too late to be tested.
    """
    found: NDArray[np.int64] = np.clip(envelope.at, record.at - horizon, record.at)
    return found
