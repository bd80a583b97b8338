"""What the collector itself keeps of inferences: the records of the log, and those on their way to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Final

from davy.codec import references
from davy.event import INFERENCES
from davy.forgetting.keepers import Trace
from davy.forgetting.names import ForgottenIds, Ids
from davy.forgetting.rights import outbox_lease
from davy.forgetting.strip import SOURCES, Stripped, strip, tagged
from davy.log import Message, Record
from davy.runtime import Runtime
from davy.store import Batch, Collection, plain

OUTBOX: Final[Collection[Sequence[Message]]] = plain(
    "outbox",
    list,
    writer="every role; davy forget",
    write=lambda messages: [[one.topic, one.key, one.value, dict(one.headers)] for one in messages],
    read=lambda found: [Message(*fields) for fields in found],
)
"""What each role was about to publish last, by `outbox_of`; see `davy.consume`."""
_PAGE: Final = 64


class LogKeeper:
    """Implements `davy.forgetting.Keeper` for every topic, its dead letters and the outboxes of roles."""

    def __init__(self, runtime: Runtime) -> None:
        self._log = runtime.log
        self._store = runtime.store
        self._names = ForgottenIds(runtime.store)

    def leases(self) -> Sequence[str]:
        """Name the leases under which outboxes are written: those of roles, and rights by their own name."""
        return [outbox_lease(name) for name in OUTBOX.keys(self._store)]

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
        for role, messages in OUTBOX.items(self._store):
            held = [stripped for one in messages if (stripped := strip(one.topic, one.value, ids))]
            if held:
                yield _trace(held, partial(self._empty, role, ids))

    def payloads(self, ids: Ids) -> Iterator[str]:
        """Return the payloads that the log and the outboxes refer to, but for `ids`."""
        for record in self._records():
            yield from _references(record.topic, record.value, ids)
        for messages in OUTBOX.values(self._store):
            for one in messages:
                yield from _references(one.topic, one.value, ids)

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
        kept = []
        for message in OUTBOX.get(self._store, role) or ():
            stripped = strip(message.topic, message.value, ids)
            value = message.value if stripped is None else stripped.value
            if value:
                kept.append(replace(message, value=value))
        self._store.apply(OUTBOX.put(Batch(), role, kept))


def _trace(found: Sequence[Stripped], remove: partial[None], *, stays: bool = False) -> Trace:
    things: dict[str, frozenset[str]] = {}
    for one in found:
        things[one.kind] = things.get(one.kind, frozenset()) | one.names
    return Trace(things, remove, frozenset().union(*(one.payloads for one in found)), stays)


def _references(topic: str, value: bytes, ids: Ids) -> frozenset[str]:
    found = references(value)
    stripped = strip(topic, value, ids) if found else None
    return found if stripped is None else references(stripped.value)
