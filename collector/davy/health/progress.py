"""How far a role has read: what is unread, since when, and since when nobody has read on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from davy import metrics
from davy.consume import stored_offset
from davy.errors import StoreError
from davy.event import INFERENCES
from davy.log import Partition, Waiting
from davy.runtime import Runtime

STUCK_SECONDS: Final = 20.0
"""A role whose position stands still so long while there is something to read does not get on: twice its lease."""
_OLD_SECONDS: Final = 15.0
_NOWHERE: Final = -1
_SECOND: Final = 10**9


def read_through(runtime: Runtime, role: str, topics: tuple[str, ...]) -> int:
    """Return the time up to which a role has read all that was appended, in nanoseconds since the epoch.

    Raises
    ------
    DavyError
        Log or store do not answer.
    """
    now, progress = runtime.clock(), Progress(runtime, role, topics)
    progress.look()
    return now if progress.waiting.since is None else min(now, progress.waiting.since)


@dataclass(frozen=True, slots=True)
class _Still:
    """A position with something behind it, and since when it stands there (seconds of the pulse's clock)."""

    offset: int
    since: float


class Progress:
    """Follows the position of one role, over all partitions and whoever reads them.

    Parameters
    ----------
    runtime
        Log, store and the clock of the pulse.
    role
        Its name.
    topics
        What it reads.
    """

    def __init__(self, runtime: Runtime, role: str, topics: tuple[str, ...]) -> None:
        self._runtime = runtime
        self._role = role
        self.topics = topics
        self._positions: dict[Partition, int] = {}
        self._places: dict[Partition, _Still | None] = {}
        self._looked: float | None = None
        self._unknown_since: float | None = None
        self.waiting = Waiting()
        """What was unread at the last look."""

    def look(self) -> None:
        """Compare the stored position with the ends of the log.

        A position that cannot be read is taken for the one that was read last. One that this process never read counts
        as one that stands still since the first look.

        Raises
        ------
        LogError
            The log does not answer.
        StoreError
            The store does not, and everything else was looked at.
        """
        log, refused, now = self._runtime.log, None, self._runtime.pulse.clock()
        starts = {place: at for topic in self.topics for place, at in log.start(topic).items()}
        ends = {place: at for topic in self.topics for place, at in log.end(topic).items()}
        names = {topic: log.identity(topic) for topic in self.topics}
        try:
            for place in ends:
                self._positions[place] = stored_offset(
                    self._runtime.store, self._role, place, names[place[0]]
                )
        except StoreError as error:
            refused = error
        known = ends.keys() & self._positions.keys()
        if known == ends.keys():
            self._unknown_since = None
        elif self._unknown_since is None:
            self._unknown_since = now
        found = {place: max(starts.get(place, 0), self._positions[place]) for place in known}
        unread = {place: offset for place, offset in found.items() if ends[place] > offset}
        self.waiting = log.waiting(unread) if unread else Waiting()
        unknown = _Still(_NOWHERE, now if self._unknown_since is None else self._unknown_since)
        self._places = {
            place: self._stands(place, unread.get(place), now) if place in known else unknown
            for place in ends
        }
        self._looked = now
        if refused is not None:
            raise refused

    def stands(self) -> dict[Partition, float]:
        """Return for how long nobody has read on in each partition that holds something unread, in seconds.

        Of a partition that was read to its end nothing is known since the last look: when that is long ago, it counts.
        """
        now, age = self._runtime.pulse.clock(), self.age()
        blind = age if age > _OLD_SECONDS else 0.0
        return {
            place: blind if still is None else now - still.since
            for place, still in list(self._places.items())
        }

    def age(self) -> float:
        """Return the seconds since the last look."""
        return 0.0 if self._looked is None else self._runtime.pulse.clock() - self._looked

    def lag_seconds(self) -> float:
        """Return for how long the oldest unread record has waited, in seconds."""
        waiting, age = self.waiting, self.age()
        unknown = 0.0 if self._unknown_since is None else self._runtime.pulse.clock() - self._unknown_since
        if waiting.since is None:
            return max(unknown, age if age > _OLD_SECONDS else 0.0)
        return max(unknown, (self._runtime.clock() - waiting.since) / _SECOND)

    def show(self) -> None:
        """Set the metrics of the role, as they are at this moment; there are none of one that reads nothing."""
        if not self.topics:
            return
        meter = self._runtime.meter
        meter.set(metrics.LAG, self.waiting.records, role=self._role)
        meter.set(metrics.LAG_SECONDS, self.lag_seconds(), role=self._role)
        if self.topics == (INFERENCES,):
            for (_, partition), seconds in self.stands().items():
                meter.set(metrics.UNREAD_SECONDS, seconds, partition=str(partition))

    def _stands(self, place: Partition, offset: int | None, now: float) -> _Still | None:
        if offset is None:
            return None
        before = self._places.get(place)
        return before if before is not None and before.offset == offset else _Still(offset, now)
