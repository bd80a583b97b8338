"""The log on Kafka by confluent-kafka, that is librdkafka: faster, and more to install.

The only module that knows confluent-kafka.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from davy.config import Settings
from davy.errors import LogError
from davy.log._kafka.address import Address
from davy.log._kafka.library import NEWEST, OLDEST, Begin, Forget, Library, Topic, failure, left
from davy.log._kafka.log import ClusterLog
from davy.log._kafka.topics import largest_record
from davy.log.base import Message, Partition, Position, Record

_ANSWER_SECONDS: Final = 10.0
_SESSION_MS: Final = 10_000
"""After this time the group gives the partitions of a dead member to others: as long as a role's lease."""
_SLICE_SECONDS: Final = 0.2
_PAGE: Final = 64
_WRONG_LOGIN: Final = 58
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
_OURS_TO_MEND: Final = {
    KafkaError._AUTHENTICATION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
}
"""Of what a consumer is told; everything else the library mends itself."""
_logger = logging.getLogger("davy.log.librdkafka")
_logger.addHandler(logging.NullHandler())  # as libraries do: what nobody listens to is not printed


class LibrdkafkaLog(ClusterLog):
    """A log on a Kafka cluster, ``kafka+librdkafka://host1:9092,host2:9092/prefix``; see docs/kafka.md.

    Parameters
    ----------
    url
        Where the cluster is. Its query may hold settings of the section ``kafka``.
    settings
        The sections ``kafka`` and ``log``; the defaults when left out.

    Raises
    ------
    SettingError
        The URL or a setting of the section ``kafka`` is wrong.

    Examples
    --------
    >>> LibrdkafkaLog("kafka+librdkafka://davy:secret@broker/team").url
    'kafka+librdkafka://davy:***@broker/team'
    """

    def __init__(self, url: str, settings: Settings | None = None) -> None:
        super().__init__(Library(_Admin, _Sender, _Member, _Reader), url, settings)


class _Admin:
    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        with _explained(address):
            self._client = AdminClient(_config(address))

    def brokers(self) -> int:
        with _explained(self._address):
            return len(self._client.list_topics(timeout=self._timeout).brokers)

    def topics(self, names: Sequence[str] | None = None) -> dict[str, Topic]:
        if names is None:
            with _explained(self._address):
                found = self._client.list_topics(timeout=self._timeout).topics
            names = [self._address.plain(topic) for topic in found if self._address.owns(topic)]
        if not names:
            return {}
        asked = TopicCollection([self._address.topic(name) for name in names])
        told = self._client.describe_topics(asked, request_timeout=self._timeout)
        topics = {name: self._topic(told[self._address.topic(name)]) for name in names}
        return {name: topic for name, topic in topics.items() if topic is not None}

    def settings_of(self, names: Sequence[str]) -> dict[str, Mapping[str, str]]:
        if not names:
            return {}
        asked = [ConfigResource(ResourceType.TOPIC, self._address.topic(name)) for name in names]
        told = self._client.describe_configs(asked, request_timeout=self._timeout)
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
        for future in self._client.create_topics(wanted, request_timeout=self._timeout).values():
            self._result(future, KafkaError.TOPIC_ALREADY_EXISTS)

    def offsets(self, partitions: Sequence[Partition], at: int) -> dict[Partition, int]:
        if not partitions:
            return {}
        asked = dict.fromkeys((_place(self._address, one) for one in partitions), _spec(at))
        told = self._client.list_offsets(asked, request_timeout=self._timeout)
        offsets = {
            _partition(self._address, place): self._result(future).offset for place, future in told.items()
        }
        return {one: offsets[one] for one in partitions if offsets[one] >= 0}

    def delete(self, before: Mapping[Partition, int]) -> None:
        asked = [_place(self._address, one, offset) for one, offset in before.items()]
        for future in self._client.delete_records(asked, request_timeout=self._timeout).values():
            self._result(future)

    def close(self) -> None:
        """It ends when nobody refers to it."""

    def _topic(self, future: Future[Any]) -> Topic | None:
        """Give a topic, none when it is not there or without a leader yet."""
        found = self._result(future, KafkaError.UNKNOWN_TOPIC_OR_PART)
        if found is None or not found.partitions or any(one.leader is None for one in found.partitions):
            return None
        return Topic(len(found.partitions), min(len(one.replicas) for one in found.partitions))

    def _result(self, future: Future[Any], harmless: int | None = None) -> Any:
        with _explained(self._address):
            try:
                return future.result(self._timeout + 1)
            except KafkaException as error:
                if error.args[0].code() == harmless:
                    return None
                raise


