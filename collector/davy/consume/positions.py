"""How far a role has handled each partition, of every log that it has read.

An offset says nothing without the log it belongs to: a log that was moved away or made anew begins again at small
offsets. So a position is kept with the identity of its log, and a log that comes back goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from davy import metrics
from davy.log import Partition, Position
from davy.runtime import Runtime
from davy.store import Batch, Collection, Store, plain

_LOGS: Final = 8
"""So many logs are remembered, those read last."""
_logger = logging.getLogger("davy.consume")


@dataclass(frozen=True, slots=True)
class StoredPosition:
    """Where a role is in a partition: the next offset in the log it read last, and the name of that log.

    `log` is empty where the state was written before logs had names, or the log gives none.
    """

    offset: int
    log: str


def _read(found: Any) -> list[StoredPosition]:
    if isinstance(found, int):  # written before logs had names
        return [StoredPosition(found, "")]
    return [StoredPosition(offset, log) for log, offset in found]


POSITIONS: Final[Collection[Sequence[StoredPosition]]] = plain(
    "positions",
    list,
    writer="every role",
    write=lambda places: [[one.log, one.offset] for one in places],
    read=_read,
)
"""Where a role is in a partition, of every log that is remembered, by keys that `_key` makes."""


def stored_positions(store: Store) -> dict[str, StoredPosition]:
    """Return where every role is, by ``role/topic/partition``."""
    return {key: places[0] for key, places in POSITIONS.items(store)}


def stored_position(store: Store, role: str, place: Partition) -> StoredPosition | None:
    """Return where a role is in a partition, None when it never handled any of it."""
    stored = POSITIONS.get(store, _key(role, place))
    return None if stored is None else stored[0]


def stored_places(store: Store) -> dict[tuple[str, Partition], list[StoredPosition]]:
    """Return where every role is in each partition, of every log that is remembered, that read last first."""
    found = {}
    for key, places in POSITIONS.items(store):
        role, topic, partition = key.rsplit("/", 2)
        found[role, (topic, int(partition))] = list(places)
    return found


def offset_in(log: str, places: Sequence[StoredPosition]) -> int:
    """Return the next offset to handle in the log of this name, 0 when it was never read.

    Examples
    --------
    >>> offset_in("b", [StoredPosition(7, "a"), StoredPosition(3, "b")]), offset_in("c", [StoredPosition(7, "a")])
    (3, 0)
    """
    return next((one.offset for one in places if one.log in {"", log}), 0)


def stored_offset(store: Store, role: str, place: Partition, log: str) -> int:
    """Return the next offset a role has to handle in a partition of the log of this name, 0 when it read none."""
    return offset_in(log, POSITIONS.get(store, _key(role, place)) or [])


class Positions:
    """Where a role goes on.

    Parameters
    ----------
    runtime
        Log, store and meter.
    role
        Which one.
    """

    def __init__(self, runtime: Runtime, role: str) -> None:
        self._runtime = runtime
        self._role = role
        self._logs: dict[str, str] = {}
        self._others: dict[Partition, list[StoredPosition]] = {}

    def begin(self, places: Sequence[Partition]) -> Position:
        """Return where to go on in each of `places`: where this log was left, else at its start.

        What the log itself remembers of the group is left alone: without a position in the store there is no state that
        would go with it.
        """
        self._logs |= {topic: self._runtime.log.identity(topic) for topic in {topic for topic, _ in places}}
        return {place: self._next(place) for place in places}

    def put(self, position: Position, batch: Batch) -> None:
        """Add positions in the present log to a transaction."""
        for place, offset in position.items():
            kept = [StoredPosition(offset, self._logs.get(place[0], "")), *self._others.get(place, ())]
            POSITIONS.put(batch, _key(self._role, place), kept)

    def _next(self, place: Partition) -> int:
        known, log = POSITIONS.get(self._runtime.store, _key(self._role, place)) or [], self._logs[place[0]]
        self._others[place] = [one for one in known if one.log not in {"", log}][: _LOGS - 1]
        mine = [one.offset for one in known if one.log == log] or [one.offset for one in known if not one.log]
        start = self._runtime.log.start(place[0]).get(place, 0)
        end = self._runtime.log.end(place[0]).get(place, 0)
        if mine and mine[0] <= end:
            return max(mine[0], start)
        if known:
            self._say_anew(place)
        return start

    def _say_anew(self, place: Partition) -> None:
        self._runtime.meter.add(metrics.LOG_REPLACED, role=self._role)
        where = f"{place[0]}/{place[1]} of {self._runtime.log.url}"
        _logger.warning("%s: %s is another log than it read before; begins at its start", self._role, where)


def _key(role: str, place: Partition) -> str:
    return f"{role}/{place[0]}/{place[1]}"
