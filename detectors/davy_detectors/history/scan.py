"""Reads inferences of a model from the log once more, by their running numbers, whatever their partitions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from davy.codec import decode, select
from davy.errors import DecodeError
from davy.event import INFERENCES, Array, Envelope
from davy_detectors.batch import Batch, Floats
from davy_detectors.history.record_slice import window_times
from davy_detectors.stream.clocks import Watermark

if TYPE_CHECKING:
    from davy.log import Log, Record
    from davy_detectors.history.partition_index import PartitionIndex
    from davy_detectors.history.sparse_index import SparseIndex

_ENVELOPES: Final = 64
_PAYLOAD: Final = ("inputs", "outputs", "embedding")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the inferences of a model lie.

    Attributes
    ----------
    log, model
        Of which log, whose.
    numbers
        From running numbers to the moments at which the windows start that begin with them.
    seen, marks
        What each partition remembers of the model, and of the clock of appends.
    horizon
        How long after its moment an inference may be appended, nanoseconds.
    lateness
        How long after its moment an inference is appended that is not late, nanoseconds.
    stop
        The moment where the last tested window ends.
    """

    log: Log
    model: str
    numbers: SparseIndex
    seen: Mapping[int, PartitionIndex]
    marks: Mapping[int, Watermark]
    horizon: int
    lateness: int
    stop: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Inferences read again, all arrays of shape ``(n,)``, in order of their running numbers."""

    numbers: NDArray[np.int64]
    partitions: Array
    offsets: Array
    rows: Array
    ids: Array
    at: NDArray[np.int64]
    scores: Floats

    def take(self, index: Array) -> Rows:
        """Return some of them."""
        return Rows(*(getattr(self, name)[index] for name in self.__slots__))

    def between(self, first: int, stop: int) -> Rows:
        """Return those with numbers from `first` up to before `stop`."""
        return self.take(np.flatnonzero((self.numbers >= first) & (self.numbers < stop)))


def scan(source: Source, score: Callable[[Batch], Floats], first: int, last: int) -> Rows:
    """Return the inferences ``first … last`` with their sample scores.

    Running numbers count the inferences in the order of their moments, equal ones in the order of their ids.
    """
    numbers, starts = source.numbers.since(first)
    if not len(numbers) or last < first:
        return _nothing()
    after = starts[numbers > last]
    stop = int(after[0]) if len(after) else source.stop
    parts = [
        rows for partition in source.seen for rows in _scan(source, partition, score, int(starts[0]), stop)
    ]
    found = Rows(
        *(np.concatenate([getattr(part, name) for part in (_nothing(), *parts)]) for name in Rows.__slots__)
    )
    halves = np.ascontiguousarray(found.ids).view(">u8").reshape(-1, 2)
    found = found.take(np.lexsort((halves[:, 1], halves[:, 0], found.at)))
    known = np.searchsorted(starts, found.at, side="right") - 1
    begun = np.searchsorted(found.at, starts)
    numbered = numbers[known] + np.arange(len(known)) - begun[known]
    return replace(found, numbers=numbered).between(first, last + 1)


def payloads(source: Source, rows: Rows) -> dict[int, tuple[bytes, bytes]]:
    """Return for each of `rows`, by its index, a digest of what the model saw and said, and it in an envelope."""
    found = {}
    for partition in np.unique(rows.partitions).tolist():
        wanted: dict[int, list[int]] = {}
        for index in np.flatnonzero(rows.partitions == partition).tolist():
            wanted.setdefault(int(rows.offsets[index]), []).append(index)
        # Records in between are read too: one request for many records costs less than one for each.
        for record in source.log.read(INFERENCES, partition, min(wanted), max(wanted) + 1):
            if record.offset in wanted:
                envelope = decode(record.value)
                for index in wanted[record.offset]:
                    row = int(rows.rows[index])
                    found[index] = (_payload_digest(envelope, row), select(record.value, [row]))
    return found


def _scan(
    source: Source, partition: int, score: Callable[[Batch], Floats], start: int, stop: int
) -> Iterator[Rows]:
    found = _envelopes(source, partition, start, stop)
    while some := list(islice(found, _ENVELOPES)):
        batch = Batch.concat([Batch.of(envelope) for _, envelope, _ in some])
        at = np.concatenate([at for _, _, at in some])
        inside = np.flatnonzero((at >= start) & (at < stop))
        yield Rows(
            numbers=np.zeros(len(inside), np.int64),  # known when all partitions are read
            partitions=np.full(len(inside), partition),
            offsets=np.concatenate([np.full(len(at), record.offset) for record, _, at in some])[inside],
            rows=np.concatenate([np.arange(len(at)) for _, _, at in some])[inside],
            ids=batch.ids[inside],
            at=at[inside],
            scores=score(batch.take(inside)),
        )


def _envelopes(
    source: Source, partition: int, start: int, stop: int
) -> Iterator[tuple[Record, Envelope, NDArray[np.int64]]]:
    seen = source.seen[partition]
    begin = seen.index.before(start - 1)
    if begin is None:
        return
    repeated: set[bytes] = set()
    mark = source.marks.get(partition, Watermark())
    for record in map(mark.dated, source.log.read(INFERENCES, partition, begin[1])):
        beyond = record.at - stop
        if beyond > source.horizon or (beyond > source.lateness and record.offset > seen.last_late):
            return
        try:
            envelope = decode(record.value)
        except DecodeError:
            continue  # it is among the dead letters and was never counted
        ids = envelope.ids.tobytes()
        if envelope.model != source.model or not envelope.count or ids in repeated:
            continue
        repeated.add(ids)
        at = window_times(record, envelope, source.horizon)
        if at.min() < stop and at.max() >= start:
            yield record, envelope, at


def _nothing() -> Rows:
    none = np.empty(0, np.int64)
    return Rows(none, none, none, none, np.empty(0, "V16"), none, np.empty(0))


def _payload_digest(envelope: Envelope, row: int) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for path, column in sorted(envelope.items()):
        if path[0] in _PAYLOAD:
            absent = column.missing is not None and bool(column.missing[row])
            value = None if absent else column.values[row]
            raw = value.tobytes() if isinstance(value, (np.ndarray, np.generic)) else repr(value).encode()
            digest.update(repr((path, len(raw))).encode() + raw)
    return digest.digest()
