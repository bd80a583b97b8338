"""Topics, offsets and deletion by kafka-python."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import kafka
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from davy.log._kafka.address import KafkaAddress
from davy.log._kafka.library import Topic, failure, left
from davy.log._kafka_python.client import explained, open_client, place_of
from davy.log.base import Partition

_ALREADY_THERE: Final = 36
_LOOK_AGAIN_SECONDS: Final = 0.05
_REQUESTS: Final = 1000
"""Under way at once on a connection. With as many as the library allows by itself, five, the next one of another thread
fails at once: no broker is said to be ready."""
_LEADER_CHANGES: Final = (kafka_errors.InvalidMetadataError, kafka_errors.UnknownBrokerIdError)


class Admin:
    """See `davy.log._kafka.library.Admin`."""

    def __init__(self, address: KafkaAddress, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._client = self._open()

    def brokers(self) -> int:
        with self._asking():
            return len(self._client.describe_cluster()["brokers"])

    def topics(self, names: Sequence[str] | None = None) -> dict[str, Topic]:
        asked = None if names is None else [self._address.topic(name) for name in names]
        with self._asking():
            found = self._client.describe_topics(asked)
        return {
            self._address.plain(each["name"]): Topic(
                len(each["partitions"]),
                min(len(one["replica_nodes"]) for one in each["partitions"]),
                _id(each),
            )
            for each in found
            if _is_there(each) and (names is not None or self._address.owns(each["name"]))
        }

    def settings_of(self, names: Sequence[str]) -> dict[str, Mapping[str, str]]:
        asked = [ConfigResource(ConfigResourceType.TOPIC, self._address.topic(name)) for name in names]
        if not asked:
            return {}
        with self._asking():
            found = self._client.describe_configs(asked, config_filter="all")["topic"]
        return {
            self._address.plain(topic): {name: one["value"] for name, one in settings.items()}
            for topic, settings in found.items()
        }

    def create(self, names: Sequence[str], partitions: int, copies: int, settings: Mapping[str, str]) -> None:
        wanted = {"num_partitions": partitions, "replication_factor": copies, "configs": dict(settings)}
        asked = {self._address.topic(name): wanted for name in names}
        with self._asking():
            try:
                told = self._client.create_topics(asked, raise_errors=False)
            except kafka_errors.KafkaError:
                self._begin_anew()  # the library goes on asking the broker it asked first, though that is gone
                raise
        for each in told["topics"]:
            if each["error_code"] not in {0, _ALREADY_THERE}:
                text = f"{each['name']}: {each['error_message']}"
                raise failure(self._address, each["error_code"], text)

    def offsets(self, partitions: Sequence[Partition], at: int) -> dict[Partition, int]:
        places = {one: place_of(self._address, one) for one in partitions}
        found = self._again(lambda: self._client.list_partition_offsets(dict.fromkeys(places.values(), at)))
        offsets = {one: found[place].offset for one, place in places.items()}
        return {one: offset for one, offset in offsets.items() if offset >= 0}

    def delete(self, before: Mapping[Partition, int]) -> None:
        asked = {place_of(self._address, one): offset for one, offset in before.items()}
        self._again(lambda: self._client.delete_records(asked))

    def close(self) -> None:
        self._client.close()

    def _again(self, ask: Callable[[], Any]) -> Any:
        """Ask leaders of partitions; again while they change, which the library does only in part."""
        deadline = time.monotonic() + self._timeout
        with self._asking():
            while True:
                try:
                    return ask()
                except _LEADER_CHANGES as error:
                    if not left(deadline):
                        raise
                    if isinstance(error, kafka_errors.UnknownBrokerIdError):
                        self._begin_anew()  # one that came back after the library had forgotten it
                time.sleep(_LOOK_AGAIN_SECONDS)

    def _begin_anew(self) -> None:
        """Make the library forget which brokers there are; it asks again after five minutes only."""
        self._client.close()
        self._client = self._open()

    def _open(self) -> Any:
        most = {"max_in_flight_requests_per_connection": _REQUESTS}
        return open_client(kafka.KafkaAdminClient, self._address, self._timeout, **most)

    def _asking(self) -> AbstractContextManager[None]:
        return explained(self._address)


def _id(topic: Mapping[str, Any]) -> str:
    """Return the id of a topic as 32 digits, empty from a cluster that knows none."""
    found = str(topic.get("topic_id") or "").replace("-", "")
    return found if found.strip("0") else ""


def _is_there(topic: Mapping[str, Any]) -> bool:
    partitions = topic["partitions"]
    return topic["error_code"] == 0 and bool(partitions) and all(one["leader_id"] >= 0 for one in partitions)
