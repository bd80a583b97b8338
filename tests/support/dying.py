"""Adapters that die at a chosen step, as a process does: between two calls, with nothing cleaned up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from davy.log import Assigned, Consumer, Log, Message, Position, Producer, Record
from davy.runtime import Runtime
from davy.store import Batch, Lease, Store


class Killed(BaseException):
    """The process is gone; nothing in it may catch this."""


class Fuse:
    """Burns one step with every call that changes something, before and after it, and kills at the last."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def mortal(runtime: Runtime, fuse: Fuse) -> Runtime:
    """Return a runtime on the same log and store that dies when `fuse` has burnt down."""
    return replace(runtime, log=_MortalLog(runtime.log, fuse), store=_MortalStore(runtime.store, fuse))


class _Mortal:
    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _MortalStore(_Mortal):
    _inner: Store

    def apply(self, batch: Batch, *, lease: Lease | None = None) -> None:
        self._fuse.burn()
        self._inner.apply(batch, lease=lease)
        self._fuse.burn()


class _MortalLog(_Mortal):
    _inner: Log

    def producer(self) -> Producer:
        return _MortalProducer(self._inner.producer(), self._fuse)

    def consumer(self, topics: Sequence[str], group: str, *, assigned: Assigned | None = None) -> Consumer:
        return _MortalConsumer(self._inner.consumer(topics, group, assigned=assigned), self._fuse)


class _MortalProducer(_Mortal):
    _inner: Producer

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        self._fuse.burn()
        self._inner.append(messages, timeout=timeout)
        self._fuse.burn()


class _MortalConsumer(_Mortal):
    _inner: Consumer

    def poll(self, *, max_records: int = 500, timeout: float = 1.0) -> list[Record]:
        records = self._inner.poll(max_records=max_records, timeout=timeout)
        self._fuse.burn()
        return records

    def commit(self, position: Position) -> None:
        self._fuse.burn()
        self._inner.commit(position)
        self._fuse.burn()
