"""Storing messages by kafka-python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import kafka
from kafka import errors as kafka_errors

from davy.log._kafka.address import KafkaAddress
from davy.log._kafka.library import left
from davy.log._kafka.records import headers_of
from davy.log._kafka.topics import largest_record
from davy.log._kafka_python.client import METADATA_MS, explained, open_client
from davy.log.base import Message

_BATCH_BYTES: Final = 512 * 1024


class Sender:
    """See `davy.log._kafka.library.Sender`."""

    def __init__(self, address: KafkaAddress, timeout: float) -> None:
        self._address = address
        compression = address.settings.compression
        self._client = open_client(
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
            metadata_max_age_ms=METADATA_MS,
        )

    def send(self, messages: Sequence[Message], deadline: float) -> None:
        with explained(self._address):
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
        topic, key = self._address.topic(message.topic), message.key.encode()
        return self._client.send(topic, bytes(message.value), key, headers_of(message))


class _Producer(kafka.KafkaProducer):  # type: ignore[misc]
    """One that leaves the exit of the process alone: the library's own waits there, and prints what it missed."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self._unregister_cleanup()

    def __del__(self) -> None: ...

    def abandon(self) -> None:
        """End its thread, whatever it still has in hand."""
        self._sender.force_close()
