"""The clock by which inferences are appended: how far it has come, and when it turned out to have been ahead.

Append times do not fall within a partition, but for clocks of brokers that differ a little. When one does, by more than
that, the clock was ahead and has been set back: what was appended before counts at the moment it was set back to, at
the latest, and nothing that was believed of the time between is believed any longer. Records alone tell, so that a
worker whose own clock is behind believes nothing else than any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from typing import Final, Self

from davy.codec import dump_any, load_any
from davy.event import INFERENCES
from davy.health import Check
from davy.log import Record
from davy.runtime import Runtime
from davy.store import Store
from davy_detectors.stream.context import SECOND

WATERMARKS: Final = "watermarks"
"""Collection with how far the clock of appends had come when a partition was last counted, by partition."""
TOLERANCE: Final = 10 * SECOND
"""Clocks of brokers differ by less, and a clock that was ahead by less is waited for."""


@dataclass(slots=True)
class Watermark:
    """How far one partition is counted.

    Attributes
    ----------
    through
        Append time of the last record counted.
    offset, back
        The first record that was appended after the clock was last set back, and when; -1 and 0 before it ever was.
    ahead
        How far the clock had come before that.
    log
        Which log `offset` is of.
    """

    through: int = 0
    offset: int = -1
    back: int = 0
    ahead: int = 0
    log: str = ""

    @classmethod
    def of(cls, stored: bytes) -> Self:
        """Read what `to_bytes` gave, or the number that was kept before a clock could be set back."""
        found = load_any(stored)
        return cls(found) if isinstance(found, int) else cls(*found)

    def in_log(self, log: str) -> Self:
        """Go on in a log: another has offsets of its own, and the same clock."""
        return self if self.log == log else type(self)(self.through, log=log)

    def to_bytes(self) -> bytes:
        """Return what `of` reads."""
        return dump_any(list(astuple(self)))

    def pass_by(self, record: Record) -> bool:
        """Take in the next record; say whether the clock was set back before it was appended."""
        is_back = record.at < self.through - TOLERANCE
        if is_back:
            self.offset, self.back, self.ahead = record.offset, record.at, self.through
        self.through = record.at if is_back else max(self.through, record.at)
        return is_back

    def dated(self, record: Record) -> Record:
        """Return a record with the append time it counts at."""
        if record.offset < self.offset and record.at > self.back:
            return replace(record, at=self.back)
        return record

    def believed(self, moment: int) -> int:
        """Return a moment that was written down at some time, or the present of then if the clock was ahead."""
        return self.back if self.back + TOLERANCE < moment <= self.ahead + TOLERANCE else moment


class Clocks:
    """What all partitions tell together.

    Parameters
    ----------
    marks
        How far each is counted.
    now
        Time of this process' clock, nanoseconds since the epoch.

    Attributes
    ----------
    now
        The present: at least as late as the newest append, however far the clock of this process is behind.
    """

    def __init__(self, marks: Mapping[int, Watermark], now: int) -> None:
        self.marks = marks
        self._through = {partition: self._believed(mark, now) for partition, mark in marks.items()}
        self.now = max([now, *self._through.values()])

    def through(self, partition: int) -> int:
        """Append time up to which a partition is counted, 0 when nothing of it is."""
        return self._through.get(partition, 0)

    @property
    def latest_back(self) -> int:
        """The moment to which the clock was set back last; the present when it never was."""
        return max((mark.back for mark in self.marks.values() if 0 < mark.back <= self.now), default=self.now)

    def _believed(self, mark: Watermark, now: int) -> int:
        """Return how far a partition is counted; one without records since the clock was set back does not know."""
        for other in self.marks.values():
            present = max(now, other.through)
            if other.back and present + TOLERANCE < mark.through <= other.ahead + TOLERANCE:
                return other.back
        return mark.through


def watermarks(topic: str = INFERENCES) -> str:
    """Return the collection with the watermarks of a topic's partitions."""
    return WATERMARKS if topic == INFERENCES else f"{WATERMARKS}/{topic}"


def read_marks(store: Store, topic: str = INFERENCES) -> dict[int, Watermark]:
    """Return how far each partition of a topic is counted."""
    return {int(partition): Watermark.of(data) for partition, data in store.items(watermarks(topic))}


def checks(runtime: Runtime) -> list[Check]:
    """Say whether the clock of appends was ever set back, and whether it is ahead of this machine's."""
    now, found = runtime.clock(), []
    for mark in read_marks(runtime.store).values():
        if mark.through > now + TOLERANCE:
            ahead = (mark.through - now) / SECOND
            remedy = "set the clocks of this machine and of whoever appends by NTP; detection goes on once they agree"
            found.append(Check("clock", "warning", f"the newest inference is {ahead:,.0f} s ahead", remedy))
        if mark.back:
            seconds = (mark.ahead - mark.back) / SECOND
            at = datetime.fromtimestamp(mark.back / SECOND, UTC).isoformat(timespec="seconds")
            found.append(Check("clock", "ok", f"was set back to {at}, by {seconds:,.0f} s"))
    return found or [Check("clock", "ok", "never set back")]
