"""The log on Kafka by kafka-python: nothing to compile, and the least to install in a serving app.

The only module that knows kafka-python.
"""

from __future__ import annotations

import logging
import ssl
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final

from davy.config import KafkaSettings, Settings
from davy.errors import SettingError
from davy.log._kafka.address import Address
from davy.log._kafka.library import Begin, Forget, Library, Topic, failure, left
from davy.log._kafka.log import ClusterLog
from davy.log._kafka.topics import largest_record
from davy.log.base import Message, Partition, Position, Record

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it reads its schemas with a deprecated function
    import kafka
    from kafka import OffsetAndMetadata, TopicPartition
    from kafka import errors as kafka_errors
    from kafka.admin import ConfigResource, ConfigResourceType
    from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
    from kafka.net.compat import KafkaNetClient
    from kafka.structs import MemberState

_ALREADY_THERE: Final = 36
_UNKNOWN: Final = -1
_ANSWER_MS: Final = 10_000
_COMMIT_MS: Final = 2_000
_LEAVE_MS: Final = 5_000
_SESSION_MS: Final = 10_000
"""After this time the group gives the partitions of a dead member to others: as long as a role's lease."""
_BATCH_BYTES: Final = 512 * 1024
_FETCH_BYTES: Final = 16 * 2**20
_PARTITION_FETCH_BYTES: Final = 4 * 2**20
_METADATA_MS: Final = 30_000
_SLICE_SECONDS: Final = 0.2
"""Longest wait of the library in one go: between two, partitions that came are taken over."""
_CHANGING: Final = (
    kafka_errors.RebalanceInProgressError,
    kafka_errors.CommitFailedError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.UnknownMemberIdError,
    kafka_errors.RetriableError,
)
_logger = logging.getLogger("davy.log.kafka")


class KafkaLog(ClusterLog):
    """A log on a Kafka cluster, ``kafka://host1:9092,host2:9092/prefix``; see docs/kafka.md.

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
    >>> KafkaLog("kafka://davy:secret@broker/team").url
    'kafka://davy:***@broker/team'
    """

    def __init__(self, url: str, settings: Settings | None = None) -> None:
        super().__init__(Library(_Admin, _Sender, _Member, _Reader), url, settings)


