"""Topics, offsets and deletion by confluent-kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from davy.log._kafka.address import KafkaAddress
from davy.log._kafka.library import NEWEST, OLDEST, Topic, left
from davy.log._librdkafka.client import Holder, partition_of, place_of
from davy.log.base import Partition

_LOOK_AGAIN_SECONDS: Final = 0.05
_LEADER_CHANGES: Final = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,  # to a broker that has not heard of it yet
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
}


class Admin(Holder[AdminClient]):
    """See `davy.log._kafka.library.Admin`."""

    def __init__(self, address: KafkaAddress, timeout: float) -> None:
        self._timeout = timeout
        super().__init__(address, AdminClient, {})

    def brokers(self) -> int:
        with self._asking():
            return len(self._held.list_topics(timeout=self._timeout).brokers)

    def topics(self, names: Sequence[str] | None = None) -> dict[str, Topic]:
        if names is None:
            with self._asking():
                found = self._held.list_topics(timeout=self._timeout).topics
            names = [self._address.plain(topic) for topic in found if self._address.owns(topic)]
        if not names:
            return {}
        asked = TopicCollection([self._address.topic(name) for name in names])
        told = self._held.describe_topics(asked, request_timeout=self._timeout)
        topics = {name: self._topic(told[self._address.topic(name)]) for name in names}
        return {name: topic for name, topic in topics.items() if topic is not None}

    def settings_of(self, names: Sequence[str]) -> dict[str, Mapping[str, str]]:
        if not names:
            return {}
        asked = [ConfigResource(ResourceType.TOPIC, self._address.topic(name)) for name in names]
        told = self._held.describe_configs(asked, request_timeout=self._timeout)
        return {
            self._address.plain(resource.name): {
                name: entry.value for name, entry in self._result(future).items()
            }
            for resource, future in told.items()
        }

    def create(self, names: Sequence[str], partitions: int, copies: int, settings: Mapping[str, str]) -> None:
        wanted = [
            NewTopic(
                self._address.topic(name),
                num_partitions=partitions,
                replication_factor=copies,
                config=dict(settings),
            )
            for name in names
        ]
        for future in self._held.create_topics(wanted, request_timeout=self._timeout).values():
            self._result(future, KafkaError.TOPIC_ALREADY_EXISTS)

    def offsets(self, partitions: Sequence[Partition], at: int) -> dict[Partition, int]:
        if not partitions:
            return {}
        asked = dict.fromkeys((place_of(self._address, one) for one in partitions), _spec(at))
        told = self._results(lambda: self._held.list_offsets(asked, request_timeout=self._timeout))
        offsets = {partition_of(self._address, place): found.offset for place, found in told.items()}
        return {one: offsets[one] for one in partitions if offsets[one] >= 0}

    def delete(self, before: Mapping[Partition, int]) -> None:
        asked = [place_of(self._address, one, offset) for one, offset in before.items()]
        self._results(lambda: self._held.delete_records(asked, request_timeout=self._timeout))

    def close(self) -> None:
        """It ends when nobody refers to it."""

    def _topic(self, future: Future[Any]) -> Topic | None:
        """Return a topic, none when it is not there or without a leader yet."""
        found = self._result(future, KafkaError.UNKNOWN_TOPIC_OR_PART)
        if found is None or not found.partitions or any(one.leader is None for one in found.partitions):
            return None
        id = found.topic_id
        bits = id.get_most_significant_bits() % 2**64 << 64 | id.get_least_significant_bits() % 2**64
        copies = min(len(one.replicas) for one in found.partitions)
        return Topic(len(found.partitions), copies, f"{bits:032x}" if bits else "")

    def _results(self, ask: Callable[[], Mapping[TopicPartition, Future[Any]]]) -> dict[TopicPartition, Any]:
        """Return the answers of partitions; asked again while their leaders change, which the library leaves to us."""
        deadline = time.monotonic() + self._timeout
        while True:
            told = ask()
            wait([*told.values()], self._timeout + 1)
            if not left(deadline) or not any(map(_leader_changes, told.values())):
                return {place: self._result(future) for place, future in told.items()}
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _result(self, future: Future[Any], harmless: int | None = None) -> Any:
        with self._asking():
            try:
                found = future.result(self._timeout + 1)
            except KafkaException as error:
                if error.args[0].code() == harmless:
                    return None
                raise
        self._heard.clear()  # the login works
        return found


def _leader_changes(future: Future[Any]) -> bool:
    error = future.exception() if future.done() else None
    return isinstance(error, KafkaException) and error.args[0].code() in _LEADER_CHANGES


def _spec(at: int) -> OffsetSpec:
    special: dict[int, OffsetSpec] = {OLDEST: OffsetSpec.earliest(), NEWEST: OffsetSpec.latest()}
    return special.get(at) or OffsetSpec.for_timestamp(at)
