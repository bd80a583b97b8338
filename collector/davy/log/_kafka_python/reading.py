"""Reading by kafka-python: as a member of a group, and outside any."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import kafka
from kafka import OffsetAndMetadata
from kafka import errors as kafka_errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import MemberState

from davy.log._kafka.address import KafkaAddress
from davy.log._kafka.library import FETCH_WAIT_MS, SESSION_SECONDS, Begin, Forget, failure, left
from davy.log._kafka_python.client import (
    METADATA_MS,
    UNKNOWN,
    explained,
    open_client,
    partition_of,
    place_of,
    record_of,
)
from davy.log.base import Partition, Position, Record

_ANSWER_MS: Final = 10_000
_COMMIT_MS: Final = 2_000
_LEAVE_MS: Final = 5_000
_FETCH_BYTES: Final = 16 * 2**20
_PARTITION_FETCH_BYTES: Final = 4 * 2**20
_SLICE_SECONDS: Final = 0.2
"""Longest wait of the library in one go: between two, partitions that came are taken over."""
_JOIN_SLICE_SECONDS: Final = 0.05
_CHANGING: Final = (
    kafka_errors.RebalanceInProgressError,
    kafka_errors.CommitFailedError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.UnknownMemberIdError,
    kafka_errors.RetriableError,
)
_logger = logging.getLogger("davy.log.kafka")


class Member:
    """See `davy.log._kafka.library.Member`."""

    def __init__(
        self, address: KafkaAddress, topics: Sequence[str], group: str, begin: Begin, forget: Forget
    ) -> None:
        self._address = address
        self._begin = begin
        self._new: set[Any] = set()
        self._consumer = _open_consumer(
            address,
            group_id=address.group(group),
            partition_assignment_strategy=[CooperativeStickyAssignor],
            session_timeout_ms=int(SESSION_SECONDS * 1000),
        )
        listener = _Listener(
            self._consumer, self._new, lambda gone: forget([partition_of(address, one) for one in gone])
        )
        self._consumer.subscribe([address.topic(name) for name in topics], listener=listener)

    def join(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        with explained(self._address):
            # A member that joins before it knows the partitions makes the group start over.
            self._consumer.bootstrap(timeout_ms=int(timeout * 1000), refresh=True)
        while self._consumer.group_metadata().state != MemberState.STABLE and left(deadline):
            self._poll(1, min(left(deadline), _JOIN_SLICE_SECONDS))
        self._take_over()

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        deadline = time.monotonic() + timeout
        while True:
            self._take_over()
            found = self._poll(max_records, min(left(deadline), _SLICE_SECONDS))
            if found or not left(deadline):
                return found

    def seek(self, position: Position) -> None:
        for partition, offset in position.items():
            with suppress(ValueError):  # it went meanwhile
                self._consumer.seek(place_of(self._address, partition), offset)

    def commit(self, position: Position) -> None:
        told = {
            place_of(self._address, one): OffsetAndMetadata(offset, "", -1)
            for one, offset in position.items()
        }
        with explained(self._address):
            try:
                self._consumer.commit(told, timeout_ms=_COMMIT_MS)
            except _CHANGING as error:
                _logger.debug("a commit is left out: %s", error)

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        with explained(self._address):
            found = {
                one: self._consumer.committed(place_of(self._address, one), timeout_ms=_ANSWER_MS)
                for one in partitions
            }
        return {one: offset for one, offset in found.items() if offset is not None}

    def end(self, partition: Partition) -> int:
        place = place_of(self._address, partition)
        return (self._consumer.highwater(place) or 0) if place in self._consumer.assignment() else 0

    def close(self) -> None:
        self._consumer.close(autocommit=False, timeout_ms=_LEAVE_MS)

    def _poll(self, max_records: int, timeout: float) -> list[Record]:
        with explained(self._address):
            found = self._consumer.poll(timeout_ms=timeout * 1000, max_records=max_records)
        return [record_of(self._address, one) for records in found.values() for one in records]

    def _take_over(self) -> None:
        if not self._new:
            return
        new = sorted(self._new)
        position = self._begin([partition_of(self._address, one) for one in new])
        self.seek(position)
        self._consumer.resume(*new)
        self._new.difference_update(new)


class Reader:
    """See `davy.log._kafka.library.Reader`."""

    def __init__(self, address: KafkaAddress) -> None:
        self._address = address
        self._consumer = _open_consumer(address)

    def read(self, partition: Partition, start: int, stop: int) -> Iterator[Record]:
        place = place_of(self._address, partition)
        self._consumer.assign([place])
        self._consumer.seek(place, start)
        while start < stop:
            with explained(self._address):
                found = self._consumer.poll(timeout_ms=_ANSWER_MS).get(place, [])
                reached = self._consumer.position(place, timeout_ms=_ANSWER_MS)
            if not found and (reached is None or reached <= start):
                raise failure(self._address, UNKNOWN, f"no record of {place.topic} in time")
            for one in found:
                if one.offset >= stop:
                    return
                yield record_of(self._address, one)
            start = reached

    def close(self) -> None:
        self._consumer.close(autocommit=False)


class _Listener(kafka.ConsumerRebalanceListener):  # type: ignore[misc]
    """Told of partitions on a thread of the library's: those that came are held still until the next poll."""

    def __init__(self, consumer: Any, new: set[Any], forget: Callable[[Iterable[Any]], None]) -> None:
        self._consumer, self._new, self._forget = consumer, new, forget

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self._consumer.pause(*assigned)
        self._new.update(assigned)

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        self._new.difference_update(revoked)
        self._forget(revoked)

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        self.on_partitions_revoked(lost)


def _open_consumer(address: KafkaAddress, **config: Any) -> Any:
    return open_client(
        kafka.KafkaConsumer,
        address,
        _ANSWER_MS / 1000,
        allow_auto_create_topics=False,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_bytes=_FETCH_BYTES,
        fetch_max_wait_ms=FETCH_WAIT_MS,
        max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
        metadata_max_age_ms=METADATA_MS,
        **config,
    )
