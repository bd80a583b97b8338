"""The consumer: a member of a group that starts where the caller's store says."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Final

from davy.errors import LogError, LogReplaced
from davy.log._kafka.address import KafkaAddress
from davy.log._kafka.library import NEWEST, OLDEST, Admin, Library
from davy.log.base import Assigned, Partition, Position, Record

_logger = logging.getLogger("davy.log")
_JOIN_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 30.0
"""After this time a topic that was made anew is noticed, under a role that reads it."""


class ClusterConsumer:
    """Reads the partitions that the group gives it.

    Others may join and leave: partitions come and go in `poll`, and in nothing else. What a role has done with the
    records of a poll is stored before its next poll, so a partition that goes needs nothing but to be forgotten.
    """

    def __init__(
        self,
        library: Library,
        admin: Admin,
        address: KafkaAddress,
        topics: Sequence[str],
        group: str,
        assigned: Assigned | None,
    ) -> None:
        self._admin = admin
        self._group = group
        self._assigned = assigned
        self._closed = False
        self._offsets: dict[Partition, int] = {}
        self._ends: dict[Partition, int] = {}
        self._topics = topics
        self._ids = self._look()
        self._member = library.member(address, topics, group, self._begin, self._forget)
        try:
            self._member.join(_JOIN_SECONDS)
        except BaseException:
            self._member.close()
            raise

    def poll(self, *, max_records: int = 500, timeout: float = 1.0) -> list[Record]:
        """Return the next records, at once when there are any, else after at most `timeout` seconds."""
        self._refuse_when_closed()
        if time.monotonic() >= self._look_at:
            self._refuse_another()
        records = self._poll(max_records, timeout)
        if not records and timeout <= 0 and self._behind():
            # Brokers were not given the time to answer; "at once" is what their answer takes.
            records = self._poll(max_records, _ANSWER_SECONDS)
        return records

    def position(self) -> Position:
        """The next offset of every partition this consumer holds."""
        return dict(self._offsets)

    def seek(self, position: Position) -> None:
        """Go on reading from `position`, of the partitions held; outside what is kept means the oldest kept."""
        kept = self._kept({place: offset for place, offset in position.items() if place in self._offsets})
        self._member.seek(kept)
        self._offsets |= kept

    def commit(self, position: Position) -> None:
        """Commit to the cluster how far the group is."""
        self._refuse_when_closed()
        held = {place: offset for place, offset in position.items() if place in self._offsets}
        if held:
            self._member.commit(held)

    def lag(self) -> int:
        """How many records stand between the position and the end, as the brokers' last answers told it."""
        return sum(max(0, self._end(place) - offset) for place, offset in self._offsets.items())

    def close(self) -> None:
        """Leave the group; calling it twice is harmless."""
        if not self._closed:
            self._closed = True
            self._member.close()

    def _poll(self, max_records: int, timeout: float) -> list[Record]:
        records = [
            record
            for record in self._member.poll(max_records, timeout)
            if (record.topic, record.partition) in self._offsets  # else it went in this very poll
        ]
        for record in records:
            self._offsets[record.topic, record.partition] = record.offset + 1
        return records

    def _begin(self, partitions: Sequence[Partition]) -> Position:
        stored = dict(self._assigned(partitions)) if self._assigned else {}
        unknown = [place for place in partitions if place not in stored]
        position = {**dict.fromkeys(partitions, -1), **self._member.committed(unknown), **stored}
        kept = self._kept({place: position[place] for place in partitions})
        self._offsets |= kept
        return kept

    def _forget(self, partitions: Iterable[Partition]) -> None:
        for place in partitions:
            self._offsets.pop(place, None)

    def _kept(self, position: Position) -> dict[Partition, int]:
        places = list(position)
        starts, ends = self._admin.offsets(places, OLDEST), self._admin.offsets(places, NEWEST)
        self._ends |= ends
        for place in places:
            if place not in starts or place not in ends:
                raise LogError("partition", "/".join(map(str, place)), "nobody leads it yet; tried again")
        return {
            place: offset if starts[place] <= offset <= ends[place] else starts[place]
            for place, offset in position.items()
        }

    def _look(self) -> dict[str, str]:
        """Return the ids of the topics; offsets of a topic that was made anew stand for other records."""
        self._look_at = time.monotonic() + _LOOK_SECONDS
        return {name: topic.id for name, topic in self._admin.topics(self._topics).items()}

    def _refuse_another(self) -> None:
        before = self._ids
        self._ids = {**before, **self._look()}
        for name, id in before.items():
            if self._ids[name] != id:
                _logger.warning(
                    "topic %s was deleted and made anew: the new one is read from its start", name
                )
                raise LogReplaced(
                    "topic", name, "was deleted and made anew: a consumer opened now reads the new"
                )

    def _behind(self) -> bool:
        self._ends |= self._admin.offsets(list(self._offsets), NEWEST)
        return self.lag() > 0

    def _end(self, place: Partition) -> int:
        return max(self._ends[place], self._member.end(place))

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise LogError("consumer", self._group, "is closed; open another one")
