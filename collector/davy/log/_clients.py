"""The producer and consumer that adapters with one partition a topic give: the adapter keeps records and commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from davy.errors import LogError, LogReplaced
from davy.log.base import Assigned, Message, Position, Record, check_names


class Records(Protocol):
    """What an adapter gives to the two classes below."""

    url: str

    def append(self, messages: Sequence[Message], timeout: float) -> None:
        """Append messages: all of them or, when this raises, none."""

    def identity(self, topic: str) -> str:
        """The name of the log."""

    def start(self, topic: str) -> Position:
        """The oldest offset kept."""

    def end(self, topic: str) -> Position:
        """The offset after the newest record."""

    def fetch(self, offsets: Mapping[str, int], max_records: int, timeout: float) -> list[Record]:
        """Return the next records of topics from their offsets, in the order of the appends; wait for the first."""

    def backlog(self, offsets: Mapping[str, int]) -> int:
        """How many records topics hold from their offsets on."""

    def committed(self, group: str) -> Position:
        """What a group committed last."""

    def commit(self, group: str, position: Position) -> None:
        """Keep the position of a group."""


class LogProducer:
    """Appends messages; nothing is held back, so closing has nothing to wait for."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._closed = False

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        """Append in order; on return every message is durable."""
        if self._closed:
            raise LogError("producer", self._records.url, "is closed; open another one")
        check_names(messages)
        if messages:
            self._records.append(messages, timeout)

    def close(self, *, timeout: float = 5.0) -> None:
        """Release everything; calling it twice is harmless."""
        del timeout
        self._closed = True


class GroupConsumer:
    """Reads topics of one partition each; every consumer of a group is given all of them.

    Roles that may run twice take a lease in the store.
    """

    def __init__(
        self, records: Records, topics: Sequence[str], group: str, assigned: Assigned | None = None
    ) -> None:
        self._records = records
        self._group = group
        self._closed = False
        self._identities = {topic: records.identity(topic) for topic in topics}
        self._offsets = {topic: records.start(topic)[topic, 0] for topic in topics}
        stored = assigned([(topic, 0) for topic in self._offsets]) if assigned else {}
        self.seek({**records.committed(group), **stored})

    def poll(self, *, max_records: int = 500, timeout: float = 1.0) -> list[Record]:
        """Return the next records, at once when there are any, else after at most `timeout` seconds."""
        self._refuse_when_closed()
        records = self._records.fetch(self._offsets, max_records, timeout)
        for topic, identity in self._identities.items():
            if self._records.identity(topic) != identity:
                remedy = "another log took its place: a consumer opened now reads that one"
                raise LogReplaced("log", self._records.url, remedy)
        for record in records:
            self._offsets[record.topic] = record.offset + 1
        return records

    def position(self) -> Position:
        """The next offset of every partition this consumer holds."""
        return {(topic, 0): offset for topic, offset in self._offsets.items()}

    def seek(self, position: Position) -> None:
        """Go on reading from `position`, of the partitions held; outside what is kept means the oldest kept."""
        for (topic, partition), offset in position.items():
            if topic in self._offsets and partition == 0:
                start = self._records.start(topic)[topic, 0]
                kept = start <= offset <= self._records.end(topic)[topic, 0]
                self._offsets[topic] = offset if kept else start

    def commit(self, position: Position) -> None:
        """Commit to the log how far the group is."""
        self._refuse_when_closed()
        self._records.commit(self._group, position)

    def lag(self) -> int:
        """How many records stand between the position and the end, over all partitions held."""
        return self._records.backlog(self._offsets)

    def close(self) -> None:
        """Leave the group; calling it twice is harmless."""
        self._closed = True

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise LogError("consumer", self._group, "is closed; open another one")
