"""How objects of confluent-kafka are made and kept, and how names, records and errors translate."""

from __future__ import annotations

import ctypes
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar
from weakref import WeakSet

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from davy.errors import LogError
from davy.log._kafka.address import KafkaAddress
from davy.log._kafka.library import failure
from davy.log._kafka.records import record
from davy.log.base import Partition, Record

ANSWER_SECONDS: Final = 10.0
_WRONG_LOGIN: Final = 58
_OURS_TO_MEND: Final = {
    KafkaError._AUTHENTICATION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
}
"""Of what a consumer is told; everything else the library mends itself."""
H = TypeVar("H")
_logger = logging.getLogger("davy.log.librdkafka")
_logger.addHandler(logging.NullHandler())  # as libraries do: what nobody listens to is not printed
if _logger.level == logging.NOTSET:
    # It logs every connection that fails. What keeps Davy from its work Davy says itself, once.
    _logger.setLevel(logging.CRITICAL)


class Holder(Generic[H]):
    """Holds an object of the library, in a forked child for ever.

    The end of such an object waits for its threads, and a child has none of them.
    """

    def __init__(
        self, address: KafkaAddress, make: Callable[[dict[str, Any]], H], config: Mapping[str, Any]
    ) -> None:
        self._address = address
        self._heard: deque[KafkaError] = deque(maxlen=8)
        with self._asking():
            self._held = make({**_config(address), "error_cb": self._heard.append, **config})
        _holders.add(self)

    def keep_for_ever(self) -> None:
        """Take a reference that nobody gives back, not even the end of the interpreter."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._held))

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise self._failure(error.args[0]) from error

    def _failure(self, error: KafkaError) -> LogError:
        """Return the error for what was told, or was heard before: a wrong login shows as time that ran out."""
        for heard in self._heard:
            if heard.code() == KafkaError._AUTHENTICATION:
                return failure(self._address, _WRONG_LOGIN, heard.str())
        return failure(self._address, error.code(), f"{error.name()}: {error.str()}")

    def _records(self, found: Iterable[Any]) -> list[Record]:
        """Return the records among messages; raise the errors that the library does not mend by itself."""
        records = []
        for one in found:
            error = one.error()
            if error is None:
                records.append(_record(self._address, one))
            elif error.fatal() or error.code() in _OURS_TO_MEND:
                raise self._failure(error)
        return records


_holders: Final[WeakSet[Holder[Any]]] = WeakSet()


def _after_fork_in_child() -> None:
    for holder in list(_holders):
        holder.keep_for_ever()


os.register_at_fork(after_in_child=_after_fork_in_child)


def place_of(address: KafkaAddress, partition: Partition, offset: int = 0) -> TopicPartition:
    return TopicPartition(address.topic(partition[0]), partition[1], offset)


def partition_of(address: KafkaAddress, place: TopicPartition) -> Partition:
    return address.plain(place.topic), place.partition


def _config(address: KafkaAddress) -> dict[str, Any]:
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
        "socket.timeout.ms": int(ANSWER_SECONDS * 1000),
        "topic.metadata.refresh.interval.ms": 30_000,
        "logger": _logger,
        **{name: value for name, value in login.items() if value is not None},
    }


def _record(address: KafkaAddress, one: Any) -> Record:
    place = (one.topic(), one.partition(), one.offset())
    return record(address, place, one.key(), one.value(), one.headers() or (), one.timestamp()[1])