class _Sender:
    def __init__(self, address: Address, timeout: float) -> None:
        del timeout  # opening it asks nobody
        self._address = address
        self._told: KafkaError | None = None
        self._failed: list[KafkaError] = []
        settings = address.settings
        with _explained(address):
            self._client = Producer(
                {
                    **_config(address),
                    "error_cb": self._hear,
                    "acks": "all",
                    "enable.idempotence": True,
                    "compression.type": settings.compression,
                    "partitioner": "murmur2_random",  # as kafka-python and Java: a key has one partition
                    "message.max.bytes": largest_record(address),
                    "message.timeout.ms": 86_400_000,  # the deadline of an append decides, not this
                    "linger.ms": 0,
                }
            )

    def send(self, messages: Sequence[Message], deadline: float) -> None:
        self._failed.clear()
        with _explained(self._address):
            for message in messages:
                self._send(message, deadline)
            unconfirmed = self._client.flush(left(deadline))
        if self._failed:
            raise _failure(self._address, self._failed[0])
        if unconfirmed:
            raise self._timed_out()

    def close(self, timeout: float) -> None:
        if self._client.flush(timeout):
            self._client.purge(blocking=False)

    def _send(self, message: Message, deadline: float) -> None:
        topic, headers = self._address.topic(message.topic), _headers(message)
        while True:
            try:
                self._client.produce(
                    topic,
                    bytes(message.value),
                    message.key.encode(),
                    headers=headers,
                    on_delivery=self._settle,
                )
                self._client.poll(0)
                return
            except BufferError:
                if not left(deadline):
                    raise self._timed_out() from None
                self._client.poll(min(left(deadline), 0.05))

    def _settle(self, error: KafkaError | None, _: Any) -> None:
        if error is not None:
            self._failed.append(error)

    def _hear(self, error: KafkaError) -> None:
        self._told = error

    def _timed_out(self) -> LogError:
        if self._told is not None:
            return _failure(self._address, self._told)
        return failure(self._address, KafkaError._TIMED_OUT, "not confirmed in time")


