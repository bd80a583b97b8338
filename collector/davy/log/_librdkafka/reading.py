"""Reading by confluent-kafka: as a member of a group, and outside any."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from davy.log._kafka.address import KafkaAddress
from davy.log._kafka.library import FETCH_WAIT_MS, SESSION_SECONDS, Begin, Forget, left
from davy.log._librdkafka.client import ANSWER_SECONDS, Holder, partition_of, place_of
from davy.log.base import Partition, Position, Record

_SLICE_SECONDS: Final = 0.2
_PAGE: Final = 64
_CHANGING: Final = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError._ASSIGNMENT_LOST,
    KafkaError._STATE,
    KafkaError._TIMED_OUT,
    KafkaError._WAIT_COORD,
    KafkaError._TRANSPORT,
}
_logger = logging.getLogger("davy.log.librdkafka")


class Member(Holder[Consumer]):
    """See `davy.log._kafka.library.Member`."""

    def __init__(
        self, address: KafkaAddress, topics: Sequence[str], group: str, begin: Begin, forget: Forget
    ) -> None:
        self._begin, self._forget = begin, forget
        self._joined = False
        self._early: list[Record] = []
        self._broken: Exception | None = None
        config = {
            **_reading(address, group),
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": int(SESSION_SECONDS * 1000),
        }
        super().__init__(address, Consumer, config)
        with self._asking():
            self._held.subscribe(
                [address.topic(name) for name in topics],
                on_assign=self._assign,
                on_revoke=self._revoke,
                on_lost=self._revoke,
            )

    def join(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._joined and left(deadline):
            self._early += self._poll(1, min(left(deadline), _SLICE_SECONDS))
        self._raise_when_broken()

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        self._raise_when_broken()
        found, self._early = self._early or self._poll(max_records, timeout), []
        self._raise_when_broken()
        return found

    def seek(self, position: Position) -> None:
        self._early = []
        places = [place_of(self._address, one, offset) for one, offset in position.items()]
        with self._asking():
            # `Consumer.seek` is refused until the first fetch of a partition.
            self._held.incremental_unassign(places)
            self._held.incremental_assign(places)

    def commit(self, position: Position) -> None:
        told = [place_of(self._address, one, offset) for one, offset in position.items()]
        with self._asking():
            try:
                self._held.commit(offsets=told, asynchronous=False)
            except KafkaException as error:
                if error.args[0].code() not in _CHANGING:
                    raise
                _logger.debug("a commit is left out: %s", error)

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        if not partitions:
            return {}
        asked = [place_of(self._address, one) for one in partitions]
        with self._asking():
            found = self._held.committed(asked, timeout=ANSWER_SECONDS)
        return {partition_of(self._address, one): one.offset for one in found if one.offset >= 0}

    def end(self, partition: Partition) -> int:
        with self._asking():
            _, end = self._held.get_watermark_offsets(place_of(self._address, partition), cached=True)
        return max(0, int(end))

    def close(self) -> None:
        self._held.close()

    def _poll(self, max_records: int, timeout: float) -> list[Record]:
        """Wait for one record and take those that are there with it: `consume` alone would wait for all it may give."""
        with self._asking():
            first = self._held.poll(timeout)
            if first is None:
                return []
            more = self._held.consume(max_records - 1, timeout=0) if max_records > 1 else []
        return self._records([first, *more])

    def _assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._joined = True
        partitions = [partition_of(self._address, one) for one in places]
        try:
            position = self._begin(partitions)
        except Exception as error:  # noqa: BLE001 - raised in `poll`: the library would go on without it
            self._broken = error
            consumer.incremental_assign(places)
            consumer.pause(places)
            return
        consumer.incremental_assign([place_of(self._address, one, position[one]) for one in partitions])

    def _revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._forget([partition_of(self._address, one) for one in places])
        consumer.incremental_unassign(places)

    def _raise_when_broken(self) -> None:
        if self._broken is not None:
            raise self._broken


class Reader(Holder[Consumer]):
    """See `davy.log._kafka.library.Reader`."""

    def __init__(self, address: KafkaAddress) -> None:
        # It joins no group; the library wants the name of one. An answer that waits for records would hold up the
        # next read.
        config = {**_reading(address, "reader"), "enable.partition.eof": True, "fetch.wait.max.ms": 5}
        super().__init__(address, Consumer, config)

    def read(self, partition: Partition, start: int, stop: int) -> Iterator[Record]:
        with self._asking():
            self._held.assign([place_of(self._address, partition, start)])
        try:
            yield from self._read(partition[0], stop)
        finally:
            self._held.unassign()

    def _read(self, topic: str, stop: int) -> Iterator[Record]:
        while True:
            with self._asking():
                first = self._held.poll(ANSWER_SECONDS)
                more = self._held.consume(_PAGE, timeout=0)
            if first is None:
                raise self._failure(KafkaError(KafkaError._TIMED_OUT, f"no record of {topic} in time"))
            for one in self._records([first, *more]):
                if one.offset >= stop:
                    return
                yield one
                if one.offset == stop - 1:
                    return
            if _at_end([first, *more]):
                return

    def close(self) -> None:
        self._held.close()


def _reading(address: KafkaAddress, group: str) -> dict[str, Any]:
    return {
        "group.id": address.group(group),
        "allow.auto.create.topics": False,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "fetch.message.max.bytes": 4 * 2**20,
        "fetch.wait.max.ms": FETCH_WAIT_MS,
        "fetch.max.bytes": 16 * 2**20,
        "queued.max.messages.kbytes": 16 * 1024,
        "fetch.queue.backoff.ms": 10,  # how long it rests when it has that much
    }


def _at_end(found: Iterable[Any]) -> bool:
    return any(one.error() and one.error().code() == KafkaError._PARTITION_EOF for one in found)
