"""Writes what requests brought: everything that waits goes into one append, and no id twice."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fastapi.concurrency import run_in_threadpool

from davy import metrics
from davy.errors import DavyError, LogError
from davy.gateway.names import ModelNames, ModelUse
from davy.gateway.recent import Recent
from davy.log import Message
from davy.runtime import Runtime

_APPEND_SECONDS: Final = 5.0
_log = logging.getLogger("davy.gateway")


@dataclass(frozen=True, slots=True)
class PendingRecord:
    """One record to be: inferences of one model, or an event that has no inferences to count.

    `value` gives the bytes of the record with only the rows it is told, in their order; `ids` has one name a row;
    `fields` are the names of what the rows have.
    """

    topic: str
    key: str
    value: Callable[[Sequence[int]], bytes]
    ids: Sequence[bytes] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    fields: Sequence[tuple[str, ...]] = ()


@dataclass(slots=True)
class _Waiting:
    parcels: Sequence[PendingRecord]
    done: asyncio.Future[int]


class Writer:
    """Appends parcels for many requests at once; used on one event loop.

    While one append runs in a thread, what arrives waits for the next, so a slow log makes larger appends and not
    more of them. A request is answered when its parcels are durable, or with the error of the append.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._producer = runtime.log.producer()
        self._meter = runtime.meter
        self._recent = Recent(runtime.settings.gateway.recent_ids)
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._names = ModelNames(runtime)

    async def write(self, parcels: Sequence[PendingRecord]) -> int:
        """Write parcels; on return they are durable. Gives how many rows had been written before.

        Raises
        ------
        TooManyNames
            There is no room for a new model or field; nothing was written.
        LogError, StoreError
            Log or store refused; nothing of these parcels was acknowledged.
        """
        await self._names.admit(_asked(parcels))
        loop = asyncio.get_running_loop()
        waiting = _Waiting(parcels, loop.create_future())
        self._waiting.append(waiting)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._drain())
        return await waiting.done

    def model_of(self, id: bytes, project: str) -> str:
        """Return the model whose inference was written a moment ago; empty where that is not known."""
        return self._recent.model_of(id, project)

    async def _drain(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            try:
                repeated = await run_in_threadpool(self._append, [one.parcels for one in group])
            except Exception as error:  # noqa: BLE001 - whatever it was, every request gets an answer
                for one in group:
                    _fail(one.done, error)
                continue
            for one, count in zip(group, repeated, strict=True):
                if not one.done.done():
                    one.done.set_result(count)

    def _append(self, group: Sequence[Sequence[PendingRecord]]) -> list[int]:
        """Append in one transaction; runs in a thread, one at a time. Gives the repeated rows of each request."""
        messages: list[Message] = []
        written: Counter[str] = Counter()
        again: Counter[str] = Counter()
        repeated = []
        names: list[int] = []
        try:
            for parcels in group:
                before = again.total()
                for parcel in parcels:
                    rows = self._recent.claim(parcel.key, parcel.ids, names)
                    again[parcel.key] += len(parcel.ids) - len(rows)
                    written[parcel.key] += len(rows)
                    if rows or not parcel.ids:
                        value = parcel.value(rows)
                        messages.append(Message(parcel.topic, parcel.key, value, parcel.headers))
                repeated.append(again.total() - before)
            self._producer.append(messages, timeout=_APPEND_SECONDS)
        except BaseException:
            self._recent.forget(names)
            raise
        self._count(metrics.RECEIVED, written)
        self._count(metrics.REPEATED_AT_GATEWAY, again)
        return repeated

    def _count(self, metric: metrics.Metric, counts: Mapping[str, int]) -> None:
        for model, count in counts.items():
            if count:
                self._meter.add(metric, count, model=model)


def _asked(parcels: Sequence[PendingRecord]) -> dict[str, ModelUse]:
    """Return what is asked for each model that has inferences among `parcels`."""
    found: dict[str, ModelUse] = {}
    for parcel in parcels:
        if parcel.ids:
            asked = found.setdefault(parcel.key, ModelUse())
            asked.inferences += len(parcel.ids)
            asked.fields.update(map(hash, parcel.fields))
    return found


def _fail(done: asyncio.Future[int], error: Exception) -> None:
    if done.done():
        return
    if not isinstance(error, DavyError):
        _log.error("the log failed: %r", error, exc_info=error)
        failure = LogError("log", type(error).__name__, "the log failed; send it again later")
        failure.__cause__ = error
        error = failure
    done.set_exception(error)
