"""What a client library must give, and what its errors mean.

Topics are called by Davy's names here; a library's side puts the prefix on and takes it off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from davy.errors import LogError, Refused
from davy.log._kafka.address import KafkaAddress
from davy.log.base import Message, Partition, Position, Record

OLDEST: Final = -2
NEWEST: Final = -1
"""Instead of a time: before the oldest record kept, after the newest one."""
SESSION_SECONDS: Final = 10.0
"""After this time the group gives the partitions of a dead member to others: as long as a role's lease."""
FETCH_WAIT_MS: Final = 100
"""Longest wait of a broker for new records. Partitions whose records ran out meanwhile are asked for after it."""
TOO_LARGE: Final = 10
"""Code of Kafka's protocol, as in `failure`."""

Begin: TypeAlias = Callable[[Sequence[Partition]], Position]
Forget: TypeAlias = Callable[[Iterable[Partition]], None]

_REMEDIES: Final[Mapping[int, str]] = {
    3: "the topic is not there; `davy doctor` says what is missing",
    19: "too few brokers hold the topic to store it safely; send it again when they are back",
    20: "too few brokers hold the topic to store it safely; send it again when they are back",
    29: "the user may not use the topic: allow it to describe, read and write",
    30: "the user may not use the group: allow it to read",
    31: "the user may not create topics: create them, or allow it to",
    33: "the brokers do not know this mechanism: set DAVY_KAFKA_MECHANISM",
    38: "the cluster has fewer brokers than that: lower DAVY_KAFKA_REPLICATION",
    40: "the cluster does not take such a topic: create it by hand",
    44: "the cluster's rules forbid it: create the topic by hand, see docs/kafka.md",
    58: "user or password is wrong",
}


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is: its partitions, the copies of the one that has fewest, and the id it got when it was made.

    Clusters older than Kafka 2.8 give no id.
    """

    partitions: int
    replication: int
    id: str


class Admin(Protocol):
    """Asks and changes what a cluster has; used by several threads."""

    def brokers(self) -> int:
        """How many brokers the cluster has."""

    def topics(self, names: Sequence[str] | None = None) -> dict[str, Topic]:
        """Return the topics of these names that are there, or all of Davy's; a topic is there when it has leaders."""

    def settings_of(self, names: Sequence[str]) -> dict[str, Mapping[str, str]]:
        """Return the settings in force of topics that are there."""

    def create(self, names: Sequence[str], partitions: int, copies: int, settings: Mapping[str, str]) -> None:
        """Create topics, `copies` -1 as the cluster likes; those that are there already are left alone."""

    def offsets(self, partitions: Sequence[Partition], at: int) -> dict[Partition, int]:
        """Return the first offset of a time in milliseconds or later, if any, or that of `OLDEST` or `NEWEST`."""

    def delete(self, before: Mapping[Partition, int]) -> None:
        """Delete the records before an offset."""

    def close(self) -> None:
        """Release everything."""


class Sender(Protocol):
    """Stores messages; used by one thread."""

    def send(self, messages: Sequence[Message], deadline: float) -> None:
        """Store messages, all of them under way at once; on return they are durable. `deadline` is monotonic."""

    def close(self, timeout: float) -> None:
        """Release everything, also what was not confirmed."""


class Member(Protocol):
    """A member of a group; used by one thread, which is also the one `begin` is called on."""

    def join(self, timeout: float) -> None:
        """Become a member; at `timeout` give up waiting, and become one in a later poll."""

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        """Return the next records, as soon as there are any."""

    def seek(self, position: Position) -> None:
        """Go on from there."""

    def commit(self, position: Position) -> None:
        """Keep the position; left out when the group is changing."""

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return what the group committed last, where it did."""

    def end(self, partition: Partition) -> int:
        """Return the end of a partition as the brokers' last answer told it, 0 before the first."""

    def close(self) -> None:
        """Leave the group."""


class Reader(Protocol):
    """Reads outside any group; used by one thread at a time."""

    def read(self, partition: Partition, start: int, stop: int) -> Iterator[Record]:
        """Return the records with ``start <= offset < stop``, or from the oldest one kept."""

    def close(self) -> None:
        """Release everything."""


@dataclass(frozen=True, slots=True)
class Library:
    """Opens what a client library gives. Opening asks the brokers, and is over after the seconds it is told, if any.

    Each request of an admin is over after these seconds too. A member asks `Begin` where to start in partitions it is
    given, and tells `Forget` of those it lost.
    """

    admin: Callable[[KafkaAddress, float], Admin]
    sender: Callable[[KafkaAddress, float], Sender]
    member: Callable[[KafkaAddress, Sequence[str], str, Begin, Forget], Member]
    reader: Callable[[KafkaAddress], Reader]


def failure(address: KafkaAddress, code: int, text: str) -> LogError:
    """Return the error for what a library reports: `code` as in Kafka's protocol, else anything, and its own words."""
    if code == TOO_LARGE:
        remedy = "is larger than the topic's max.message.bytes: raise that, or lower DAVY_KAFKA_MESSAGE_BYTES"
        return Refused("message", address.shown, remedy)
    said = " ".join(text.split())[:200]
    login = ", and user and password right" if address.settings.user else ""
    default = f"failed; are the brokers up and within reach{login}? ({said})"
    return LogError("log", address.shown, f"{_REMEDIES[code]} ({said})" if code in _REMEDIES else default)


def left(deadline: float) -> float:
    """Return the seconds until a monotonic time, none when it has passed."""
    return max(0.0, deadline - time.monotonic())
