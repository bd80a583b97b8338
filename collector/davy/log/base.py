"""The port of the log: append-only topics, read in order by groups.

A log has one writer verb, two reader verbs and no delete but retention and, where the medium allows it, erasing.
Offsets grow within a partition and are never reused, also after retention emptied it. Order holds within a partition,
and so within a key; over partitions and topics there is none. Adapters: memory and SQLite, which have one partition a
topic, and Kafka.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from davy.errors import Refused

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


@dataclass(frozen=True, slots=True)
class Waiting:
    """What stands behind a position: how many records, and when the oldest was appended (ns since the epoch)."""

    records: int = 0
    since: int | None = None


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a log holds, and how fast it grows.

    Attributes
    ----------
    held, grown
        Bytes of the values it holds, and of those appended since a time; an estimate where a log does not know sizes.
    since
        When the first record that `grown` counts was appended, in nanoseconds since the epoch; None without any.
    disk, used, free
        Bytes of its files, and how many of these are in use, and free for what comes; 0 where Davy cannot look at them.
    shrinks
        Whether files can give back what is free.
    """

    held: int
    grown: int
    since: int | None
    disk: int = 0
    used: int = 0
    free: int = 0
    shrinks: bool = True


def check_names(messages: Sequence[Message]) -> None:
    """Refuse messages that some log cannot write down: a topic, key or header name that UTF-8 or C cannot hold.

    Raises
    ------
    Refused
        Names what is wrong.
    """
    for message in messages:
        try:
            f"{message.topic}{message.key}{''.join(message.headers)}".encode()
        except UnicodeEncodeError as error:
            remedy = "give topic, key and headers names that UTF-8 can hold"
            raise Refused("key", message.key, remedy) from error
        if any("\0" in name for name in message.headers):
            raise Refused("headers", sorted(message.headers), "give names without a zero byte")


class Producer(Protocol):
    """Appends messages."""

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        """Append in order; on return every message is durable.

        Raises
        ------
        Refused
            The log will never take one of the messages; others may be stored.
        LogError
            Refused or not confirmed within `timeout` seconds. Appending the same messages again may then store
            them twice; readers drop duplicates by id.
        """

    def close(self, *, timeout: float = 5.0) -> None:
        """Release everything; calling it twice is harmless."""


class Consumer(Protocol):
    """Reads the partitions it is given, in order."""

    def poll(self, *, max_records: int = 500, timeout: float = 1.0) -> list[Record]:
        """Return the next records, at once when there are any, else after at most `timeout` seconds.

        Raises
        ------
        LogError
            The log cannot be read, or another took its place: open another consumer.
        """

    def position(self) -> Position:
        """The next offset of every partition this consumer holds."""

    def seek(self, position: Position) -> None:
        """Go on reading from `position`.

        An offset that retention removed means the oldest one kept. So does one beyond the end: then the position
        is of another log, and reading twice is better than waiting for offsets that stand for other records.
        """

    def commit(self, position: Position) -> None:
        """Commit to the log how far the group is: a hint for a group that lost its stored position."""

    def lag(self) -> int:
        """How many records stand between the position and the end, over all partitions held, as of the last poll."""

    def close(self) -> None:
        """Leave the group; calling it twice is harmless."""


Assigned: TypeAlias = Callable[[Sequence[Partition]], Position]
"""Called with partitions just given to a consumer; returns the stored position, empty where there is none.

It is called by the thread that opens or polls the consumer, before the first record of these partitions.
"""


class Log(Protocol):
    """One log, by URL; `url` is without its password.

    `exclusive` says whether a partition is given to one consumer of a group at a time; else each is given all. `erases`
    says whether it can change what it holds; else retention removes it in time.
    """

    url: str
    exclusive: bool
    erases: bool

    def producer(self) -> Producer:
        """Open a producer; may be used by one thread at a time."""

    def consumer(self, topics: Sequence[str], group: str, *, assigned: Assigned | None = None) -> Consumer:
        """Open a consumer in `group`.

        It starts at what `assigned` returns, else at the group's last commit, else at the oldest record kept.
        """

    def identity(self, topic: str) -> str:
        """Return the name of this log, for a topic: random, and another once the log, or the topic, was made anew.

        Offsets stand for the same records as long as it is the same; a position is kept together with it. Empty where
        the log has not heard of the topic, or has no such name.
        """

    def start(self, topic: str) -> Position:
        """The oldest offset kept, by partition; empty where the log has not heard of the topic."""

    def end(self, topic: str) -> Position:
        """The offset after the newest record, by partition; empty where the log has not heard of the topic."""

    def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> Iterator[Record]:
        """Return the records with ``start <= offset < stop``, outside any group, in order."""

    def waiting(self, position: Position) -> Waiting:
        """Return what stands from `position` on, over its partitions, outside any group."""

    def probe(self, timeout: float) -> str:
        """Make sure that the log answers, within about `timeout` seconds; return what that proves.

        Raises
        ------
        LogError
            It does not.
        """

    def damage(self, seconds: float) -> str | None:
        """Look over what the log lies on, for at most about `seconds`.

        Returns
        -------
        str or None
            What is damaged, empty when nothing is or the log cannot know; None when the time was not enough.
        """

    def extent(self, since: int) -> Extent:
        """Return how much it holds, and how much of it was appended since a time, nanoseconds since the epoch."""

    def shrink(self, *, everything: bool = False, rewrite: bool = False) -> int:
        """Hand room of the files that is free back to the disk; return how many bytes it got.

        Some stays for what comes, unless `everything` goes. What an older version made and what has to be written anew
        before it can shrink is, if `rewrite`, whatever its size: writers wait meanwhile.
        """

    def retain(
        self, *, before: int | None = None, max_bytes: int | None = None, dry_run: bool = False
    ) -> int:
        """Delete the oldest records and give their number; if `dry_run`, only their number.

        Parameters
        ----------
        before
            Records appended before this time (nanoseconds since the epoch) go.
        max_bytes
            The oldest go until the values of those kept, over all topics, have at most this many bytes; a log that
            does not know sizes estimates them.
        """

    def erase(self, topic: str, partition: int, values: Mapping[int, bytes]) -> None:
        """Replace the values of records, by offset, such that the old bytes are gone from the medium, if it `erases`.

        Everything else of a record stays, and so does the order. A record of which nothing is left gets an empty value;
        readers pass over it. An offset that is not kept is passed over too. Without values it only makes sure that
        nothing of what was replaced before is left.

        Raises
        ------
        LogError
            The log refused, or old bytes are still on the medium; doing it again is harmless.
        """

    def close(self) -> None:
        """Release everything; calling it twice is harmless."""
