"""The role: takes note of records, seals ranges of them, and writes the files of sealed ranges."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from davy import metrics
from davy.archive.places import FilePlace
from davy.archive.schemas import Schemas
from davy.archive.spans import Ledger, Span, ledgers, put_ledger
from davy.archive.tables import SHELVES, by_day, folder_of, once, to_parquet
from davy.errors import DecodeError
from davy.event import INFERENCES, Envelope
from davy.forgetting import ForgottenIds
from davy.log import Message, Partition, Record
from davy.runtime import Runtime
from davy.store import Batch

_SPAN_BYTES: Final = 32 * 2**20
"""Bytes of records at which a span is sealed, so that memory stays within a few times as much."""
_SECOND: Final = 10**9
_logger = logging.getLogger("davy.archive")


class Archive:
    """Implements `davy.consume.Role`: memory holds which records wait, and the log their contents.

    A span of offsets is sealed when it has enough rows or bytes, or is old enough. Its files are written from the log
    once the seal is in the store; the transaction that follows forgets the span.

    Parameters
    ----------
    runtime
        Settings (section ``archive``), log, store, meter and clock.
    place
        Where the files go.
    """

    name: str = "archive"
    topics: Sequence[str] = tuple(SHELVES)

    def __init__(self, runtime: Runtime, place: FilePlace) -> None:
        self._runtime = runtime
        self._place = place
        self._names = ForgottenIds(runtime.store)
        self._schemas = Schemas(runtime.store, place)
        self._ledgers: dict[Partition, Ledger] = {}
        self._logs: dict[str, str] = {}

    def restore(self) -> None:
        """Take up which records wait for their files; those of a log that is gone wait in vain."""
        self._schemas.forget()
        self._ledgers = ledgers(self._runtime.store)
        self._logs = {topic: self._runtime.log.identity(topic) for topic in self.topics}
        for place, ledger in self._ledgers.items():
            for span in ledger.leave(self._logs.get(place[0], "")):
                text = "another log took its place before records were archived"
                self._say_lost(place, span.first, span.last, "Replaced", text)

    def decode(self, record: Record) -> int:
        """Read a record whole; return its number of rows."""
        found = SHELVES[record.topic].load(record.value)
        return found.count if isinstance(found, Envelope) else 1

    def handle(self, items: Sequence[tuple[Record, int]], batch: Batch) -> list[Message]:
        """Take note of records; where a span ends depends on them alone, not on how they were polled."""
        settings, now = self._runtime.settings.archive, self._runtime.clock()
        touched: set[Partition] = set()
        for record, rows in items:
            place = record.topic, record.partition
            ledger = self._ledgers.setdefault(place, Ledger())
            span = ledger.take_in(
                record.offset, rows=rows, size=len(record.value), now=now, log=self._logs[record.topic]
            )
            if span.rows >= settings.rows or span.size >= _SPAN_BYTES:
                ledger.seal()
            touched.add(place)
        for place in touched:
            self._keep(place, batch)
        return []

    def idle(self, batch: Batch) -> list[Message]:
        """Write the files of sealed spans, whose seals are in the store, then seal the spans that are old enough.

        Where files need columns that the schemas lack, these go into the store first and the files wait for it.
        """
        age = int(self._runtime.settings.archive.seconds * _SECOND)
        for place, ledger in self._ledgers.items():
            waiting = len(ledger.sealed)
            while ledger.sealed and self._write(place, ledger.sealed[0], batch):
                ledger.sealed.pop(0)
            # An opening in the future is one before the clock was set back.
            due = (
                ledger.growing is not None and not 0 <= self._runtime.clock() - ledger.growing.opened_at < age
            )
            if due:
                ledger.seal()
            if due or len(ledger.sealed) != waiting:
                self._keep(place, batch)
        return []

    def _keep(self, place: Partition, batch: Batch) -> None:
        put_ledger(batch, place, self._ledgers[place])

    def _write(self, place: Partition, span: Span, batch: Batch) -> bool:
        """Write the files of a span; return whether that is done: not before the store has the columns of the files."""
        start = self._runtime.log.start(place[0]).get(place, span.first)
        written: set[str] = set()
        while True:
            forgotten = self._names.current()
            tables = self._tables(place, span)
            if self._schemas.grow(batch):
                return False
            again = set(self._put_files(place, span, tables))
            for path in written - again:
                self._place.remove(path)
            written = again
            if self._names.current() == forgotten:
                break  # else `davy forget` may have come by between the reading and the writing
        if start > span.first:
            text = "retention removed records before they were archived"
            self._say_lost(place, span.first, min(start, span.last + 1) - 1, "Retained", text)
        return True

    def _tables(self, place: Partition, span: Span) -> dict[str, Any]:
        """Return the rows of a span by model, as the log shows it now."""
        shelf = SHELVES[place[0]]
        return {
            model: shelf.table(found, self._schemas.of(shelf.folder, _name(model)))
            for model, found in self._read(place, span).items()
        }

    def _put_files(self, place: Partition, span: Span, tables: Mapping[str, Any]) -> Iterator[str]:
        """Write the files of a span; return their paths."""
        topic, partition = place
        parts = [partition, span.first, span.last, *filter(None, [span.log[:8]])]
        shelf, name = SHELVES[topic], f"{'-'.join(map(str, parts))}.parquet"
        for model, table in tables.items():
            rows = table.num_rows
            table = once(table, shelf.key)
            self._schemas.tell(shelf.folder, _name(model), shelf.own)
            if topic == INFERENCES:
                for other in SHELVES.values():
                    self._schemas.tell_of_none(other.folder, _name(model), other.own)
            for day, part in by_day(table, shelf.own):
                path = f"{shelf.folder}/{folder_of(model)}/day={day}/{name}"
                self._place.put(path, to_parquet(part, model=model))
                yield path
            self._runtime.meter.add(metrics.ARCHIVED, table.num_rows, topic=topic)
            self._runtime.meter.add(metrics.REPEATED_IN_ARCHIVE, rows - table.num_rows, topic=topic)

    def _read(self, place: Partition, span: Span) -> dict[str, list[Any]]:
        load = SHELVES[place[0]].load
        found: dict[str, list[Any]] = {}
        for record in self._runtime.log.read(*place, span.first, span.last + 1):
            try:
                item = load(record.value)
            except DecodeError:
                continue  # set aside when it was taken note of
            found.setdefault(item.model, []).append(item)
        return found

    def _say_lost(self, place: Partition, first: int, last: int, error: str, text: str) -> None:
        self._runtime.meter.add(metrics.ROLE_ERRORS, role=self.name, error=error)
        _logger.error("%s: %s/%d, offsets %d to %d", text, *place, first, last)


def _name(model: str) -> str:
    return model.partition(":")[0]