class _Admin:
    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        self._client = _open(kafka.KafkaAdminClient, address, timeout)

    def brokers(self) -> int:
        with self._asking():
            return len(self._client.describe_cluster()["brokers"])

    def topics(self, names: Sequence[str] | None = None) -> dict[str, Topic]:
        asked = None if names is None else [self._address.topic(name) for name in names]
        with self._asking():
            found = self._client.describe_topics(asked)
        return {
            self._address.plain(each["name"]): Topic(
                len(each["partitions"]), min(len(one["replica_nodes"]) for one in each["partitions"])
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
        with self._asking():
            told = self._client.create_topics(
                {self._address.topic(name): wanted for name in names}, raise_errors=False
            )
        for each in told["topics"]:
            if each["error_code"] not in {0, _ALREADY_THERE}:
                text = f"{each['name']}: {each['error_message']}"
                raise failure(self._address, each["error_code"], text)

    def offsets(self, partitions: Sequence[Partition], at: int) -> dict[Partition, int]:
        places = {one: _place(self._address, one) for one in partitions}
        with self._asking():
            found = self._client.list_partition_offsets(dict.fromkeys(places.values(), at))
        offsets = {one: found[place].offset for one, place in places.items()}
        return {one: offset for one, offset in offsets.items() if offset >= 0}

    def delete(self, before: Mapping[Partition, int]) -> None:
        with self._asking():
            self._client.delete_records(
                {_place(self._address, one): offset for one, offset in before.items()}
            )

    def close(self) -> None:
        self._client.close()

    def _asking(self) -> AbstractContextManager[None]:
        return _explained(self._address)


class _Producer(kafka.KafkaProducer):  # type: ignore[misc]
    """One that leaves the exit of the process alone: the library's own waits there, and prints what it missed."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self._unregister_cleanup()

    def __del__(self) -> None: ...

    def abandon(self) -> None:
        """End its thread, whatever it still has in hand."""
        self._sender.force_close()


class _Sender:
    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        compression = address.settings.compression
        self._client = _open(
            _Producer,
            address,
            timeout / 2,  # to connect and to ask for the brokers
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,
            compression_type=None if compression == "none" else compression,
            max_request_size=largest_record(address),
            batch_size=_BATCH_BYTES,
            delivery_timeout_ms=86_400_000,  # the deadline of an append decides, not this
            metadata_max_age_ms=_METADATA_MS,
        )

    def send(self, messages: Sequence[Message], deadline: float) -> None:
        with _explained(self._address):
            futures = [self._send(message, deadline) for message in messages]
            for future in futures:
                future.get(timeout=left(deadline))

    def close(self, timeout: float) -> None:
        try:
            self._client.close(timeout=timeout / 2)  # once to see everything sent, once for its thread to end
        except kafka_errors.KafkaTimeoutError:
            self._client.abandon()

    def _send(self, message: Message, deadline: float) -> Any:
        # The only wait in `send`: for the partitions of a topic it has not heard of.
        self._client.config["max_block_ms"] = left(deadline) * 1000
        headers = [(name, text.encode("utf-8", "surrogatepass")) for name, text in message.headers.items()]
        topic = self._address.topic(message.topic)
        return self._client.send(topic, bytes(message.value), message.key.encode(), headers)


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


class _Member:
    def __init__(
        self, address: Address, topics: Sequence[str], group: str, begin: Begin, forget: Forget
    ) -> None:
        self._address = address
        self._begin = begin
        self._new: set[Any] = set()
        self._consumer = _open_consumer(
            address,
            group_id=address.group(group),
            partition_assignment_strategy=[CooperativeStickyAssignor],
            session_timeout_ms=_SESSION_MS,
        )
        listener = _Listener(
            self._consumer, self._new, lambda gone: forget([_partition(address, one) for one in gone])
        )
        self._consumer.subscribe([address.topic(name) for name in topics], listener=listener)

    def join(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        with _explained(self._address):
            # A member that joins before it knows the partitions makes the group start over.
            self._consumer.bootstrap(timeout_ms=int(timeout * 1000), refresh=True)
        while self._consumer.group_metadata().state != MemberState.STABLE and left(deadline):
            self._poll(1, 0.0 if self._new else min(left(deadline), _SLICE_SECONDS))
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
                self._consumer.seek(_place(self._address, partition), offset)

    def commit(self, position: Position) -> None:
        told = {
            _place(self._address, one): OffsetAndMetadata(offset, "", -1) for one, offset in position.items()
        }
        with _explained(self._address):
            try:
                self._consumer.commit(told, timeout_ms=_COMMIT_MS)
            except _CHANGING as error:
                _logger.debug("a commit is left out: %s", error)

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        with _explained(self._address):
            found = {
                one: self._consumer.committed(_place(self._address, one), timeout_ms=_ANSWER_MS)
                for one in partitions
            }
        return {one: offset for one, offset in found.items() if offset is not None}

    def end(self, partition: Partition) -> int:
        place = _place(self._address, partition)
        return (self._consumer.highwater(place) or 0) if place in self._consumer.assignment() else 0

    def close(self) -> None:
        self._consumer.close(autocommit=False, timeout_ms=_LEAVE_MS)

    def _poll(self, max_records: int, timeout: float) -> list[Record]:
        with _explained(self._address):
            found = self._consumer.poll(timeout_ms=timeout * 1000, max_records=max_records)
        return [_record(self._address, one) for records in found.values() for one in records]

    def _take_over(self) -> None:
        if not self._new:
            return
        new = sorted(self._new)
        position = self._begin([_partition(self._address, one) for one in new])
        self.seek(position)
        self._consumer.resume(*new)
        self._new.difference_update(new)


class _Reader:
    def __init__(self, address: Address) -> None:
        self._address = address
        self._consumer = _open_consumer(address)

    def read(self, partition: Partition, start: int, stop: int) -> Iterator[Record]:
        place = _place(self._address, partition)
        self._consumer.assign([place])
        self._consumer.seek(place, start)
        while start < stop:
            with _explained(self._address):
                found = self._consumer.poll(timeout_ms=_ANSWER_MS).get(place, [])
                reached = self._consumer.position(place, timeout_ms=_ANSWER_MS)
            if not found and (reached is None or reached <= start):
                raise failure(self._address, _UNKNOWN, f"no record of {place.topic} in time")
            for one in found:
                if one.offset >= stop:
                    return
                yield _record(self._address, one)
            start = reached

    def close(self) -> None:
        self._consumer.close(autocommit=False)


def _open(kind: Any, address: Address, timeout: float, **config: Any) -> Any:
    """Open a client; what it opened already is closed when the brokers do not answer."""
    clients: list[Any] = []

    def make(**settings: Any) -> Any:
        clients.append(KafkaNetClient(**settings))
        return clients[0]

    milliseconds = max(1, int(timeout * 1000))
    with _explained(address):
        try:
            return kind(
                bootstrap_servers=list(address.servers),
                kafka_client=make,
                bootstrap_timeout_ms=milliseconds,
                request_timeout_ms=milliseconds,
                **_login(address),
                **config,
            )
        except BaseException:
            for client in clients:
                client.close()
            raise


def _open_consumer(address: Address, **config: Any) -> Any:
    return _open(
        kafka.KafkaConsumer,
        address,
        _ANSWER_MS / 1000,
        allow_auto_create_topics=False,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_bytes=_FETCH_BYTES,
        max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
        metadata_max_age_ms=_METADATA_MS,
        **config,
    )


def _login(address: Address) -> dict[str, Any]:
    settings = address.settings
    login: dict[str, Any] = {"security_protocol": address.security}
    if address.security.endswith("SSL"):
        login["ssl_context"] = _ssl_context(settings)
    if address.security.startswith("SASL"):
        login |= {
            "sasl_mechanism": settings.mechanism,
            "sasl_plain_username": settings.user,
            "sasl_plain_password": settings.password,
        }
    return login


def _ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        if settings.cert_file:
            key = settings.key_file or None
            context.load_cert_chain(settings.cert_file, key, settings.key_password or None)
    except OSError as error:  # an SSLError is one
        files = f"{settings.ca_file} {settings.cert_file} {settings.key_file}".strip()
        raise SettingError("kafka.ca_file, cert_file, key_file", files, f"cannot be used: {error}") from error
    return context


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    try:
        yield
    except kafka_errors.KafkaError as error:
        code = getattr(error, "errno", None)
        raise failure(
            address, _UNKNOWN if code is None else code, f"{type(error).__name__}: {error}"
        ) from error


def _is_there(topic: Mapping[str, Any]) -> bool:
    partitions = topic["partitions"]
    return topic["error_code"] == 0 and bool(partitions) and all(one["leader_id"] >= 0 for one in partitions)


def _place(address: Address, partition: Partition) -> Any:
    return TopicPartition(address.topic(partition[0]), partition[1])


def _partition(address: Address, place: Any) -> Partition:
    return address.plain(place.topic), place.partition


def _record(address: Address, one: Any) -> Record:
    headers = {name: text.decode("utf-8", "surrogatepass") for name, text in one.headers}
    key = (one.key or b"").decode()
    topic = address.plain(one.topic)
    return Record(topic, one.partition, one.offset, key, one.value, headers, one.timestamp * 1_000_000)
