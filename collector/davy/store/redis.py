"""The store in Redis 7 or later, a server or a cluster, shared by the processes of many hosts.

A collection is a hash with its records and a sorted set with their keys, for order; a lease is a hash that never
expires, so that its fence goes on growing. All keys begin with ``{namespace}``: a cluster keeps them in one slot, and a
batch is one script on one server, which is replicated as one transaction. Scripts rather than ``MULTI``: the lease
is checked, by the server's clock, in the same step that writes, in one round trip instead of three.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from redis import Redis
from redis.cluster import RedisCluster
from redis.exceptions import ReadOnlyError

from davy.errors import LeaseLost, StoreError
from davy.store._redis import connect, failures, parse
from davy.store.base import Batch, Lease, first_fence

_LAYOUT: Final = b"1"
_PAGE: Final = 256
_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
# KEYS: the lease, then records and index of each collection. ARGV: owner, fence (empty without a lease), batches seen,
# then verb, number of the collection, key and value of each change.
_APPLY: Final = f"""
local leased = ARGV[2] ~= ''
if leased then
  {_NOW}
  local held = redis.call('HMGET', KEYS[1], 'owner', 'fence', 'until', 'batches')
  if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] or tonumber(held[3]) <= now then return -1 end
  if tonumber(held[4]) < tonumber(ARGV[3]) then return -2 end
end
for place = 4, #ARGV, 4 do
  local verb, number, key, value = unpack(ARGV, place, place + 3)
  local records, index = KEYS[2 * number], KEYS[2 * number + 1]
  if verb == 'delete' then
    if redis.call('HDEL', records, key) == 1 then redis.call('ZREM', index, key) end
  elseif redis.call(verb == 'put' and 'HSET' or 'HSETNX', records, key, value) == 1 then
    redis.call('ZADD', index, 0, key)
  end
