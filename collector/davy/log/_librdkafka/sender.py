"""Storing messages by confluent-kafka."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, Producer

from davy.errors import LogError
from davy.log._kafka.address import KafkaAddress
from davy.log._kafka.library import left
from davy.log._kafka.records import headers_of
from davy.log._kafka.topics import largest_record
from davy.log._librdkafka.client import Holder
from davy.log.base import Message


class Sender(Holder[Producer]):
    """See `davy.log._kafka.library.Sender`."""

    def __init__(self, address: KafkaAddress, timeout: float) -> None:
        del timeout  # opening it asks nobody
        self._failed: list[KafkaError] = []
        config = {
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": address.settings.compression,
            "partitioner": "murmur2_random",  # as kafka-python and Java: a key has one partition
            "message.max.bytes": largest_record(address),
            "message.timeout.ms": 86_400_000,  # the deadline of an append decides, not this
            "linger.ms": 0,
        }
        super().__init__(address, Producer, config)

    def send(self, messages: Sequence[Message], deadline: float) -> None:
        self._failed.clear()
        with self._asking():
            for message in messages:
                self._send(message, deadline)
            unconfirmed = self._held.flush(left(deadline))
        if self._failed:
            raise self._failure(self._failed[0])
        if unconfirmed:
            raise self._timed_out()

    def close(self, timeout: float) -> None:
        if self._held.flush(timeout):
            self._held.purge(blocking=False)

    def _send(self, message: Message, deadline: float) -> None:
        topic, headers = self._address.topic(message.topic), headers_of(message)
        while True:
            try:
                self._held.produce(
                    topic,
                    bytes(message.value),
                    message.key.encode(),
                    headers=headers,
                    on_delivery=self._settle,
                )
                self._held.poll(0)
                return
            except BufferError:
                if not left(deadline):
                    raise self._timed_out() from None
                self._held.poll(min(left(deadline), 0.05))

    def _settle(self, error: KafkaError | None, _: Any) -> None:
        if error is not None:
            self._failed.append(error)

    def _timed_out(self) -> LogError:
        return self._failure(KafkaError(KafkaError._TIMED_OUT, "not confirmed in time"))
