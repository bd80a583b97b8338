"""A slice of a log as a log of its own: read only, outside any group, and what is published to it goes nowhere."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from davy.log import Assigned, Extent, Log, Message, Partition, Position, Record, Waiting

_NEVER = 2**63 - 1


class LogView:
    """The records of `topic` that were appended in ``since <= at < until``, nanoseconds since the epoch.

    Parameters
    ----------
    log
        Holds the records.
    topic
        The one topic there is; others are empty.
    since, until
        None for no bound.
    ends
        Offsets to stop before, by partition; the end of the log where there is none.
    """

    exclusive = False
    erases = False

    def __init__(
        self,
        log: Log,
        topic: str,
        *,
        since: int | None = None,
        until: int | None = None,
        ends: Position | None = None,
    ) -> None:
        self.url = log.url
        self._log = log
        starts, ends = log.start(topic), {**log.end(topic), **(ends or {})}
        self._starts = {place: self._offset(place, starts[place], ends[place], since) for place in ends}
        self._ends = {
            place: ends[place] if until is None else self._offset(place, starts[place], ends[place], until)
            for place in ends
        }
        self.newest = min((one.at for place in self._ends for one in self._first(place)), default=0)
        """Append time of the newest record polled; before the first poll that of the oldest there is."""

    def identity(self, topic: str) -> str:
        """Return the name of the log."""
        return self._log.identity(topic)

    def start(self, topic: str) -> Position:
        """The first offset, by partition."""
        return {place: offset for place, offset in self._starts.items() if place[0] == topic}

    def end(self, topic: str) -> Position:
        """The offset after the last, by partition."""
        return {place: offset for place, offset in self._ends.items() if place[0] == topic}

    def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> Iterator[Record]:
        """Return the records with ``start <= offset < stop`` of the slice."""
        first, last = self._starts.get((topic, partition), 0), self._ends.get((topic, partition), 0)
        return self._log.read(
            topic, partition, max(start, first), min(last, _NEVER if stop is None else stop)
        )

    def waiting(self, position: Position) -> Waiting:
        """Return what stands from `position` on, of the slice and behind it."""
        return self._log.waiting(position)

    def probe(self, timeout: float) -> str:
        """Make sure that the log answers."""
        return self._log.probe(timeout)

    def damage(self, seconds: float) -> str | None:
        """Look over what the log lies on."""
        return self._log.damage(seconds)

    def producer(self) -> LogView:
        """Return what takes messages and does nothing with them."""
        return self

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        """Publish nothing."""

    def consumer(self, topics: Sequence[str], group: str, *, assigned: Assigned | None = None) -> _Reader:
        """Open a consumer that commits nowhere."""
        del group
        places = [place for topic in topics for place in self.end(topic)]
        return _Reader(self, places, assigned(places) if assigned else {})

    def retain(
        self, *, before: int | None = None, max_bytes: int | None = None, dry_run: bool = False
    ) -> int:
        """Delete nothing."""
        del before, max_bytes, dry_run
        return 0

    def extent(self, since: int) -> Extent:
        """Return what the whole log holds."""
        return self._log.extent(since)

    def shrink(self, *, everything: bool = False, rewrite: bool = False) -> int:
        """Do nothing: this view releases nothing."""
        del everything, rewrite
        return 0

    def erase(self, topic: str, partition: int, values: Mapping[int, bytes]) -> None:
        """Change nothing."""

    def close(self, *, timeout: float = 5.0) -> None:
        """Leave the log open: it is somebody else's."""

    def _first(self, place: Partition) -> Iterator[Record]:
        return islice(self.read(*place, self._starts[place]), 1)

    def _offset(self, place: Partition, start: int, end: int, at: int | None) -> int:
        """Find the first record appended at `at` or later: append times grow with offsets."""
        if at is None or start >= end:
            return start if at is None else end
        return start + bisect_left(
            range(start, end), True, key=lambda offset: self._at(place, offset, end) >= at
        )

    def _at(self, place: Partition, offset: int, end: int) -> int:
        return next((record.at for record in self._log.read(*place, offset, end)), _NEVER)


class _Reader:
    def __init__(self, view: LogView, places: Sequence[Partition], stored: Position) -> None:
        self._view = view
        self._offsets = {place: stored.get(place, view.start(place[0])[place]) for place in places}
        self._begin()

    def poll(self, *, max_records: int = 500, timeout: float = 1.0) -> list[Record]:
        """Return the next records of all partitions in the order of their appends."""
        del timeout
        found: list[Record] = []
        while self._next and len(found) < max_records:
            place = min(self._next, key=lambda place: self._next[place].at)
            record = self._next.pop(place)
            found.append(record)
            self._view.newest = record.at
            self._offsets[place] = record.offset + 1
            self._advance(place)
        return found

    def position(self) -> Position:
        """The next offset of every partition."""
        return dict(self._offsets)

    def seek(self, position: Position) -> None:
        """Go on from there."""
        self._offsets.update(position)
        self._begin()

    def commit(self, position: Position) -> None:
        """Commit nowhere."""

    def lag(self) -> int:
        """How many offsets are left."""
        return sum(self._view.end(place[0])[place] - offset for place, offset in self._offsets.items())

    def close(self) -> None:
        """Nothing is held."""

    def _begin(self) -> None:
        self._open = {place: self._view.read(*place, offset) for place, offset in self._offsets.items()}
        self._next: dict[Partition, Record] = {}
        for place in self._offsets:
            self._advance(place)

    def _advance(self, place: Partition) -> None:
        record = next(self._open[place], None)
        if record is not None:
            self._next[place] = record