end
return leased and redis.call('HINCRBY', KEYS[1], 'batches', 1) or 0
"""
_ACQUIRE: Final = f"""
{_NOW}
local held = redis.call('HMGET', KEYS[1], 'owner', 'fence', 'until', 'taken')
local fence, taken = tonumber(held[2] or ARGV[4]), tonumber(held[4] or 0)
if held[1] ~= ARGV[1] then
  if held[1] and tonumber(held[3]) > now and ARGV[3] == '' then
    if taken > now then redis.call('HSET', KEYS[1], 'until', now + held[3] - taken, 'taken', now) end
    return 0
  end
  fence = fence + 1
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'fence', fence, 'until', now + ARGV[2], 'taken', now)
redis.call('HSETNX', KEYS[1], 'batches', 0)
return fence
"""
_RELEASE: Final = """
local held = redis.call('HMGET', KEYS[1], 'owner', 'fence')
if held[1] == ARGV[1] and held[2] == ARGV[2] then redis.call('HSET', KEYS[1], 'until', 0) end
"""
_SCRUB_SECONDS: Final = 60.0
_PROBE_SECONDS: Final = 60
_LOOK_SECONDS: Final = 0.02
_WRITING: Final = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")
_READ: Final = """
local keys = redis.call('ZRANGE', KEYS[2], ARGV[1], '+', 'BYLEX', 'LIMIT', 0, ARGV[2])
if #keys == 0 then return {keys, keys} end
return {keys, redis.call('HMGET', KEYS[1], unpack(keys))}
"""


class RedisStore:
    """A store in one namespace of a Redis.

    Parameters
    ----------
    url
        ``redis://[user[:password]@]host[:port][/database]``, or ``rediss://`` for TLS, with the options ``namespace``
        (default ``davy``), ``timeout`` (seconds of every call, default 5) and, for TLS, ``ca``, ``cert`` and ``key``
        (paths of PEM files).

    Raises
    ------
    SettingError
        The URL is not understood.
    StoreError
        The server cannot be reached, refuses, is older than 7.0, or a newer Davy wrote the namespace.
    """

    def __init__(self, url: str) -> None:
        self._address = parse(url)
        self.url = self._address.shown
        self._prefix = f"{{{self._address.namespace}}}"
        self._client = connect(self._address)
        self._run = {text: self._client.register_script(text) for text in (_APPLY, _ACQUIRE, _RELEASE, _READ)}
        self._batches: dict[Lease, int] = {}
        with failures(self._address):
            key = f"{self._prefix}:layout"
            found = self._client.get(key)
            if found is None:
                self._client.set(key, _LAYOUT, nx=True)
            elif found != _LAYOUT:
                remedy = f"a newer Davy wrote it (layout {found!r}, this one reads {_LAYOUT!r}); upgrade Davy"
                raise StoreError("store", self.url, remedy)

    def get(self, collection: str, key: str) -> bytes | None:
        """Return a record, or None."""
        with failures(self._address):
            return cast("bytes | None", self._client.hget(self._records(collection), key))

    def get_many(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        """Return those of the records `keys` that are there, read a page at a time."""
        found: dict[str, bytes] = {}
        for start in range(0, len(keys), _PAGE):
            page = keys[start : start + _PAGE]
            with failures(self._address):
                values = cast("list[bytes | None]", self._client.hmget(self._records(collection), page))
            found.update((key, value) for key, value in zip(page, values, strict=True) if value is not None)
        return found

    def items(self, collection: str) -> Iterator[tuple[str, bytes]]:
        """Return every record of a collection, sorted by key.

        Records are read a page at a time: one that stands all the while comes once, one that is written meanwhile may
        come or not.
        """
        places = self._places(collection)
        keys, values = self._call(_READ, places, [b"-", _PAGE])
        while keys:
            yield from zip([key.decode() for key in keys], values, strict=True)
            keys, values = self._call(_READ, places, [b"(" + keys[-1], _PAGE])

    def count(self, collection: str) -> int:
        """How many records a collection has."""
        with failures(self._address):
            return int(self._client.hlen(self._records(collection)))

    def apply(self, batch: Batch, *, lease: Lease | None = None) -> None:
        """Make every change of `batch` in one transaction.

        The server counts the batches of a lease. Where it counts fewer than it has acknowledged, it has gone back in
        time, as a replica does that takes over with the last writes missing: then what the owner holds in memory is
        ahead of the store, and the owner has to start again from what the store says.

        Raises
        ------
        LeaseLost
            `lease` was given and is no longer held with this fence, or the server has gone back; nothing was changed.
        StoreError
            The server refused, or did not answer: then nothing was changed, or all of it is or will be.
        """
        seen = self._batches.pop(lease, 0) if lease else 0
        numbers: dict[str, int] = {}
        arguments: list[Any] = [lease.owner, lease.fence, seen] if lease else ["", "", ""]
        for verb, collection, key, value in batch.operations:
            arguments += verb, numbers.setdefault(collection, len(numbers) + 1), key, value
        keys = [
            self._lease(lease.name if lease else ""),
            *(k for name in numbers for k in self._places(name)),
        ]
        outcome = self._call(_APPLY, keys, arguments)
        if lease is None:
            return
        if outcome == -1:
            raise LeaseLost("lease", lease.name, f"{lease.owner} no longer holds it; acquire it again")
        if outcome == -2:
            remedy = f"{self.url} has lost writes it had acknowledged; start again from what it holds"
            raise LeaseLost("lease", lease.name, remedy)
        self._batches[lease] = outcome

    def acquire(self, name: str, owner: str, *, seconds: float, steal: bool = False) -> Lease | None:
        """Take or renew the right `name` for `seconds` of the server's clock.

        None while another owner holds it, unless to `steal` it.
        """
        arguments = [owner, int(seconds * 1000), "steal" if steal else "", first_fence()]
        fence = self._call(_ACQUIRE, [self._lease(name)], arguments)
        return Lease(name, owner, fence) if fence else None

    def release(self, lease: Lease) -> None:
        """Release a right; harmless when it is lost already."""
        self._call(_RELEASE, [self._lease(lease.name)], [lease.owner, lease.fence])
        self._batches.pop(lease, None)

    def info(self) -> dict[str, Any]:
        """What the server says about itself (the command ``INFO``)."""
        with failures(self._address):
            return dict(self._server().info())

    def probe(self, timeout: float) -> str:
        """Set a key that expires; the URL says how long a call may take."""
        del timeout
        with failures(self._address):
            self._client.set(f"{self._prefix}:probe", b"", ex=_PROBE_SECONDS)
        return "a key was written"

    def damage(self, seconds: float) -> str:
        """Redis looks over its files itself when it starts."""
        del seconds
        return ""

    def shrink(self, *, everything: bool = False, rewrite: bool = False) -> int:
        """The server's memory is its own."""
        del everything, rewrite
        return 0

    def scrub(self) -> None:
        """Make sure that nothing that was deleted or replaced stays in the append-only file or the snapshot.

        The server writes them anew, which takes as long as a start of it does.

        Raises
        ------
        StoreError
            The server did not finish within a minute.
        """
        self._wait_for_files()
        with failures(self._address):
            server = self._server()
            begin = server.bgrewriteaof if server.info("persistence")["aof_enabled"] else server.bgsave
            begin()
        self._wait_for_files()

    def close(self) -> None:
        """Release everything; calling it twice is harmless."""
        self._client.close()

    def _server(self) -> Redis:
        """Return a client of the one server that holds the namespace."""
        if not isinstance(self._client, RedisCluster):
            return self._client
        node = self._client.get_node_from_key(f"{self._prefix}:layout")  # type: ignore[no-untyped-call]
        return self._client.get_redis_connection(node)

    def _wait_for_files(self) -> None:
        deadline = time.monotonic() + _SCRUB_SECONDS
        while True:
            with failures(self._address):
                found = self._server().info("persistence")
            if not any(found.get(name) for name in _WRITING):
                return
            if time.monotonic() > deadline:
                raise StoreError("store", self.url, "is still writing its files; try again later")
            time.sleep(_LOOK_SECONDS)

    def _call(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        with failures(self._address):
            try:
                return self._run[script](keys=keys, args=arguments)
            except ReadOnlyError:
                self._client.close()  # the name may lead to another server by now: resolve it again
                raise

    def _records(self, collection: str) -> str:
        return f"{self._prefix}:records:{collection}"

    def _places(self, collection: str) -> tuple[str, str]:
        return self._records(collection), f"{self._prefix}:index:{collection}"

    def _lease(self, name: str) -> str:
        return f"{self._prefix}:lease:{name}"
