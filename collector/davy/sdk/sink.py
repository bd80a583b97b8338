"""Where envelopes go: the log behind the URL, or a gateway."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Final, Protocol

from davy.config import Settings
from davy.errors import LogError, SettingError
from davy.log import Message, open_log

_ADAPTERS: Final = {
    "memory": "davy.log.memory",
    "sqlite": "davy.log.sqlite",
    "kafka": "davy.log.kafka",
    "kafka+librdkafka": "davy.log.librdkafka",
}


class Sink(Protocol):
    """Takes messages, from one thread; the producer of a log is one."""

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        """Store messages; on return they are durable."""

    def close(self, *, timeout: float = 5.0) -> None:
        """Let go of everything."""


class Later(LogError):
    """The sink asks for patience: `seconds` is the least time to wait."""

    def __init__(self, field: str, value: object, remedy: str, seconds: float) -> None:
        super().__init__(field, value, remedy)
        self.seconds = seconds


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

        open_sink = partial(HttpSink, settings.url, settings.gateway.api_key)
        open_sink()  # looks at the address, and connects to nothing
        return open_sink
    if scheme not in _ADAPTERS or (scheme == "sqlite" and not rest):
        known = "sqlite:///directory, kafka://host:port, memory://name or http://host:port"
        raise SettingError("url", settings.url, f"use {known}")
    try:
        import_module(_ADAPTERS[scheme])
    except ImportError as error:
        extra = scheme.rpartition("+")[2]
        remedy = f"needs {error.name}: pip install 'davy[{extra}]'"
        raise SettingError("url", settings.url, remedy) from error
    if scheme.startswith("kafka"):
        open_log(settings.url, settings)  # looks at the address, and connects to nothing
    return partial(_LogSink, settings)


class _LogSink:
    def __init__(self, settings: Settings) -> None:
        self._log = open_log(settings.url, settings)
        self._producer = self._log.producer()
        self.append = self._producer.append

    def close(self, *, timeout: float = 5.0) -> None:
        self._producer.close(timeout=timeout)
        self._log.close()
