"""What the collector itself keeps of inferences: the records of the log, and those on their way to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

from davy.codec import dump_any, load_any, references
from davy.event import INFERENCES
from davy.forgetting.keepers import Trace
from davy.forgetting.names import ForgottenIds, Ids
from davy.forgetting.strip import SOURCES, Stripped, strip, tagged
from davy.log import Record
from davy.runtime import Runtime
from davy.store import Batch

OUTBOX: Final = "outbox"
"""The collection of what each role was about to publish last; see `davy.consume`."""
_PAGE: Final = 64


class LogKeeper:
    """Implements `davy.forgetting.Keeper` for every topic, its dead letters and the outboxes of roles."""

    def __init__(self, runtime: Runtime) -> None:
        self._log = runtime.log
        self._store = runtime.store
        self._names = ForgottenIds(runtime.store)

    def leases(self) -> Sequence[str]:
        """Name the leases under which outboxes are written: those of roles, and rights by their own name."""
        names = [name for name, _ in self._store.items(OUTBOX)]
        return [name if name.startswith("model/") else f"role/{name}" for name in names]

    def tagged(self, name: str, text: str) -> Iterator[bytes]:
        """Return the ids of the inferences of the log that carry a tag, without those that are hidden for good."""
        hidden = self._hidden()
        for record in self._records():
            yield from (id for id in tagged(record.topic, record.value, name, text) if id not in hidden)

    def traces(self, ids: Ids) -> Iterator[Trace]:
        """Return the records that hold something of `ids`, some at a time, and then the outboxes that do."""
        stays, shown = not self._log.erases, ids - self._hidden()
        for topic, partition in self._partitions():
            found = self._found(topic, partition, shown)
            while page := list(islice(found, _PAGE)):
                offsets = [record.offset for record, _ in page]
                remove = partial(self._erase, topic, partition, offsets, ids)
                yield _trace([stripped for _, stripped in page], remove, stays=stays)
        yield Trace({}, self._make_sure)
        for role, data in self._store.items(OUTBOX):
            held = [stripped for message in load_any(data) if (stripped := _strip(message, ids))]
            if held:
                yield _trace(held, partial(self._empty, role, ids))

    def payloads(self, ids: Ids) -> Iterator[str]:
        """Return the payloads that the log and the outboxes refer to, but for `ids`."""
        for record in self._records():
            yield from _references(record.topic, record.value, ids)
        for _, data in self._store.items(OUTBOX):
            for topic, _, value, _ in load_any(data):
                yield from _references(topic, value, ids)

    def _hidden(self) -> frozenset[bytes]:
        """Return the forgotten ids that only retention can do more about: those in a log that cannot erase."""
        return frozenset() if self._log.erases else self._names.finished()

    def _partitions(self) -> Iterator[tuple[str, int]]:
        for topic in SOURCES:
            yield from self._log.start(topic)

    def _records(self) -> Iterator[Record]:
        for topic, partition in self._partitions():
            yield from self._log.read(topic, partition, self._log.start(topic)[topic, partition])

    def _found(self, topic: str, partition: int, ids: Ids) -> Iterator[tuple[Record, Stripped]]:
        for record in self._log.read(topic, partition, self._log.start(topic)[topic, partition]):
            stripped = strip(topic, record.value, ids)
            if stripped is not None:
                yield record, stripped

    def _erase(self, topic: str, partition: int, offsets: Sequence[int], ids: Ids) -> None:
        values = {}
        for offset in offsets:
            for record in self._log.read(topic, partition, offset, offset + 1):
                stripped = strip(topic, record.value, ids)
                if stripped is not None:
                    values[offset] = stripped.value
        self._log.erase(topic, partition, values)

    def _make_sure(self) -> None:
        """Finish what an earlier run replaced without living to see it gone."""
        self._log.erase(INFERENCES, 0, {})

    def _empty(self, role: str, ids: Ids) -> None:
        stored = self._store.get(OUTBOX, role)
        kept = []
        for message in load_any(stored) if stored else ():
            stripped = _strip(message, ids)
            if stripped is not None:
                message[2] = stripped.value
            if message[2]:
                kept.append(message)
        self._store.apply(Batch().put(OUTBOX, role, dump_any(kept)))


def _trace(found: Sequence[Stripped], remove: partial[None], *, stays: bool = False) -> Trace:
    things: dict[str, frozenset[str]] = {}
    for one in found:
        things[one.kind] = things.get(one.kind, frozenset()) | one.names
    return Trace(things, remove, frozenset().union(*(one.payloads for one in found)), stays)


def _strip(message: Sequence[Any], ids: Ids) -> Stripped | None:
    topic, _, value, _ = message
    return strip(topic, value, ids)


def _references(topic: str, value: bytes, ids: Ids) -> frozenset[str]:
    found = references(value)
    stripped = strip(topic, value, ids) if found else None
    return found if stripped is None else references(stripped.value)
