"""How clients of kafka-python are opened, and how names, records and errors translate."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient

from davy.config import KafkaSettings
from davy.errors import SettingError
from davy.log._kafka.address import KafkaAddress
from davy.log._kafka.library import failure
from davy.log._kafka.records import record
from davy.log._kafka_python.sockets import DIRECT, ClosingSelector, closes_after_failed_handshakes
from davy.log.base import Partition, Record

UNKNOWN: Final = -1
"""Code of an error that is none of Kafka's protocol."""
METADATA_MS: Final = 30_000
"""After this time partitions that were added, and brokers, are known."""


def open_client(kind: Any, address: KafkaAddress, timeout: float, **config: Any) -> Any:
    """Open a client; what it opened already is closed when the brokers do not answer."""
    clients: list[Any] = []

    def make(**settings: Any) -> Any:
        clients.append(KafkaNetClient(net=ClosingSelector(**settings), **settings))
        return clients[0]

    milliseconds = max(1, int(timeout * 1000))
    with explained(address):
        try:
            return kind(
                bootstrap_servers=list(address.servers),
                kafka_client=make,
                proxy_url=DIRECT,
                bootstrap_timeout_ms=milliseconds,
                request_timeout_ms=milliseconds,
                **_login(address),
                **config,
            )
        except BaseException:
            for client in clients:
                client.close()
            raise


def _login(address: KafkaAddress) -> dict[str, Any]:
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
        files = " ".join(filter(None, [settings.ca_file, settings.cert_file, settings.key_file]))
        raise SettingError("kafka.ca_file, cert_file, key_file", files, f"cannot be used: {error}") from error
    return closes_after_failed_handshakes(context)


@contextmanager
def explained(address: KafkaAddress) -> Iterator[None]:
    try:
        yield
    except kafka_errors.KafkaError as error:
        code = getattr(error, "errno", None)
        kind = type(error).__name__
        said = str(error) if str(error).startswith(kind) else f"{kind}: {error}"
        raise failure(address, UNKNOWN if code is None else code, said) from error


def place_of(address: KafkaAddress, partition: Partition) -> Any:
    return TopicPartition(address.topic(partition[0]), partition[1])


def partition_of(address: KafkaAddress, place: Any) -> Partition:
    return address.plain(place.topic), place.partition


def record_of(address: KafkaAddress, one: Any) -> Record:
    place = (one.topic, one.partition, one.offset)
    return record(address, place, one.key, one.value, one.headers, one.timestamp)
