"""Where envelopes go: the log behind the URL, or a gateway."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol

from davy.blobs import blob_address, open_blobs
from davy.errors import BlobError, LogError, SettingError
from davy.log import Message, client_extra, open_log
from davy.requirements import needs
from davy.secret import Secret

if TYPE_CHECKING:
    from davy.blobs import Blobs
    from davy.config import Settings

PAYLOADS: Final = "davy.payloads"
"""Not a topic of the log: a message of this name is a payload for the blob store, its key the media type."""
_ADAPTERS: Final = {
    "memory": "davy.log.memory",
    "sqlite": "davy.log.sqlite",
    "kafka": "davy.log.kafka",
    "kafka+librdkafka": "davy.log.librdkafka",
}
_BLOBS: Final = {
    "memory": "davy.blobs.memory",
    "file": "davy.blobs.file",
    **dict.fromkeys(("s3", "gs", "az"), "davy.blobs.objects"),
}


class Sink(Protocol):
    """Takes messages, from one thread: payloads for the blob store, envelopes and feedback for the log."""

    together: int
    """How many messages one append should hold at most: more than one where an append costs a round trip."""

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        """Store messages in order; on return they are durable."""

    def close(self, *, timeout: float = 5.0) -> None:
        """Release everything."""


class SinkBusy(LogError):
    """The sink asks for patience: `seconds` is the least time to wait, `reason` what the log calls it."""

    def __init__(
        self, field: str, value: object, remedy: str, seconds: float, *, reason: str = "retry"
    ) -> None:
        super().__init__(field, value, remedy)
        self.seconds, self.reason = seconds, reason


def prepare(settings: Settings) -> Callable[[], Sink]:
    """Import all that the URL needs, now, and give the function that opens the sink, later, in the sender's thread.

    A thread that imports while another forks leaves the child with a locked import system.

    Raises
    ------
    SettingError
        The URL names no sink.
    """
    scheme, _, rest = settings.url.partition("://")
    if scheme in {"http", "https"}:
        from davy.sdk.http_sink import HttpSink

        gateway = settings.gateway
        open_sink = partial(HttpSink, settings.url, Secret(gateway.api_key, gateway.api_key_file))
        open_sink()  # looks at the address, and connects to nothing
        return open_sink
    if scheme not in _ADAPTERS or (scheme == "sqlite" and not rest):
        known = "sqlite:///directory, kafka://host:port, memory://name or http://host:port"
        raise SettingError("url", settings.url, f"use {known}")
    _load("url", scheme, _ADAPTERS[scheme], extra=client_extra(scheme))
    blobs = blob_address(settings).partition("://")[0]
    _load("blob_url", blobs, _BLOBS.get(blobs, "davy.blobs"), extra="cluster")
    import_module("hashlib")
    if scheme.startswith("kafka"):
        open_log(settings.url, settings)  # looks at the address, and connects to nothing
    return partial(_LogSink, settings)


def takes_payloads(settings: Settings) -> bool:
    """Whether the sink has somewhere to put payloads."""
    return settings.url.startswith(("http://", "https://")) or bool(blob_address(settings))


def _load(setting: str, scheme: str, module: str, *, extra: str) -> None:
    try:
        import_module(module)
    except ImportError as error:
        remedy = needs(error.name or "more", extras=extra)
        raise SettingError(setting, f"{scheme}://", remedy) from error


class _LogSink:
    together = 16

    def __init__(self, settings: Settings) -> None:
        self._log = open_log(settings.url, settings)
        self._producer = self._log.producer()
        self._blob_url = blob_address(settings)
        self._blobs: Blobs | None = None

    @property
    def replaced(self) -> int:
        """How often the log was moved or deleted while it was open, and another took its place."""
        found: int = getattr(self._log, "replaced", 0)
        return found

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        for message in messages:
            if message.topic == PAYLOADS:
                self._put(message)
        rest = [message for message in messages if message.topic != PAYLOADS]
        if rest:
            self._producer.append(rest, timeout=timeout)

    def close(self, *, timeout: float = 5.0) -> None:
        self._producer.close(timeout=timeout)
        self._log.close()
        if self._blobs is not None:
            self._blobs.close()

    def _put(self, message: Message) -> None:
        if self._blobs is None:
            self._blobs = open_blobs(self._blob_url)
        try:
            self._blobs.put(message.value, message.key)
        except BlobError as error:
            raise LogError(error.field, error.value, error.remedy) from error
