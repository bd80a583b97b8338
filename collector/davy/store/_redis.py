"""A Redis server or cluster by URL: what may stand in the URL, the client for it, and what a refusal means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TimeoutError,
)
from redis.retry import Retry

from davy._urls import without_password
from davy.errors import SettingError, StoreError

_OLDEST: Final = 7
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_TLS_FILES: Final = {"ca": "ssl_ca_certs", "cert": "ssl_certfile", "key": "ssl_keyfile"}
_FORM: Final = "a Redis is redis[s]://[user[:password]@]host[:port][/database][?namespace=…&timeout=…&ca=…]"
_HEALTH_SECONDS: Final = 30
_SHOWN: Final = 200
_REMEDIES: Final = (
    (AuthenticationError, "it refused user or password: correct them in the URL"),
    (BusyLoadingError, "it is loading its data: wait"),
    (TimeoutError, "it did not answer in time, and what it was sent may still happen: look at its load"),
    (ConnectionError, "it cannot be reached: start it, or correct address and TLS options in the URL"),
    (OutOfMemoryError, "it is full: raise maxmemory; nothing was changed"),
    (ReadOnlyError, "it is a replica: point the URL at the primary; nothing was changed"),
    (NoPermissionError, "the user lacks a right: docs/redis.md has the ACL rule; nothing was changed"),
    (ClusterError, "the cluster has no primary for these keys: repair it"),
    (RedisClusterException, "the cluster cannot be reached: start it, or correct the URL"),
    (RedisError, "it refused"),
)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """What a URL says: `shown` is the URL without its password."""

    shown: str
    namespace: str
    arguments: dict[str, Any] = field(repr=False)


def parse(url: str) -> RedisAddress:
    """Read a URL.

    Raises
    ------
    SettingError
        Something in it is not understood.

    Examples
    --------
    >>> parse("redis://davy:s3cret@redis.example/1?namespace=prod")
    RedisAddress(shown='redis://davy@redis.example/1?namespace=prod', namespace='prod')
    """
    shown = without_password(url)
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        database = int(parts.path.strip("/") or 0)
        port = parts.port or 6379
        timeout = float(options.pop("timeout", 5))
    except ValueError as error:
        raise SettingError("store_url", shown, _FORM) from error
    namespace = options.pop("namespace", "davy")
    if not _NAMESPACE.fullmatch(namespace):
        raise SettingError(
            "store_url", shown, "a namespace is 1 to 100 letters, digits, dots, dashes, underscores"
        )
    known = _TLS_FILES if parts.scheme == "rediss" else {}
    if not parts.hostname or not 0 < timeout <= 60 or options.keys() - known.keys():
        raise SettingError("store_url", shown, _FORM)
    arguments: dict[str, Any] = {
        "host": parts.hostname,
        "port": port,
        "db": database,
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "ssl": parts.scheme == "rediss",
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
    }
    return RedisAddress(shown, namespace, arguments | {known[name]: path for name, path in options.items()})


def connect(address: RedisAddress) -> Redis | RedisCluster:
    """Return a client; a server that is part of a cluster gets one that follows the keys.

    No client tries a command again on its own: whether the first one was carried out is not known, and another writer
    may have been at it since. Who called goes on from what the store says.

    Raises
    ------
    StoreError
        The server cannot be reached, refuses, or is too old.
    """
    options = {
        **address.arguments,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": _HEALTH_SECONDS,
        "socket_keepalive": True,
        "protocol": 2,
    }
    with failures(address):
        client = Redis(**options)
        found = client.info("server")
        version = str(found["redis_version"])
        if int(version.partition(".")[0]) < _OLDEST:
            client.close()
            raise StoreError("Redis", version, f"is too old: upgrade {address.shown} to {_OLDEST}.0 or later")
        if found["redis_mode"] != "cluster":
            return client
        client.close()
        options.pop("db")
        return RedisCluster(**options)


@contextmanager
def failures(address: RedisAddress) -> Iterator[None]:
    """Turn what the client raises into a StoreError with what to do about it."""
    try:
        yield
    except (RedisError, RedisClusterException) as error:
        remedy = next(remedy for kind, remedy in _REMEDIES if isinstance(error, kind))
        raise StoreError("store", address.shown, f"{remedy} ({str(error)[:_SHOWN]})") from error
    except UnicodeEncodeError as error:
        raise StoreError("store", address.shown, f"give text that UTF-8 can hold ({error.reason})") from error
