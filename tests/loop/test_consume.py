"""The loop of every role: effects once, messages at least once, no record and no role blocks it."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from support.dying import Fuse, Killed, mortal
from support.streams import ADAPTERS, SECOND, Clock, bury, make_runtime, read, sample

from davy.codec import dump_any, load_any
from davy.config import DetectSettings
from davy.consume import Loop
from davy.consume.failures import Failures, keep_going
from davy.errors import DecodeError, LeaseLost, LogError, StoreError
from davy.event import INFERENCES, LABELS, dead_letters
from davy.health.progress import Progress
from davy.log import Message, Record
from davy.runtime import Runtime
from davy.store import Batch

pytestmark = pytest.mark.fast

RECORDS = 12


class Summing:
    """Sums what records say and publishes every running sum; misbehaves where told to."""

    name = "sum"
    topics: Sequence[str] = (INFERENCES,)

    def __init__(self, runtime: Runtime, trouble: Callable[[bytes], None] | None = None) -> None:
        self._runtime = runtime
        self._trouble = trouble or (lambda value: None)
        self.state = {"sum": 0, "records": 0}
        self.due: Callable[[], None] = lambda: None

    def restore(self) -> None:
        stored = self._runtime.store.get("sums", "all")
        self.state = load_any(stored) if stored else {"sum": 0, "records": 0}

    def decode(self, record: Record) -> int:
        if not record.value.isdigit():
            raise DecodeError("record", record.value, "must be a number")
        return int(record.value)

    def handle(self, items: Sequence[tuple[Record, int]], batch: Batch) -> list[Message]:
        messages = []
        for record, number in items:
            self.state["records"] += 1
            self.state["sum"] += number
            self._trouble(record.value)
            messages.append(Message(LABELS, "m:1", f"{number}:{self.state['sum']}".encode()))
        batch.put("sums", "all", dump_any(self.state))
        return messages

    def idle(self, batch: Batch) -> list[Message]:
        self.due()
        return []


@pytest.fixture(params=ADAPTERS)
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    made = make_runtime(request.param, tmp_path, DetectSettings(), Clock())
    yield made
    made.stop.set()
    made.store.close()
    made.log.close()


def feed(runtime: Runtime, values: Sequence[bytes]) -> None:
    runtime.log.producer().append([Message(INFERENCES, "m:1", value, {"trace": "7"}) for value in values])


def numbers() -> list[bytes]:
    return [str(2**i).encode() for i in range(RECORDS)]


def running_sums() -> set[bytes]:
    return {f"{2**i}:{2 ** (i + 1) - 1}".encode() for i in range(RECORDS)}


def state(runtime: Runtime) -> dict[str, int]:
    stored = runtime.store.get("sums", "all")
    assert stored is not None
    found: dict[str, int] = load_any(stored)
    return found


def test_a_kill_between_any_two_steps_leaves_effects_once_and_loses_no_message(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for adapter in ADAPTERS:
        deaths, steps = 0, 0
        while deaths == steps:
            steps += 1
            runtime = make_runtime(adapter, tmp_path / f"{adapter}-{steps}", DetectSettings(), Clock())
            feed(runtime, numbers())
            dying = mortal(runtime, Fuse(steps))
            loop = Loop(dying, Summing(dying), max_records=5)
            try:
                loop.drain()
            except Killed:
                deaths += 1
                bury(runtime, "role/sum")
                Loop(runtime, Summing(runtime), max_records=5).drain()
            assert state(runtime) == {"sum": 2**RECORDS - 1, "records": RECORDS}
            assert set(read(runtime, LABELS)) == running_sums()
            runtime.store.close()
            runtime.log.close()
        assert deaths > 15  # three polls, each with a poll, a transaction, a publication and a commit


def test_undecodable_bytes_are_set_aside_unchanged_and_the_rest_is_handled(runtime: Runtime) -> None:
    garbage = b"\xff\x00 not a number"
    feed(runtime, [b"1", garbage, b"2"])
    Loop(runtime, Summing(runtime)).drain()
    assert state(runtime) == {"sum": 3, "records": 2}
    (letter,) = runtime.log.read(dead_letters(INFERENCES), 0, 0)
    (original,) = [r for r in runtime.log.read(INFERENCES, 0, 0) if r.value == garbage]
    assert letter.value == garbage
    assert letter.headers["trace"] == "7"
    assert letter.headers["davy.error"] == "DecodeError"
    assert letter.headers["davy.offset"] == str(original.offset)
    assert sample(runtime, "davy_dead_letters_total", error="DecodeError", topic=INFERENCES) == 1


def test_a_record_that_fails_three_times_is_set_aside_and_its_neighbours_count_once(runtime: Runtime) -> None:
    seen: list[bytes] = []

    def trouble(value: bytes) -> None:
        seen.append(value)
        if value == b"8":
            raise ZeroDivisionError("cannot take an eight")

    feed(runtime, numbers())
    assert Loop(runtime, Summing(runtime, trouble), max_records=5).drain() == RECORDS
    assert state(runtime) == {"sum": 2**RECORDS - 1 - 8, "records": RECORDS - 1}
    (letter,) = runtime.log.read(dead_letters(INFERENCES), 0, 0)
    assert letter.value == b"8"
    assert letter.headers["davy.error"] == "ZeroDivisionError"
    assert letter.headers["davy.attempts"] == "3"
    assert seen.count(b"8") == 4  # once among its neighbours, three times alone


def test_a_record_that_fails_in_different_ways_gets_another_chance(runtime: Runtime) -> None:
    errors = iter([KeyError("1"), ValueError("2"), KeyError("3"), ValueError("4")])

    def trouble(value: bytes) -> None:
        if value == b"8" and (error := next(errors, None)):
            raise error

    feed(runtime, numbers())
    Loop(runtime, Summing(runtime, trouble)).drain()
    assert state(runtime) == {"sum": 2**RECORDS - 1, "records": RECORDS}
    assert read(runtime, dead_letters(INFERENCES)) == []


def test_an_outage_of_the_store_is_nobodys_fault_and_sets_nothing_aside(runtime: Runtime) -> None:
    outages = iter(range(5))

    def trouble(value: bytes) -> None:
        if value == b"8" and next(outages, None) is not None:
            raise StoreError("store", "down", "wait")

    feed(runtime, numbers())
    loop = Loop(runtime, Summing(runtime, trouble))
    for _ in range(5):
        with pytest.raises(StoreError):
            loop.drain()
    loop.drain()
    assert state(runtime) == {"sum": 2**RECORDS - 1, "records": RECORDS}
    assert read(runtime, dead_letters(INFERENCES)) == []


def test_a_kill_while_records_are_handled_one_by_one_counts_none_twice(tmp_path: Path) -> None:
    def trouble(value: bytes) -> None:
        if value == b"8":
            raise ZeroDivisionError("cannot take an eight")

    deaths, steps = 0, 0
    while deaths == steps:
        steps += 1
        runtime = make_runtime("memory", tmp_path, DetectSettings(), Clock())
        feed(runtime, numbers())
        dying = mortal(runtime, Fuse(steps))
        try:
            Loop(dying, Summing(dying, trouble)).drain()
        except Killed:
            deaths += 1
            bury(runtime, "role/sum")
            Loop(runtime, Summing(runtime, trouble)).drain()
        assert state(runtime) == {"sum": 2**RECORDS - 1 - 8, "records": RECORDS - 1}
        assert set(read(runtime, dead_letters(INFERENCES))) == {b"8"}
    assert deaths > 40


@pytest.mark.parametrize(("times", "told"), [(1, "1 failure"), (2, "2 failures")])
def test_a_defect_of_the_role_is_counted_and_logged_once_and_the_thread_goes_on(
    times: int, told: str, runtime: Runtime, spared: pytest.LogCaptureFixture
) -> None:
    failures, healthy = iter(range(times)), threading.Event()

    def due() -> None:
        if next(failures, None) is not None:
            raise RuntimeError("the same defect")
        healthy.set()

    role = Summing(runtime)
    role.due = due
    feed(runtime, numbers())
    loop = Loop(runtime, role)
    with spared.at_level(logging.INFO, logger="davy.consume"):
        thread = threading.Thread(target=loop.run)
        thread.start()
        assert healthy.wait(timeout=20)
        runtime.stop.set()
        thread.join(timeout=20)
    loop.close()
    assert state(runtime) == {"sum": 2**RECORDS - 1, "records": RECORDS}
    assert sample(runtime, "davy_role_errors_total", error="RuntimeError", role="sum") == times
    assert [record.levelname for record in spared.records] == ["ERROR", "INFO"]
    assert f"works again, after {told} in" in spared.messages[-1]


@pytest.mark.parametrize(
    ("error", "level", "traced"),
    [
        (LeaseLost("lease", "role/sum", "another process took over; nothing was written"), "INFO", False),
        (StoreError("store", "redis://here", "does not answer"), "ERROR", False),
        (ZeroDivisionError("division by zero"), "ERROR", True),
    ],
)
def test_a_failure_is_one_line_and_only_what_nobody_foresaw_has_a_traceback(
    error: Exception, level: str, traced: bool, runtime: Runtime, spared: pytest.LogCaptureFixture
) -> None:
    failures = Failures(runtime, "sum")
    with spared.at_level(logging.INFO, logger="davy.consume"):
        for _ in range(3):
            failures.count(error, "goes on from the stored position")
    (record,) = spared.records
    assert (record.levelname, bool(record.exc_info)) == (level, traced)
    assert record.getMessage() == f"sum: goes on from the stored position: {type(error).__name__}: {error}"
    assert "\n" not in record.getMessage()
    assert sample(runtime, "davy_role_errors_total", role="sum", error=type(error).__name__) == 3


def test_two_processes_never_work_on_one_role_together_and_the_second_takes_over(runtime: Runtime) -> None:
    handled: queue.Queue[str] = queue.Queue()

    def start(name: str) -> tuple[threading.Event, threading.Thread]:
        mine = replace(runtime, stop=threading.Event())
        loop = Loop(mine, Summing(mine, lambda value: handled.put(name)))

        def run() -> None:
            loop.run()
            loop.close()

        thread = threading.Thread(target=run)
        thread.start()
        return mine.stop, thread

    stop_first, first = start("first")
    feed(runtime, [b"1"])
    assert handled.get(timeout=20) == "first"
    stop_second, second = start("second")
    feed(runtime, [b"2", b"4"])
    assert [handled.get(timeout=20), handled.get(timeout=20)] == ["first", "first"]
    stop_first.set()
    first.join(timeout=20)
    feed(runtime, [b"8"])
    assert handled.get(timeout=20) == "second"
    stop_second.set()
    second.join(timeout=20)
    assert state(runtime) == {"sum": 15, "records": 4}


def test_lag_is_told_in_records_and_in_the_time_the_oldest_has_waited(tmp_path: Path) -> None:
    clock = Clock()
    runtime = make_runtime("memory", tmp_path, DetectSettings(), clock)
    feed(runtime, numbers())
    clock.now += 7 * SECOND
    loop = Loop(runtime, Summing(runtime), max_records=5)
    progress = Progress(runtime, "sum", tuple(Summing.topics))
    loop.step()
    progress.look()
    progress.show()
    assert sample(runtime, "davy_lag_records", role="sum") == RECORDS - 5
    assert sample(runtime, "davy_lag_seconds", role="sum") == 7
    loop.drain()
    progress.look()
    progress.show()
    assert sample(runtime, "davy_lag_records", role="sum") == 0
    assert sample(runtime, "davy_lag_seconds", role="sum") == 0
    assert sample(runtime, "davy_records_total", role="sum") == RECORDS


@pytest.mark.timeout(60)
def test_a_failure_that_a_step_recovers_from_itself_is_over_too(
    runtime: Runtime, spared: pytest.LogCaptureFixture
) -> None:
    with spared.at_level(logging.INFO, logger="davy.consume"):
        inner, passes = Failures(runtime, "sum"), count()

        def step() -> None:
            if next(passes) == 0:
                inner.count(LogError("log", "shelf", "is locked"), "testing m:1 goes on from what is stored")
            runtime.stop.wait(0.01)
            if "works again" in spared.messages[-1]:
                runtime.stop.set()

        runtime.pulse.begin("sum", ())
        keep_going(runtime, Failures(runtime, "sum"), step, stand_aside=lambda: None)
    assert [record.levelname for record in spared.records] == ["ERROR", "INFO"]
    assert "sum: works again, after 1 failure in" in spared.messages[-1]
