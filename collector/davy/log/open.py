"""From a URL to a log; adapters are imported when their URL is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from davy.errors import SettingError
from davy.log.base import Log
from davy.requirements import needs

if TYPE_CHECKING:
    from davy.config import Settings


def open_log(url: str, settings: Settings | None = None) -> Log:
    """Open the log at `url`; `settings` are those of adapters that have some, the defaults when left out.

    Examples
    --------
    >>> open_log("memory://example").url
    'memory://example'
    """
    scheme, _, rest = url.partition("://")
    try:
        if scheme == "memory":
            from davy.log.memory import MemoryLog

            return MemoryLog.named(rest)
        if scheme == "sqlite":
            from davy.log.sqlite import SqliteLog

            return SqliteLog(url)
        if scheme == "kafka":
            from davy.log.kafka import KafkaLog

            return KafkaLog(url, settings)
        if scheme == "kafka+librdkafka":
            from davy.log.librdkafka import LibrdkafkaLog

            return LibrdkafkaLog(url, settings)
    except ImportError as error:
        raise SettingError("url", url, needs(str(error.name), extras=client_extra(scheme))) from error
    known = "sqlite:///directory, kafka://host:port,…/prefix or memory://name"
    raise SettingError("url", url, f"a log is {known}")


def client_extra(scheme: str) -> str:
    """Return the extra that brings the client of a log's scheme.

    Examples
    --------
    >>> client_extra("kafka")
    'cluster'
    """
    return "librdkafka" if scheme == "kafka+librdkafka" else "cluster"
