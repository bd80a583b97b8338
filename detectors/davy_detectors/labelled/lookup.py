"""Finds inferences in the log that are older than the index of the join reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from davy.codec import decode
from davy.errors import DecodeError
from davy.event import INFERENCES
from davy_detectors.stream.clocks import Watermark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from davy.event import Envelope
    from davy.log import Log, Record
    from davy_detectors.history.partition_index import PartitionIndex
    from davy_detectors.labelled.join import Beyond

_AROUND: Final = 1_000_000_000
"""Nanoseconds by which the event time of an inference and the time in its id may differ."""


def look_up(
    log: Log,
    model: str,
    seen: Mapping[int, PartitionIndex],
    marks: Mapping[int, Watermark],
    beyond: Beyond,
    *,
    horizon: int,
    most: int,
) -> list[tuple[Record, Envelope]]:
    """Return the records of the log, with their envelopes, that hold one of these inferences.

    Parameters
    ----------
    log, model
        Where to look, and whose they are.
    seen, marks
        What each partition remembers of the model, and of the clock of appends.
    beyond
        The ids, and when they were made.
    horizon
        How long after its time an inference may have been appended, nanoseconds.
    most
        Records read at most; of the rest nothing is found.
    """
    found: list[tuple[Record, Envelope]] = []
    wanted = set(beyond.ids.tolist())
    for partition, index in seen.items():
        mark, read = marks.get(partition, Watermark()), -1
        for time in np.sort(beyond.times).tolist():
            begin = index.index.before(time - _AROUND - 1)
            if begin is None:
                continue
            for record in map(mark.dated, log.read(INFERENCES, partition, max(begin[1], read))):
                most -= 1
                if most < 0 or record.at > time + _AROUND + horizon:
                    break
                read = record.offset + 1
                envelope = _envelope(record, model)
                if envelope is not None and not wanted.isdisjoint(envelope.ids.tolist()):
                    found.append((record, envelope))
    return found


def _envelope(record: Record, model: str) -> Envelope | None:
    try:
        envelope = decode(record.value)
    except DecodeError:
        return None  # it is among the dead letters and was never counted
    return envelope if envelope.model == model and envelope.count else None
