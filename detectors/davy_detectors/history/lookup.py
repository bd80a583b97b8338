"""Finds an inference in the log by its id: near the time that the id carries, and then anywhere.

An id of Davy's is a UUID of version 7 (RFC 9562), whose first 48 bits are the milliseconds since the epoch at which it
was made. Appends come in the order of time, so a bisection leads to the records of those minutes, and no index is kept.
What was appended later, from an app's spool for one, or has an id of an app's own, is found by reading on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from davy.codec import decode, load
from davy.errors import DecodeError
from davy.event import FLAGS, INFERENCES, Envelope, Flag
from davy.log import Log, Record
from davy_detectors.history.log_view import LogView

_SECOND: Final = 10**9
_BEFORE: Final = 60 * _SECOND
"""The clock of an app may be ahead by so much."""
AFTER: Final = 300 * _SECOND
"""What is appended within this time of its capture is found at once."""
_LOOK_EVERY: Final = 64


@dataclass(frozen=True, slots=True)
class Found:
    """An inference and the record it lies in: row `row` of `envelope`; `appended_at` in nanoseconds since the epoch."""

    envelope: Envelope
    row: int
    topic: str
    partition: int
    offset: int
    appended_at: int


def made_at(id: bytes) -> int | None:
    """Return when an id was made, nanoseconds since the epoch; None for one that carries no time.

    Examples
    --------
    >>> made_at(bytes.fromhex("018bcfe5680070008000000000000000"))
    1700000000000000000
    >>> made_at(bytes(16)) is None
    True
    """
    if UUID(bytes=id).version != 7:
        return None
    return int.from_bytes(id[:6]) * 10**6


def find(log: Log, id: bytes, model: str = "", *, seconds: float = 10.0) -> Found | None:
    """Return an inference of the log, the first one with this id; None when there is none within reach.

    The records appended up to five minutes after the id was made are read whatever that takes, all others for as long
    as `seconds` allow.

    Parameters
    ----------
    log
        Where to look: through one that hides, what is forgotten is not found.
    id
        16 bytes.
    model
        Only an inference of this one: an app may give one id to several models' inferences.
    seconds
        How long to look where the time of the id does not lead.
    """
    at = made_at(id)
    if at is not None:
        near = LogView(log, INFERENCES, since=at - _BEFORE, until=at + AFTER)
        found = next(_inferences(_records(near, INFERENCES, id), id, model), None)
        if found is not None:
            return found
    everywhere = LogView(log, INFERENCES)
    records = _records(everywhere, INFERENCES, id, until=time.monotonic() + seconds)
    return next(_inferences(records, id, model), None)


def flags_of(log: Log, id: bytes, model: str = "", *, seconds: float = 10.0) -> list[Flag]:
    """Return the flags of an inference that the log holds, as many as are found within `seconds`.

    Flags carry their inference, so one may be here whose record has expired.
    """
    at = made_at(id)
    view = LogView(log, FLAGS, since=None if at is None else at - _BEFORE)
    found = {}
    for record in _records(view, FLAGS, id, until=time.monotonic() + seconds):
        try:
            flag = load(Flag, record.value)
        except DecodeError:
            continue  # it is among the dead letters
        if flag.inference_id == id and model in {"", flag.model}:
            found[flag.id] = flag
    return list(found.values())


def _inferences(records: Iterator[Record], id: bytes, model: str) -> Iterator[Found]:
    for record in records:
        try:
            envelope = decode(record.value)
        except DecodeError:
            continue  # it is among the dead letters
        ids = [one.tobytes() for one in envelope.ids]
        if id in ids and model in {"", envelope.model}:
            yield Found(envelope, ids.index(id), record.topic, record.partition, record.offset, record.at)


def _records(view: LogView, topic: str, id: bytes, *, until: float | None = None) -> Iterator[Record]:
    """Yield the records that hold the bytes of an id, until a moment of the monotonic clock."""
    for (_, partition), start in view.start(topic).items():
        for number, record in enumerate(view.read(topic, partition, start), start=1):
            if id in record.value:
                yield record
            if until is not None and not number % _LOOK_EVERY and time.monotonic() > until:
                return
