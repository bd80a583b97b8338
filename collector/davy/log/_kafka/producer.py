"""The producer: opens its client with the first append, on the thread and in the process that appends."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from zlib import crc32

from davy.errors import LogError, Refused
from davy.event import INFERENCES
from davy.log._kafka.address import KafkaAddress
from davy.log._kafka.library import Library, Sender, left
from davy.log._kafka.topics import ensure
from davy.log.base import Message, check_names

_REQUESTS: Final = 4
"""What asking for topics takes at most: to connect, to ask for the brokers, for the topics, to make them."""


def sharded(messages: Sequence[Message], shards: int) -> Sequence[Message]:
    """Spread the inferences of each model over keys of its own: a hot model outgrows the partition of one key.

    The shard follows from the bytes, so what is sent again lands where it was, and is dropped there as repeated.

    Examples
    --------
    >>> [one.key for one in sharded([Message("davy.inferences", "m:1", value) for value in (b"c", b"d")], 2)]
    ['m:1#1', 'm:1#0']
    """
    if shards == 1:
        return messages
    return [
        replace(message, key=f"{message.key}#{crc32(message.value) % shards}")
        if message.topic == INFERENCES
        else message
        for message in messages
    ]


class ClusterProducer:
    """Stores messages with every in-sync replica's word; nothing is held back once an append returned.

    After an append that was not confirmed the client is thrown away with all it holds: else it would store later, and
    once more, what the caller sends again, or refuse it together with what was refused before. A client that was opened
    before a fork is left to the parent.
    """

    def __init__(self, library: Library, address: KafkaAddress) -> None:
        self._library = library
        self._address = address
        self._senders: dict[int, Sender] = {}
        self._known: set[str] = set()
        self._closed = False

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        """Append in order; on return every message is durable."""
        if self._closed:
            raise LogError("producer", self._address.shown, "is closed; open another one")
        check_names(messages)
        for message in messages:
            self._refuse_large(message)
        if not messages:
            return
        deadline = time.monotonic() + timeout
        try:
            self._make_topics({message.topic for message in messages}, deadline)
            self._sender(deadline).send(sharded(messages, self._address.settings.shards), deadline)
        except LogError:
            self._drop(0.0)
            raise

    def close(self, *, timeout: float = 5.0) -> None:
        """Release everything; calling it twice is harmless."""
        self._closed = True
        self._drop(timeout)

    def _sender(self, deadline: float) -> Sender:
        process = os.getpid()
        if process not in self._senders:
            self._senders[process] = self._library.sender(self._address, left(deadline))
        return self._senders[process]

    def _make_topics(self, names: set[str], deadline: float) -> None:
        missing = names - self._known
        if missing:
            admin = self._library.admin(self._address, left(deadline) / _REQUESTS)
            try:
                ensure(admin, self._address, sorted(missing), deadline)
            finally:
                admin.close()
            self._known |= missing

    def _drop(self, timeout: float) -> None:
        self._known.clear()
        sender = self._senders.pop(os.getpid(), None)
        if sender is not None:
            sender.close(timeout)

    def _refuse_large(self, message: Message) -> None:
        headers = sum(len(name) + len(text) for name, text in message.headers.items())
        size, most = len(message.value) + len(message.key) + headers, self._address.settings.message_bytes
        if size > most:
            remedy = f"is larger than DAVY_KAFKA_MESSAGE_BYTES={most}: raise it, or send smaller fields"
            raise Refused("message", f"{message.topic}, {size} bytes", remedy)
