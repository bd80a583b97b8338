"""A log whose readers see nothing of what was forgotten, whether or not its bytes can be erased."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from davy.forgetting.names import ForgottenIds, Ids
from davy.forgetting.strip import strip
from davy.log import Assigned, Consumer, Log, Record
from davy.store import Store


class HidingLog:
    """Shows the records of `log` without forgotten inferences; one of which nothing is left has an empty value.

    What arrives after it was forgotten, from an app's spool for instance, is erased when a group first reads it.

    Parameters
    ----------
    log
        Holds the records.
    store
        Holds the names of what is forgotten.
    """

    def __init__(self, log: Log, store: Store) -> None:
        self.url, self.exclusive, self.erases = log.url, log.exclusive, log.erases
        self._log = log
        self._names = ForgottenIds(store)
        self.producer, self.start, self.end = log.producer, log.start, log.end
        self.waiting, self.probe, self.damage = log.waiting, log.probe, log.damage
        self.identity = log.identity
        self.retain, self.erase, self.close = log.retain, log.erase, log.close
        self.extent, self.shrink = log.extent, log.shrink

    def consumer(self, topics: Sequence[str], group: str, *, assigned: Assigned | None = None) -> Consumer:
        """Open a consumer in `group`."""
        return _HidingConsumer(self._log.consumer(topics, group, assigned=assigned), self._log, self._names)

    def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> Iterator[Record]:
        """Return the records with ``start <= offset < stop``, outside any group, in order."""
        ids = self._names.current()
        return (_hidden(record, ids) for record in self._log.read(topic, partition, start, stop))


class _HidingConsumer:
    def __init__(self, consumer: Consumer, log: Log, names: ForgottenIds) -> None:
        self._log = log
        self._names = names
        self._consumer = consumer
        self.position, self.seek, self.commit = consumer.position, consumer.seek, consumer.commit
        self.lag, self.close = consumer.lag, consumer.close

    def poll(self, *, max_records: int = 500, timeout: float = 1.0) -> list[Record]:
        records = self._consumer.poll(max_records=max_records, timeout=timeout)
        ids = self._names.current()
        return [self._erased(record, _hidden(record, ids)) for record in records] if ids else records

    def _erased(self, record: Record, hidden: Record) -> Record:
        if hidden is not record:
            self._log.erase(record.topic, record.partition, {record.offset: hidden.value})
        return hidden


def _hidden(record: Record, ids: Ids) -> Record:
    stripped = strip(record.topic, record.value, ids)
    return record if stripped is None else replace(record, value=stripped.value)