class _Member:
    def __init__(
        self, address: Address, topics: Sequence[str], group: str, begin: Begin, forget: Forget
    ) -> None:
        self._address = address
        self._begin, self._forget = begin, forget
        self._joined = False
        self._early: list[Record] = []
        self._broken: Exception | None = None
        with _explained(address):
            self._consumer = _consumer(
                address,
                group,
                {
                    "partition.assignment.strategy": "cooperative-sticky",
                    "session.timeout.ms": _SESSION_MS,
                },
            )
            self._consumer.subscribe(
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
        places = [_place(self._address, one, offset) for one, offset in position.items()]
        with _explained(self._address):
            # `Consumer.seek` is refused until the first fetch of a partition.
            self._consumer.incremental_unassign(places)
            self._consumer.incremental_assign(places)

    def commit(self, position: Position) -> None:
        told = [_place(self._address, one, offset) for one, offset in position.items()]
        with _explained(self._address):
            try:
                self._consumer.commit(offsets=told, asynchronous=False)
            except KafkaException as error:
                if error.args[0].code() not in _CHANGING:
                    raise
                _logger.debug("a commit is left out: %s", error)

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        if not partitions:
            return {}
        asked = [_place(self._address, one) for one in partitions]
        with _explained(self._address):
            found = self._consumer.committed(asked, timeout=_ANSWER_SECONDS)
        return {_partition(self._address, one): one.offset for one in found if one.offset >= 0}

    def end(self, partition: Partition) -> int:
        with _explained(self._address):
            _, end = self._consumer.get_watermark_offsets(_place(self._address, partition), cached=True)
        return max(0, end)

    def close(self) -> None:
        self._consumer.close()

    def _poll(self, max_records: int, timeout: float) -> list[Record]:
        """Wait for one record and take those that are there with it: `consume` alone would wait for all it may give."""
        with _explained(self._address):
            first = self._consumer.poll(timeout)
            if first is None:
                return []
            more = self._consumer.consume(max_records - 1, timeout=0) if max_records > 1 else []
        return list(_records(self._address, [first, *more]))

    def _assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._joined = True
        partitions = [_partition(self._address, one) for one in places]
        try:
            position = self._begin(partitions)
        except Exception as error:  # noqa: BLE001 - raised in `poll`: the library would go on without it
            self._broken = error
            consumer.incremental_assign(places)
            consumer.pause(places)
            return
        consumer.incremental_assign([_place(self._address, one, position[one]) for one in partitions])

    def _revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._forget([_partition(self._address, one) for one in places])
        consumer.incremental_unassign(places)

    def _raise_when_broken(self) -> None:
        if self._broken is not None:
            raise self._broken


class _Reader:
    def __init__(self, address: Address) -> None:
        self._address = address
        with _explained(address):
            # It joins no group; the library wants the name of one. An answer that waits for records would hold up
            # the next read.
            config = {"enable.partition.eof": True, "fetch.wait.max.ms": 5}
            self._consumer = _consumer(address, "reader", config)

    def read(self, partition: Partition, start: int, stop: int) -> Iterator[Record]:
        with _explained(self._address):
            self._consumer.assign([_place(self._address, partition, start)])
        try:
            yield from self._read(partition[0], stop)
        finally:
            self._consumer.unassign()

    def _read(self, topic: str, stop: int) -> Iterator[Record]:
        while True:
            with _explained(self._address):
                first = self._consumer.poll(_ANSWER_SECONDS)
                more = self._consumer.consume(_PAGE, timeout=0)
            if first is None:
                raise failure(self._address, KafkaError._TIMED_OUT, f"no record of {topic} in time")
            for one in _records(self._address, [first, *more]):
                if one.offset >= stop:
                    return
                yield one
                if one.offset == stop - 1:
                    return
            if _at_end([first, *more]):
                return

    def close(self) -> None:
        self._consumer.close()


def _config(address: Address) -> dict[str, Any]:
    settings = address.settings
    login: dict[str, Any] = {"security.protocol": address.security}
    if address.security.endswith("SSL"):
        login |= {
            "ssl.ca.location": settings.ca_file or None,
            "ssl.certificate.location": settings.cert_file or None,
            "ssl.key.location": settings.key_file or None,
            "ssl.key.password": settings.key_password or None,
        }
    if address.security.startswith("SASL"):
        login |= {
            "sasl.mechanism": settings.mechanism,
            "sasl.username": settings.user,
            "sasl.password": settings.password,
        }
    return {
        "bootstrap.servers": ",".join(address.servers),
        "socket.timeout.ms": int(_ANSWER_SECONDS * 1000),
        "topic.metadata.refresh.interval.ms": 30_000,
        "logger": _logger,
        **{name: value for name, value in login.items() if value is not None},
    }


def _consumer(address: Address, group: str, config: Mapping[str, Any]) -> Consumer:
    return Consumer(
        {
            **_config(address),
            "group.id": address.group(group),
            "allow.auto.create.topics": False,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": 4 * 2**20,
            "fetch.max.bytes": 16 * 2**20,
            "queued.max.messages.kbytes": 16 * 1024,
            **config,
        }
    )


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise _failure(address, error.args[0]) from error


def _failure(address: Address, error: KafkaError) -> LogError:
    code = _WRONG_LOGIN if error.code() == KafkaError._AUTHENTICATION else error.code()
    return failure(address, code, f"{error.name()}: {error.str()}")


def _headers(message: Message) -> list[tuple[str, str | bytes | None]]:
    return [(name, text.encode("utf-8", "surrogatepass")) for name, text in message.headers.items()]


def _spec(at: int) -> OffsetSpec:
    special: dict[int, OffsetSpec] = {OLDEST: OffsetSpec.earliest(), NEWEST: OffsetSpec.latest()}
    return special.get(at) or OffsetSpec.for_timestamp(at)


def _place(address: Address, partition: Partition, offset: int = 0) -> TopicPartition:
    return TopicPartition(address.topic(partition[0]), partition[1], offset)


def _partition(address: Address, place: TopicPartition) -> Partition:
    return address.plain(place.topic), place.partition


def _at_end(found: Iterable[Any]) -> bool:
    return any(one.error() and one.error().code() == KafkaError._PARTITION_EOF for one in found)


def _records(address: Address, found: Iterable[Any]) -> Iterator[Record]:
    for one in found:
        error = one.error()
        if error is None:
            headers = {name: text.decode("utf-8", "surrogatepass") for name, text in one.headers() or ()}
            place = (address.plain(one.topic()), one.partition(), one.offset())
            at = one.timestamp()[1] * 1_000_000
            yield Record(*place, (one.key() or b"").decode(), one.value() or b"", headers, at)
        elif error.fatal() or error.code() in _OURS_TO_MEND:
            raise _failure(address, error)
