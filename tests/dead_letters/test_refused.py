"""A message that the log will never take becomes a dead letter and keeps nothing from being published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest
from support.dying import Fuse, Killed, mortal
from support.streams import ADAPTERS, Clock, bury, make_runtime, read, sample

from davy.codec import dump_any, load_any
from davy.config import DetectSettings
from davy.consume import Loop, stored_position
from davy.dead_letters import DeadLetters, Letter, Selection
from davy.errors import DecodeError, LogError, Refused
from davy.event import INFERENCES, LABELS, dead_letters
from davy.log import Log, Message, Producer, Record
from davy.runtime import Runtime
from davy.store import Batch

pytestmark = pytest.mark.fast

GIVEN = [b"%d" % number for number in range(1, 21)]
LARGE = 100
"""Bytes from which on the log refuses a message."""
Refuses: TypeAlias = Callable[[Message], bool]


def anywhere(message: Message) -> bool:
    return len(message.value) + len("".join(message.headers.values())) > 10 * LARGE or oversize(message)


def oversize(message: Message) -> bool:
    return len(message.value) > LARGE


def only_labels(message: Message) -> bool:
    return message.topic == LABELS and oversize(message)


class StrictLog:
    """A log that takes nothing of an append in which there is a message that it refuses."""

    def __init__(self, log: Log, refuses: Refuses) -> None:
        self._log, self._refuses = log, refuses

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    def producer(self) -> Producer:
        producer = self._log.producer()
        return StrictProducer(producer, self._refuses)


class StrictProducer:
    def __init__(self, producer: Producer, refuses: Refuses) -> None:
        self._producer, self._refuses = producer, refuses
        self.close = producer.close

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        for message in messages:
            if self._refuses(message):
                raise Refused("message", f"{len(message.value)} bytes", "send less")
        self._producer.append(messages, timeout=timeout)


class Copying:
    """Publishes a label for every number, sums the numbers, and makes large labels of some."""

    name = "copy"
    topics: Sequence[str] = (INFERENCES,)

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def restore(self) -> None:
        stored = self._runtime.store.get("sums", "all")
        self._sum = load_any(stored) if stored else 0

    def decode(self, record: Record) -> int:
        if not record.value.isdigit():
            raise DecodeError("record", "damaged", "must be a number")
        return int(record.value)

    def handle(self, items: Sequence[tuple[Record, int]], batch: Batch) -> list[Message]:
        self._sum += sum(number for _, number in items)
        batch.put("sums", "all", dump_any(self._sum))
        return [Message(LABELS, "m:1", label(number), {"trace": "7"}) for _, number in items]

    def idle(self, batch: Batch) -> list[Message]:
        return []


def label(number: int) -> bytes:
    return b"%d" % number + b"!" * (LARGE if number % 7 == 0 else 0)


def strict(runtime: Runtime, refuses: Refuses) -> Runtime:
    return replace(runtime, log=StrictLog(runtime.log, refuses))  # type: ignore[arg-type]


def feed(runtime: Runtime, values: Sequence[bytes]) -> None:
    runtime.log.producer().append([Message(INFERENCES, "m:1", value) for value in values])


def letters(runtime: Runtime, topic: str = LABELS) -> list[Letter]:
    return list(DeadLetters(runtime).waiting(Selection(topic=topic)))


def taken(runtime: Runtime) -> list[bytes]:
    return read(runtime, LABELS)


LABELLED = [label(number) for number in range(1, 21) if number % 7]
REFUSED = [label(number) for number in (7, 14)]


@pytest.fixture(params=ADAPTERS)
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    made = make_runtime(request.param, tmp_path, DetectSettings(), Clock())
    yield made
    made.store.close()
    made.log.close()


def test_what_the_log_refuses_becomes_a_letter_with_its_bytes_and_all_else_is_published_in_order(
    runtime: Runtime, spared: pytest.LogCaptureFixture
) -> None:
    feed(runtime, GIVEN)
    with spared.at_level(logging.INFO, logger="davy.consume"):
        assert Loop(strict(runtime, only_labels), Copying(runtime), max_records=8).drain() == len(GIVEN)
    assert taken(runtime) == LABELLED
    found = letters(runtime)
    assert [letter.record.value for letter in found] == REFUSED
    assert {(letter.error, letter.component, letter.record.headers["trace"]) for letter in found} == {
        ("Refused", "copy", "7")
    }
    assert sample(runtime, "davy_dead_letters_total", error="Refused", topic=LABELS) == 2
    assert [record.levelname for record in spared.records] == ["WARNING"]
    end = runtime.log.end(INFERENCES)[INFERENCES, 0]
    stored = stored_position(runtime.store, "copy", (INFERENCES, 0))
    assert stored is not None
    assert stored.offset == end


def test_a_letter_that_the_log_refuses_too_keeps_its_reason_and_loses_its_bytes(runtime: Runtime) -> None:
    damaged = b"\xff" * 2 * LARGE
    feed(runtime, [b"7", damaged, b"8"])
    Loop(strict(runtime, anywhere), Copying(runtime)).drain()
    assert taken(runtime) == [b"8"]
    (refused,) = letters(runtime)
    (unread,) = letters(runtime, INFERENCES)
    (record,) = (one for one in runtime.log.read(INFERENCES, 0, 0) if one.value == damaged)
    assert (refused.error, refused.record.value) == ("Refused", b"")
    assert refused.record.headers["davy.left_out"] == str(len(label(7)))
    assert (unread.error, unread.record.value) == ("DecodeError", b"")
    assert unread.source == f"{INFERENCES}/0/{record.offset}"
    for topic, error in ((LABELS, "Refused"), (INFERENCES, "DecodeError")):
        assert sample(runtime, "davy_dead_letters_total", error=error, topic=topic) == 1


def test_headers_that_the_log_refuses_are_left_out_with_the_bytes(runtime: Runtime) -> None:
    feed(runtime, [b"1"])
    runtime.log.producer().append([Message(INFERENCES, "m:1", b"odd", {"foreign": "x" * 20 * LARGE})])
    Loop(strict(runtime, anywhere), Copying(runtime)).drain()
    (letter,) = letters(runtime, INFERENCES)
    assert "foreign" not in letter.record.headers
    assert letter.record.headers["davy.message"]


def test_a_log_that_takes_no_letter_at_all_stops_the_loop_and_loses_nothing(runtime: Runtime) -> None:
    feed(runtime, [b"7", b"8"])
    full = Loop(strict(runtime, lambda one: oversize(one) or "dlq" in one.topic), Copying(runtime))
    with pytest.raises(Refused):
        full.drain()
    full.close()
    Loop(strict(runtime, anywhere), Copying(runtime)).drain()
    assert taken(runtime) == [b"8"]
    assert len(letters(runtime)) == 1


def test_whoever_takes_over_makes_no_second_letter_of_it(runtime: Runtime) -> None:
    feed(runtime, GIVEN[:7])
    first = Loop(strict(runtime, anywhere), Copying(runtime))
    first.drain()
    first.close()
    Loop(strict(runtime, anywhere), Copying(runtime)).drain()
    assert len(letters(runtime)) == 1


def test_an_outage_of_the_log_is_no_refusal(runtime: Runtime) -> None:
    outages = iter(range(3))

    def down(message: Message) -> bool:
        if next(outages, None) is not None:
            raise LogError("log", "down", "wait")
        return False

    feed(runtime, GIVEN[:6])
    loop = Loop(strict(runtime, down), Copying(runtime))
    for _ in range(3):
        with pytest.raises(LogError):
            loop.drain()
    loop.drain()
    assert taken(runtime) == LABELLED[:6]
    assert letters(runtime) == []


def test_a_kill_between_any_two_steps_loses_no_message_and_no_letter(tmp_path: Path) -> None:
    deaths, steps = 0, 0
    while deaths == steps:
        steps += 1
        runtime = make_runtime("memory", tmp_path, DetectSettings(), Clock())
        feed(runtime, GIVEN)
        dying = strict(mortal(runtime, Fuse(steps)), anywhere)
        try:
            Loop(dying, Copying(dying), max_records=8).drain()
        except Killed:
            deaths += 1
            bury(runtime, "role/copy")
            Loop(strict(runtime, anywhere), Copying(runtime), max_records=8).drain()
        assert load_any(runtime.store.get("sums", "all") or b"") == sum(map(int, GIVEN))
        assert set(taken(runtime)) == set(LABELLED)
        lost = [letter.record.headers["davy.left_out"] for letter in letters(runtime)]
        assert len(lost) >= len(REFUSED)
        assert set(lost) == {str(len(value)) for value in REFUSED}
    assert deaths > 20


def test_a_letter_without_its_bytes_is_not_put_back_and_can_be_dropped(runtime: Runtime) -> None:
    feed(runtime, [b"7", b"odd"])
    Loop(strict(runtime, anywhere), Copying(runtime)).drain()
    found = DeadLetters(runtime)
    assert len(found.replay(found.waiting(Selection(), whole=True))) == 1
    assert read(runtime, INFERENCES) == [b"7", b"odd", b"odd"]
    (left,) = found.waiting(Selection())
    assert (left.topic, left.whole) == (LABELS, False)
    found.drop(found.waiting(Selection()))
    assert list(found.waiting(Selection())) == []
    assert dead_letters(LABELS) == left.record.topic
