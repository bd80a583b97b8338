"""An inference is found by its id: how far the look-up reaches, and what it reads for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from davy.codec import Encoder, pack
from davy.event import INFERENCES
from davy.log import Message, Record
from davy.log.sqlite import SqliteLog
from davy.sdk.ids import fresh
from davy_detectors.history.lookup import AFTER, find, made_at

pytestmark = pytest.mark.fast
BEGIN = 1_700_000_000 * 10**9
EVERY = 60 * 10**9
RECORDS = 3_000


class Clock:
    now = BEGIN

    def __call__(self) -> int:
        return self.now


class Counting:
    """A log that counts the records that are read of it."""

    def __init__(self, log: SqliteLog) -> None:
        self._log, self.records = log, 0
        self.url, self.start, self.end, self.identity = log.url, log.start, log.end, log.identity

    def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> Iterator[Record]:
        for record in self._log.read(topic, partition, start, stop):
            self.records += 1
            yield record


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SqliteLog, list[bytes]]]:
    """Two days of records, one a minute, each with two inferences."""
    clock = Clock()
    log = SqliteLog(f"sqlite:///{tmp_path_factory.mktemp('lookup')}", clock=clock)
    encoder, ids, producer = Encoder(), list[bytes](), log.producer()
    for number in range(RECORDS):
        clock.now = BEGIN + number * EVERY
        ids += [fresh(clock.now - 10**9), fresh(clock.now)]
        chunks = [encoder.encode("m:1", id, clock.now, {"x": number}, {}) for id in ids[-2:]]
        producer.append([Message(INFERENCES, "m:1", pack(chunks))])
    producer.close()
    yield log, ids
    log.close()


@pytest.mark.parametrize("number", [0, 1, 777, 2_501, 2 * RECORDS - 1])
def test_the_time_of_an_id_leads_to_its_record(number: int, filled: tuple[SqliteLog, list[bytes]]) -> None:
    log, ids = filled
    counting = Counting(log)
    found = find(counting, ids[number], seconds=0.0)  # type: ignore[arg-type]
    assert found is not None
    assert (found.offset - 1, found.row) == divmod(number, 2)
    assert found.envelope.ids[found.row].tobytes() == ids[number]
    # Two bisections, the first record of the slice, and the records of one minute before.
    assert counting.records <= 2 * np.ceil(np.log2(RECORDS)) + 6


def test_an_id_that_nobody_has_costs_no_more_than_its_time(filled: tuple[SqliteLog, list[bytes]]) -> None:
    counting = Counting(filled[0])
    assert find(counting, fresh(BEGIN + 1_000 * EVERY), seconds=0.0) is None  # type: ignore[arg-type]
    assert counting.records < 64 + 64 + AFTER / EVERY


def test_what_was_appended_hours_later_is_found_by_reading_on(tmp_path: Path) -> None:
    clock = Clock()
    log = SqliteLog(f"sqlite:///{tmp_path}", clock=clock)
    producer, encoder, late = log.producer(), Encoder(), fresh(BEGIN)
    for number in range(200):
        clock.now = BEGIN + number * EVERY
        ids = [fresh(clock.now), late if number == 199 else fresh(clock.now)]
        chunks = [encoder.encode("m:1", id, clock.now, {"x": 1}, {}) for id in ids]
        producer.append([Message(INFERENCES, "m:1", pack(chunks))])
    producer.close()
    found = find(log, late)
    assert found is not None
    assert found.offset == 200
    assert find(log, late, "m:2") is None
    log.close()


def test_an_id_of_an_apps_own_carries_no_time() -> None:
    assert made_at(bytes(range(16))) is None
    assert made_at(fresh(BEGIN)) == BEGIN
