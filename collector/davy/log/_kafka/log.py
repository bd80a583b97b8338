"""The log over one cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from davy.config import Settings
from davy.log._kafka.address import KafkaAddress
from davy.log._kafka.consumer import ClusterConsumer
from davy.log._kafka.library import NEWEST, OLDEST, Admin, Library, Reader
from davy.log._kafka.producer import ClusterProducer
from davy.log._kafka.retention import beyond, older_than, stretches
from davy.log._kafka.topics import Finding, ensure, look_over
from davy.log.base import Assigned, Consumer, Extent, Partition, Position, Producer, Record, Waiting


class ClusterLog:
    """A log on a Kafka cluster; opening it connects to nothing.

    Clients are opened when they are needed, kept for later, and never used on the other side of a fork.
    """

    exclusive = True
    erases = False

    def __init__(self, library: Library, url: str, settings: Settings | None = None) -> None:
        self._library = library
        self._address = KafkaAddress.parse(url, settings or Settings())
        self.url = self._address.shown
        self._patience = self._address.settings.answer_seconds
        self._admins: dict[int, Admin] = {}
        self._readers: dict[int, list[Reader]] = {}

    def producer(self) -> Producer:
        """Open a producer; may be used by one thread at a time."""
        return ClusterProducer(self._library, self._address)

    def consumer(self, topics: Sequence[str], group: str, *, assigned: Assigned | None = None) -> Consumer:
        """Open a consumer in `group`; topics that are missing are made."""
        ensure(self._admin(), self._address, topics, time.monotonic() + self._patience)
        return ClusterConsumer(self._library, self._admin(), self._address, topics, group, assigned)

    def identity(self, topic: str) -> str:
        """Return the id of a topic, which is another after it was deleted and made again."""
        found = self._admin().topics([topic]).get(topic)
        return "" if found is None else found.id

    def start(self, topic: str) -> Position:
        """The oldest offset kept, by partition; nothing of a topic that is not there."""
        return self._admin().offsets(self._partitions([topic]), OLDEST)

    def end(self, topic: str) -> Position:
        """The offset after the newest record, by partition; nothing of a topic that is not there."""
        return self._admin().offsets(self._partitions([topic]), NEWEST)

    def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> Iterator[Record]:
        """Return the records with ``start <= offset < stop``, outside any group, in order."""
        place = (topic, partition)
        if place not in self._partitions([topic]):
            return
        end = self._admin().offsets([place], NEWEST)[place]
        stop = end if stop is None else min(stop, end)
        if start < stop:
            with self._reader() as reader:
                yield from reader.read(place, start, stop)

    def waiting(self, position: Position) -> Waiting:
        """Return what stands from `position` on; reads the first record of each partition that has any."""
        places = [
            place for place in self._partitions(sorted({topic for topic, _ in position})) if place in position
        ]
        ends = self._admin().offsets(places, NEWEST)
        behind = {place: end - position[place] for place, end in ends.items() if end > position[place]}
        if not behind:
            return Waiting()
        with self._reader() as reader:
            first = [next(iter(reader.read(place, position[place], ends[place])), None) for place in behind]
        return Waiting(sum(behind.values()), min((one.at for one in first if one is not None), default=None))

    def probe(self, timeout: float) -> str:
        """Ask the leaders of all partitions for their ends; that they store is shown by what is sent, not by this."""
        del timeout  # each request is over after `kafka.answer_seconds`
        places = self._partitions(None)
        self._admin().offsets(places, NEWEST)
        return f"the leaders of {len(places)} partitions answered"

    def damage(self, seconds: float) -> str:
        """Brokers look over their files themselves."""
        del seconds
        return ""

    def extent(self, since: int) -> Extent:
        """Estimate from records of every partition how much it holds, and how much was appended since a time."""
        places = self._partitions(None)
        starts, ends = self._admin().offsets(places, OLDEST), self._admin().offsets(places, NEWEST)
        with self._reader() as reader:
            found = stretches(reader, starts, ends)
        young = [(at, size) for at, _, _, size in found if at >= since]
        held = sum(size for *_, size in found)
        return Extent(held, sum(size for _, size in young), min((at for at, _ in young), default=None))

    def shrink(self, *, everything: bool = False, rewrite: bool = False) -> int:
        """Brokers delete their files themselves."""
        del everything, rewrite
        return 0

    def retain(
        self, *, before: int | None = None, max_bytes: int | None = None, dry_run: bool = False
    ) -> int:
        """Delete the oldest records by age, and by an estimate of size (see docs/kafka.md); return their number."""
        admin = self._admin()
        places = self._partitions(None)
        starts, ends = admin.offsets(places, OLDEST), admin.offsets(places, NEWEST)
        cut = dict(starts) if before is None else older_than(admin, starts, ends, before)
        if max_bytes is not None:
            with self._reader() as reader:
                cut = beyond(reader, cut, ends, max_bytes)
        gone = {place: offset for place, offset in cut.items() if offset > starts[place]}
        if gone and not dry_run:
            admin.delete(gone)
        return sum(offset - starts[place] for place, offset in gone.items())

    def erase(self, topic: str, partition: int, values: Mapping[int, bytes]) -> None:
        """Change nothing: a broker's records stay as they are until retention removes them."""

    def look_over(self) -> list[Finding]:
        """Say what is wrong with the topics and what to do."""
        return list(look_over(self._admin(), self._address))

    def close(self) -> None:
        """Release everything; calling it twice is harmless."""
        process = os.getpid()
        for client in (*self._readers.pop(process, ()), *filter(None, [self._admins.pop(process, None)])):
            client.close()

    def _admin(self) -> Admin:
        process = os.getpid()
        if process not in self._admins:
            opened = self._library.admin(self._address, self._patience)
            if self._admins.setdefault(process, opened) is not opened:  # another thread was faster
                opened.close()
        return self._admins[process]

    @contextmanager
    def _reader(self) -> Iterator[Reader]:
        idle = self._readers.setdefault(os.getpid(), [])
        reader = idle.pop() if idle else self._library.reader(self._address)
        try:
            yield reader
        finally:
            idle.append(reader)

    def _partitions(self, topics: Sequence[str] | None) -> list[Partition]:
        found = self._admin().topics(topics)
        return [(name, number) for name, topic in found.items() for number in range(topic.partitions)]
