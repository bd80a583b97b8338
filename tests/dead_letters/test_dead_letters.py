"""Dead letters: listed until dealt with, put back unchanged, never lost wherever a crash falls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support.dying import Fuse, Killed, mortal
from support.partitioned import PartitionedLog
from support.streams import BEGIN, SECOND, Clock, make_runtime

from davy.config import DetectSettings
from davy.consume import Loop
from davy.dead_letters import DeadLetters, Selection, explain
from davy.errors import DecodeError, SettingError, StoreError
from davy.event import FEEDBACK, INFERENCES, TOPICS, dead_letters
from davy.log import Message, Record
from davy.runtime import Runtime
from davy.store import Batch

pytestmark = pytest.mark.fast
ALL = Selection()


class Picky:
    """Takes numbers; what it cannot decode, or fails at, is set aside by its loop."""

    topics: Sequence[str] = (INFERENCES,)

    def __init__(self, name: str = "picky") -> None:
        self.name = name
        self.taken: list[bytes] = []
        self.learned = False

    def restore(self) -> None:
        self.taken.clear()

    def decode(self, record: Record) -> bytes:
        if not record.value.isdigit() and not self.learned:
            raise DecodeError("record", record.value, "must be a number")
        return record.value

    def handle(self, items: Sequence[tuple[Record, bytes]], batch: Batch) -> list[Message]:
        for _, value in items:
            if value == b"13" and not self.learned:
                raise ZeroDivisionError("unlucky")
        self.taken += [value for _, value in items]
        return []

    def idle(self, batch: Batch) -> list[Message]:
        return []


@pytest.fixture(params=["memory", "sqlite", "partitioned"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    adapter = "memory" if request.param == "partitioned" else request.param
    made = make_runtime(adapter, tmp_path, DetectSettings(), Clock())
    if request.param == "partitioned":
        made = replace(made, log=PartitionedLog())
    yield made
    made.store.close()
    made.log.close()


def append(runtime: Runtime, *values: bytes, topic: str = INFERENCES) -> None:
    messages = [Message(topic, f"m:{n}", value, {"trace": "7"}) for n, value in enumerate(values)]
    runtime.log.producer().append(messages)


def set_aside(runtime: Runtime, *values: bytes, topic: str = INFERENCES) -> None:
    headers = {"trace": "7", **explain(KeyError("x"), topic=topic, component="gateway")}
    messages = [Message(dead_letters(topic), f"m:{n}", value, headers) for n, value in enumerate(values)]
    runtime.log.producer().append(messages)


def records(runtime: Runtime, topic: str) -> list[Record]:
    found: list[Record] = []
    for (_, partition), start in runtime.log.start(topic).items():
        found += runtime.log.read(topic, partition, start)
    return found


def values(runtime: Runtime, topic: str = INFERENCES) -> Counter[bytes]:
    return Counter(record.value for record in records(runtime, topic))


def waiting(runtime: Runtime) -> Counter[bytes]:
    return Counter(letter.record.value for letter in DeadLetters(runtime).waiting(ALL))


def test_a_replayed_letter_is_the_record_it_was_and_waits_no_longer(runtime: Runtime) -> None:
    append(runtime, b"1", b"\xff\x00 odd", b"2")
    Loop(runtime, Picky()).drain()
    assert waiting(runtime) == {b"\xff\x00 odd": 1}
    letters = DeadLetters(runtime)
    letters.replay(letters.waiting(ALL))
    assert waiting(runtime) == {}
    first, again = (record for record in records(runtime, INFERENCES) if record.value == b"\xff\x00 odd")
    assert (again.key, again.headers["trace"]) == (first.key, "7")
    assert [name for name in again.headers if name.startswith("davy.")] == ["davy.attempts"]


def test_a_reader_that_has_learned_takes_what_is_put_back(runtime: Runtime) -> None:
    append(runtime, b"odd", b"13")
    role = Picky()
    loop = Loop(runtime, role)
    loop.drain()
    letters = DeadLetters(runtime)
    letters.replay(letters.waiting(ALL))
    role.learned = True
    loop.drain()
    assert sorted(role.taken) == [b"13", b"odd"]
    assert waiting(runtime) == {}


def test_attempts_go_on_counting_through_replays(runtime: Runtime) -> None:
    append(runtime, b"odd", b"13")
    loop, counted = Loop(runtime, Picky()), []
    letters = DeadLetters(runtime)
    for _ in range(3):
        loop.drain()
        found = {one.record.value: one.record.headers["davy.attempts"] for one in letters.waiting(ALL)}
        counted.append(found)
        letters.replay(letters.waiting(ALL))
    assert counted == [
        {b"odd": "1", b"13": "3"},
        {b"odd": "2", b"13": "6"},
        {b"odd": "3", b"13": "9"},
    ]


def test_a_foreign_header_of_attempts_does_not_stop_the_loop(runtime: Runtime) -> None:
    runtime.log.producer().append([Message(INFERENCES, "m:1", b"odd", {"davy.attempts": "many"})])
    Loop(runtime, Picky()).drain()
    (letter,) = DeadLetters(runtime).waiting(ALL)
    assert letter.record.headers["davy.attempts"] == "1"


def test_a_record_that_two_roles_set_aside_is_put_back_once(runtime: Runtime) -> None:
    append(runtime, b"odd")
    for name in ("detect", "archive"):
        Loop(runtime, Picky(name)).drain()
    letters = DeadLetters(runtime)
    assert sorted(one.component for one in letters.replay(letters.waiting(ALL))) == ["archive", "detect"]
    assert values(runtime) == {b"odd": 2}
    assert waiting(runtime) == {}


def test_a_kill_between_any_two_steps_of_a_replay_loses_nothing_and_puts_back_at_most_twice(
    tmp_path: Path,
) -> None:
    given = Counter(b"letter %d" % number for number in range(150))  # more than two batches
    deaths, steps = 0, 0
    while deaths == steps:
        steps += 1
        runtime = make_runtime("memory", tmp_path, DetectSettings(), Clock())
        set_aside(runtime, *given)
        dying = DeadLetters(mortal(runtime, Fuse(steps)))
        try:
            dying.replay(dying.waiting(ALL))
        except Killed:
            deaths += 1
        letters = DeadLetters(runtime)
        letters.replay(letters.waiting(ALL))
        found = values(runtime)
        assert found.keys() == given.keys()
        assert max(found.values()) <= 2
        assert waiting(runtime) == {}
    assert deaths > 10


def test_two_processes_never_replay_at_once(runtime: Runtime) -> None:
    set_aside(runtime, b"a", b"b")
    first, second = DeadLetters(runtime), DeadLetters(runtime)

    def interrupted() -> Iterator[object]:
        for letter in first.waiting(ALL):
            with pytest.raises(StoreError, match="another process"):
                second.replay(second.waiting(ALL))
            yield letter

    first.replay(interrupted())  # type: ignore[arg-type]
    assert values(runtime) == {b"a": 1, b"b": 1}
    assert second.replay(second.waiting(ALL)) == []


def test_what_is_dropped_waits_no_longer_and_is_not_put_back(runtime: Runtime) -> None:
    set_aside(runtime, b"a", b"b")
    letters = DeadLetters(runtime)
    letters.drop(one for one in letters.waiting(ALL) if one.record.value == b"a")
    letters.replay(letters.waiting(ALL))
    assert values(runtime) == {b"b": 1}
    assert Counter(one.state for one in letters.every(ALL)) == {"dropped": 1, "replayed": 1}


def test_a_selection_takes_topic_error_and_place_together(runtime: Runtime) -> None:
    set_aside(runtime, b"a", b"b")
    set_aside(runtime, b"c", topic=FEEDBACK)
    append(runtime, b"odd")
    Loop(runtime, Picky()).drain()
    letters = DeadLetters(runtime)

    def found(**selected: object) -> list[bytes]:
        return sorted(one.record.value for one in letters.waiting(Selection(**selected)))  # type: ignore[arg-type]

    assert found(topic=FEEDBACK) == [b"c"]
    assert found(error="KeyError") == [b"a", b"b", b"c"]
    assert found(error="KeyError", topic=INFERENCES) == [b"a", b"b"]
    for letter in letters.every(ALL):
        record = letter.record
        assert found(topic=letter.topic, partition=record.partition, offset=record.offset) == [record.value]


def test_an_offset_that_means_several_letters_is_refused() -> None:
    log = PartitionedLog(2)
    runtime = replace(make_runtime("memory", Path(), DetectSettings(), Clock()), log=log)
    keys = {log.partition_of(f"m:{n}"): f"m:{n}" for n in range(9)}
    for key in keys.values():
        log.producer().append([Message(dead_letters(FEEDBACK), key, b"x")])
    letters = DeadLetters(runtime)
    with pytest.raises(SettingError, match="--partition"):
        letters.waiting(Selection(offset=1))
    assert len(list(letters.waiting(Selection(offset=1, partition=1)))) == 1


def test_marks_go_with_the_letters_that_retention_removes(tmp_path: Path) -> None:
    clock = Clock()
    runtime = make_runtime("memory", tmp_path, DetectSettings(), clock)
    letters = DeadLetters(runtime)
    set_aside(runtime, b"old", b"older")
    letters.drop(letters.waiting(ALL))
    assert runtime.store.count("dead_letters") == 2
    clock.now = BEGIN + SECOND
    set_aside(runtime, b"new")
    runtime.log.retain(before=clock.now)
    letters.drop(letters.waiting(ALL))
    assert runtime.store.count("dead_letters") == 1
    assert [one.state for one in letters.every(ALL)] == ["dropped"]


@pytest.mark.parametrize("topic", TOPICS)
def test_the_letters_of_every_topic_are_found(topic: str, runtime: Runtime) -> None:
    set_aside(runtime, b"x", topic=topic)
    assert [letter.topic for letter in DeadLetters(runtime).waiting(ALL)] == [topic]


def test_a_replay_beside_a_running_role_ends(runtime: Runtime) -> None:
    append(runtime, b"odd")
    loop = Loop(runtime, Picky())
    loop.drain()
    letters = DeadLetters(runtime)

    def with_the_role_at_work() -> Iterator[object]:
        for letter in letters.waiting(ALL):
            yield letter
            loop.drain()

    assert len(letters.replay(with_the_role_at_work())) == 1  # type: ignore[arg-type]
