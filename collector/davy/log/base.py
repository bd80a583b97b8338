"""The port of the log: append-only topics, read in order by groups.

A log has one writer verb, two reader verbs and no delete but retention. Offsets grow within a partition and
are never reused, also after retention emptied it. Adapters: memory and SQLite here, Kafka behind its URL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

Partition: TypeAlias = tuple[str, int]
Position: TypeAlias = Mapping[Partition, int]
"""The next offset to read, by topic and partition."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a producer appends: `key` decides the partition, so one model's order holds."""

    topic: str
    key: str
    value: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """What a consumer reads. `at` is the time of the append, nanoseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    headers: Mapping[str, str]
    at: int


class Producer(Protocol):
    """Appends messages."""

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        """Append in order; on return every message is durable.

        Raises
        ------
        LogError
            Refused or not confirmed within `timeout` seconds. Appending the same messages again may then store
            them twice; readers drop duplicates by id.
        """

    def close(self, *, timeout: float = 5.0) -> None:
        """Let go of everything; calling it twice is harmless."""


class Consumer(Protocol):
    """Reads the partitions it is given, in order."""

    def poll(self, *, max_records: int = 500, timeout: float = 1.0) -> list[Record]:
        """Give the next records, at once when there are any, else after at most `timeout` seconds."""

    def position(self) -> Position:
        """The next offset of every partition this consumer holds."""

    def seek(self, position: Position) -> None:
        """Go on reading from `position`.

        An offset that retention removed means the oldest one kept. So does one beyond the end: then the position
        is of another log, and reading twice is better than waiting for offsets that stand for other records.
        """

    def commit(self, position: Position) -> None:
        """Tell the log how far the group is: a hint for a group that lost its stored position."""

    def lag(self) -> int:
        """How many records stand between the position and the end, over all partitions held."""

    def close(self) -> None:
        """Leave the group; calling it twice is harmless."""


Assigned: TypeAlias = Callable[[Sequence[Partition]], Position]
"""Called with partitions just given to a consumer; returns the stored position, empty where there is none."""


class Log(Protocol):
    """One log, by URL.

    `exclusive` says whether a partition is given to one consumer of a group at a time; else each is given all.
    """

    url: str
    exclusive: bool

    def producer(self) -> Producer:
        """Open a producer; may be used by one thread at a time."""

    def consumer(self, topics: Sequence[str], group: str, *, assigned: Assigned | None = None) -> Consumer:
        """Open a consumer in `group`.

        It starts at what `assigned` returns, else at the group's last commit, else at the oldest record kept.
        """

    def start(self, topic: str) -> Position:
        """The oldest offset kept, by partition."""

    def end(self, topic: str) -> Position:
        """The offset after the newest record, by partition."""

    def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> Iterator[Record]:
        """Give the records with ``start <= offset < stop``, outside any group, in order."""

    def retain(self, *, before: int | None = None, max_bytes: int | None = None) -> int:
        """Delete the oldest records and give their number.

        Parameters
        ----------
        before
            Records appended before this time (nanoseconds since the epoch) go.
        max_bytes
            The oldest go until the values of those kept, over all topics, have at most this many bytes.
        """

    def close(self) -> None:
        """Let go of everything; calling it twice is harmless."""
