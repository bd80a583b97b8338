"""Messages and records as Kafka holds them; what somebody else wrote into a topic is read as well as it can be."""

from __future__ import annotations

from collections.abc import Iterable

from davy.log._kafka.address import KafkaAddress
from davy.log.base import Message, Record


def headers_of(message: Message) -> list[tuple[str, str | bytes | None]]:
    """Return the headers of a message; values may be text that no UTF-8 holds, names may not."""
    return [(name, text.encode("utf-8", "surrogatepass")) for name, text in message.headers.items()]


def record(
    address: KafkaAddress,
    place: tuple[str, int, int],
    key: bytes | None,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes | None]],
    at_ms: int,
) -> Record:
    """Make a record from what a library read at `place`: topic of the cluster's, partition, offset."""
    topic, partition, offset = place
    return Record(
        address.plain(topic),
        partition,
        offset,
        _text(key),
        value or b"",
        {name: _text(held) for name, held in headers},
        at_ms * 1_000_000,
    )


def _text(held: bytes | None) -> str:
    held = held or b""
    try:
        return held.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return held.decode("utf-8", "replace")
