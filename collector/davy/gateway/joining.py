"""Joins the request and the response of a call that were logged apart."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from fastapi.concurrency import run_in_threadpool

from davy import metrics
from davy.codec import Encoder
from davy.errors import DavyError, InvalidInference
from davy.gateway.bodies import aside
from davy.gateway.halves import Half, join, read
from davy.gateway.writer import Writer
from davy.runtime import Runtime
from davy.store import Batch, Collection, events

_HALVES: Final[Collection[Half]] = events("joining", Half, writer="gateway")
"""Logged halves of calls that wait for the other one."""
_LONGEST_TICK: Final = 1.0
_log = logging.getLogger("davy.gateway")


class Joiner:
    """Holds halves until the other one comes, the time is over or there is no room; used on one event loop.

    A half that waits is in the store too, so an acknowledged one outlives the process. There is room for
    `gateway.join_events` halves and as many bytes of them as `gateway.bytes_at_once`; the oldest makes room by being
    written alone.
    """

    def __init__(self, runtime: Runtime, writer: Writer) -> None:
        settings = runtime.settings.gateway
        self._store, self._meter, self._clock = runtime.store, runtime.meter, runtime.clock
        self._writer = writer
        self._encoder = Encoder()
        self._rows = settings.request_rows
        self._seconds, self._most, self._most_bytes = (
            settings.join_seconds, settings.join_events, settings.bytes_at_once,
        )  # fmt: skip
        self._halves: dict[str, Half] = {}
        self._bytes = 0

    async def take(self, half: Half) -> tuple[int, int] | None:
        """Take a half: give the rows acknowledged and those written before, or None while it waits for the other.

        Raises
        ------
        InvalidInference
            It cannot be read.
        LogError, StoreError
            Nothing was acknowledged.
        """
        await aside(len(half.data), lambda: read(half))
        other = self._halves.get(half.key)
        if other is not None and other.side == half.side:
            return 0, 1
        if other is None:
            await self._hold(half)
            return None
        self._drop(other)
        try:
            return await self._write(half, other)
        except DavyError:
            self._keep(other)
            raise

    async def expire(self) -> None:
        """Write the halves whose time is over, and the oldest while there are too many."""
        now = self._clock()
        for half in list(self._halves.values()):
            late = half.held_at + int(self._seconds * 1e9) <= now
            crowded = len(self._halves) > self._most or self._bytes > self._most_bytes
            if not late and not crowded:
                return
            if self._halves.get(half.key) is half:
                await self._give_up(half)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Take up what an earlier process left waiting, and watch the time."""
        for half in await run_in_threadpool(lambda: list(_HALVES.values(self._store))):
            self._keep(half)
        self._halves = dict(sorted(self._halves.items(), key=lambda item: item[1].held_at))
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min(_LONGEST_TICK, self._seconds / 4 + 0.01))
            try:
                await self.expire()
            except DavyError as error:
                _log.warning("a logged call waits on: %s", error)

    async def _hold(self, half: Half) -> None:
        self._keep(half)
        try:
            await self._change(lambda batch: _HALVES.put(batch, _name(half), half))
        except DavyError:
            self._drop(half)
            raise
        if self._halves.get(half.key) is not half:  # the other half came meanwhile
            await self._forget(half)
        elif len(self._halves) > self._most or self._bytes > self._most_bytes:
            await self.expire()

    async def _give_up(self, half: Half) -> None:
        self._drop(half)
        try:
            await self._write(half, None)
        except InvalidInference as error:
            _log.warning("a logged %s cannot be written: %s", half.side, error)
        except DavyError:
            self._keep(half)
            raise
        self._meter.add(metrics.UNJOINED, half=half.side)

    async def _write(self, half: Half, other: Half | None) -> tuple[int, int]:
        size = len(half.data) + (len(other.data) if other else 0)
        parcels = await aside(size, lambda: join(self._encoder, half, other, self._rows))
        repeated = await self._writer.write(parcels)
        await self._forget(other or half)
        return sum(len(parcel.ids) for parcel in parcels), repeated

    def _keep(self, half: Half) -> None:
        self._halves[half.key] = half
        self._bytes += len(half.data)

    def _drop(self, half: Half) -> None:
        if self._halves.get(half.key) is half:
            del self._halves[half.key]
            self._bytes -= len(half.data)

    async def _forget(self, half: Half) -> None:
        await self._change(lambda batch: _HALVES.delete(batch, _name(half)))

    async def _change(self, change: Callable[[Batch], Batch]) -> None:
        await run_in_threadpool(lambda: self._store.apply(change(Batch())))


def _name(half: Half) -> str:
    return hashlib.sha256(half.key.encode()).hexdigest()
