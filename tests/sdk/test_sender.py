"""The sender: company, order, retries, reports, deadlines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.sdk_rig import ALWAYS_IN, Store, balanced, refuse, start

import davy
from davy.errors import LogError, Refused
from davy.sdk.lane import Lane
from davy.sdk.outlet import Outlet
from davy.sdk.report import ClientReport
from davy.sdk.sink import SinkBusy

pytestmark = pytest.mark.fast


def capture(count: int = 1, model: str = "m:1", first: int = 0) -> None:
    for value in range(first, first + count):
        davy.capture(model, {"x": float(value)}, {}, id=ALWAYS_IN)


def until(release: threading.Event) -> Callable[[], None]:
    """Return something that waits for an event."""

    def wait() -> None:
        release.wait(10)

    return wait


class Failing:
    """Something that goes wrong a number of times."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left = times
        self.error = error

    def __call__(self) -> None:
        if self.left:
            self.left -= 1
            raise self.error


def test_inferences_wait_for_company_but_not_for_long() -> None:
    sink = Store()
    start(sink, flush_seconds=0.05)
    capture(3)
    assert sink.tried.acquire(timeout=5)
    assert davy.flush()
    assert [envelope.count for envelope in sink.envelopes] == [3]


def test_a_full_envelope_leaves_at_once() -> None:
    sink = Store()
    start(sink, flush_seconds=60.0, envelope_rows=10)
    capture(10)
    assert sink.tried.acquire(timeout=5)
    assert davy.flush()
    assert [envelope.count for envelope in sink.envelopes] == [10]


def test_images_leave_as_soon_as_their_bytes_fill_an_envelope() -> None:
    sink = Store()
    start(sink, flush_seconds=60.0)
    for _ in range(6):
        davy.capture("m:1", {"image": np.zeros((224, 224, 3), np.uint8)}, {})
    assert sink.tried.acquire(timeout=5)
    assert davy.flush()
    assert sum(envelope.count for envelope in sink.envelopes) == 6


def test_envelopes_end_before_they_are_too_large_for_a_broker() -> None:
    sink = Store()
    start(sink, flush_seconds=60.0)
    for _ in range(20):
        davy.capture("m:1", {"image": np.zeros((224, 224, 3), np.uint8)}, {})
    davy.flush()
    counts = [envelope.count for envelope in sink.envelopes]
    assert (max(counts), sum(counts)) == (5, 20)


def test_a_batch_that_fails_stays_at_the_head_and_keeps_its_order() -> None:
    sink = Store(Failing(3, LogError("log", "x", "is down")))
    start(sink, envelope_rows=5)
    capture(20)
    assert davy.flush()
    assert [one.inputs["x"] for one in sink.inferences] == [float(value) for value in range(20)]
    stats = davy.stats()
    assert (stats["retries"], stats["sent"], stats["dropped"]) == (3, 20, {})


@pytest.mark.parametrize("error", [LogError("log", "x", "down"), OSError("down"), TimeoutError()])
def test_failures_of_the_sink_are_tried_again(error: Exception) -> None:
    sink = Store(Failing(1, error))
    start(sink)
    capture()
    assert davy.flush()
    assert davy.stats()["retries"] == 1


def test_a_sink_that_cannot_be_opened_is_tried_again() -> None:
    sink, opens = Store(), Failing(2, LogError("log", "x", "is locked"))

    class Door:
        def open(self) -> Store:
            opens()
            return sink

    start(Door())
    capture()
    assert davy.flush()
    assert len(sink.inferences) == 1


@pytest.mark.swallows
def test_an_error_nobody_foresaw_while_opening_costs_nothing() -> None:
    sink, opens = Store(), Failing(1, ZeroDivisionError("bug"))

    class Door:
        def open(self) -> Store:
            opens()
            return sink

    start(Door())
    capture()
    assert davy.flush()
    assert len(sink.inferences) == 1


def test_back_off_grows_to_thirty_seconds_with_full_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("davy.sdk.outlet.time.monotonic", lambda: 1000.0)
    errors = [LogError("log", "x", "is down")] * 12 + [SinkBusy("gateway", 429, "wait", 70.0)]
    sink = Store()
    outlet = Outlet(sink.open, lambda: None, lambda: 1.0)
    waits = []
    for error in errors:
        sink.before = Failing(1, error)
        assert outlet.offer([], 1.0) is None
        waits.append(outlet.next_try - 1000.0)
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0, 30.0, 70.0]
    assert outlet.offer([], 1.0) == ""
    sink.before = Failing(1, errors[0])
    outlet.offer([], 1.0)
    assert outlet.next_try - 1000.0 == 0.25


def test_a_gateway_that_asks_for_patience_gets_it() -> None:
    sink = Store(Failing(1, SinkBusy("gateway", 429, "wait", 0.2)))
    start(sink, flush_seconds=0.001)
    begun = time.monotonic()
    capture()
    assert sink.tried.acquire(timeout=5)
    assert sink.tried.acquire(timeout=5)
    assert time.monotonic() - begun >= 0.2


def test_a_refused_batch_is_dropped_and_the_next_one_sent(caplog: pytest.LogCaptureFixture) -> None:
    sink = Store(Failing(1, Refused("gateway", 400, "no")))
    start(sink, envelope_rows=5, flush_seconds=60.0)
    capture(10)
    assert davy.flush()
    stats = davy.stats()
    assert (stats["sent"], stats["dropped"], stats["retries"]) == (5, {"refused": 5}, 0)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["refused"]


@pytest.mark.swallows
def test_an_error_nobody_foresaw_costs_one_batch_and_not_the_sender() -> None:
    sink = Store(Failing(1, ZeroDivisionError("bug")))
    start(sink, envelope_rows=5, flush_seconds=60.0)
    capture(10)
    assert davy.flush()
    stats = davy.stats()
    assert (stats["sent"], stats["dropped"]) == (5, {"send_error": 5})


@pytest.mark.swallows
def test_what_was_dropped_rides_on_the_next_envelope_of_the_same_model() -> None:
    sink = Store()
    start(sink, queue_items=10, flush_seconds=60.0)
    capture(1, "other:1")
    capture(12, "m:1")
    davy.capture("m:1", {"x": object()}, {}, id=ALWAYS_IN)
    davy.capture("bad name", {"x": 1.0}, {}, id=ALWAYS_IN)
    davy.flush()
    capture(1, "m:1")
    capture(1, "other:1")
    davy.flush()
    reports = [(envelope.model, envelope.report) for envelope in sink.envelopes]
    assert reports == [
        ("other:1", {"invalid_model": 1}),
        ("m:1", {"queue_full": 4, "no_inputs": 1}),
        ("m:1", {}),
        ("other:1", {}),
    ]


def test_feedback_that_was_dropped_is_told_by_the_next_envelope() -> None:
    sink = Store()
    start(sink)
    davy.feedback(None, 1)
    capture()
    davy.flush()
    assert [envelope.report for envelope in sink.envelopes] == [{"feedback_no_id": 1}]


def test_a_sink_that_takes_many_gets_what_waits_in_one_append() -> None:
    sink = Store()
    sink.together = 16
    start(sink, envelope_rows=5, flush_seconds=60.0)
    capture(1)
    assert davy.flush()  # the sink is open now
    capture(20)
    assert davy.flush()
    assert sink.attempts == 2
    assert [one.inputs["x"] for one in sink.inferences] == [0.0, *map(float, range(20))]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(Refused("log", "x", "no"), "refused"), (ZeroDivisionError("bug"), "send_error")],
)
def test_what_cannot_go_together_goes_alone(error: Exception, reason: str, request: Any) -> None:
    if reason == "send_error":
        request.node.add_marker(pytest.mark.swallows)
    sink = Store()
    sink.together = 16
    start(sink, envelope_rows=5, flush_seconds=60.0)
    capture(1)
    assert davy.flush()
    sink.before = Failing(2, error)  # once for all of them, once for the first
    capture(20)
    assert davy.flush()
    stats = davy.stats()
    assert (stats["sent"], stats["dropped"]) == (16, {reason: 5})
    assert [one.inputs["x"] for one in sink.inferences] == [0.0, *map(float, range(5, 20))]
    assert balanced(stats)


def test_a_report_rides_once_in_an_append_of_many() -> None:
    sink = Store()
    sink.together = 16
    start(sink, envelope_rows=2, queue_items=6, flush_seconds=60.0)
    capture(1)
    assert davy.flush()
    asked, captured = threading.Event(), threading.Event()
    down = Failing(1, LogError("log", "x", "is down"))

    def held() -> None:
        asked.set()
        captured.wait(10)
        down()

    sink.before = held
    capture(2)
    assert asked.wait(10)
    capture(7)
    captured.set()
    assert davy.flush()
    assert [envelope.report for envelope in sink.envelopes] == [{}, {}, {"queue_full": 3}, {}]


def test_a_report_waits_until_an_envelope_was_stored() -> None:
    failing = Failing(0, LogError("log", "x", "is down"))
    sink = Store(failing)
    start(sink, queue_items=2, flush_seconds=60.0)
    capture(3)
    failing.left = 2
    assert davy.flush()
    capture(3)
    davy.flush()
    assert [envelope.report for envelope in sink.envelopes] == [{"queue_full": 1}, {"queue_full": 1}]


def test_flush_waits_only_for_what_was_there_and_only_so_long() -> None:
    release = threading.Event()
    sink = Store(until(release))
    start(sink)
    capture()
    begun = time.monotonic()
    assert not davy.flush(timeout=0.1)
    assert 0.1 <= time.monotonic() - begun < 2
    release.set()
    assert davy.flush()


def test_flush_of_nothing_is_true_at_once() -> None:
    assert davy.flush(timeout=0.0)
    start(Store())
    assert davy.flush(timeout=0.0)


def test_flush_interrupts_a_long_back_off() -> None:
    failing = Failing(1, LogError("log", "x", "is down"))
    sink = Store(failing)
    start(sink, random=lambda: 1e9, flush_seconds=0.001)
    capture()
    assert sink.tried.acquire(timeout=5)
    assert davy.flush(timeout=5.0)


def test_shutdown_sends_what_is_left_and_closes_the_sink() -> None:
    sink = Store()
    start(sink, flush_seconds=60.0)
    capture(3)
    davy.feedback("ab" * 16, 1)
    davy.shutdown()
    assert (len(sink.inferences), len(sink.feedback), sink.closed) == (3, 1, True)


def test_shutdown_counts_what_it_could_not_send_and_what_comes_later() -> None:
    sink = Store(refuse)
    start(sink, random=lambda: 1.0)
    capture(3)
    davy.shutdown(timeout=2.0)
    capture(2)
    stats = davy.stats()
    assert (stats["captured"], stats["sent"], stats["dropped"], stats["depth"]) == (5, 0, {"shutdown": 5}, 0)


def test_a_sender_stuck_in_its_sink_does_not_count_twice() -> None:
    release = threading.Event()
    sink = Store(until(release))
    client = start(sink)
    capture(3)
    assert sink.tried.acquire(timeout=5)
    davy.shutdown(timeout=0.05)
    stats = davy.stats()
    thread = client.sender._thread
    release.set()
    assert thread is not None
    thread.join(5)
    assert davy.stats() == stats
    assert (stats["dropped"], balanced(stats)) == ({"shutdown": 3}, True)


def test_a_thread_that_cannot_start_stays_silent_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def cannot(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sink = Store()
    client = start(sink)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", cannot)
        capture(3)
    assert (davy.stats()["depth"], caplog.records) == (3, [])
    client.sender._start_after = 0.0
    assert davy.flush()
    assert len(sink.inferences) == 3


def test_capturing_from_inside_the_sink_does_not_deadlock() -> None:
    sink = Store()
    sink.before = lambda: capture(1) if sink.attempts < 5 else None
    start(sink, flush_seconds=0.001)
    capture()
    for _ in range(5):
        assert sink.tried.acquire(timeout=5)


def test_capturing_inside_the_lock_of_the_queue_does_not_deadlock() -> None:
    lane = Lane(10, 1000, 5, 1000, lambda: None, ClientReport())
    with lane._lock:  # as a signal handler or finaliser of this very thread would
        assert lane.put("load", "m:1", 1, 10, 0)
    assert lane.waiting == 1


def test_the_age_of_the_oldest_is_told_while_it_waits() -> None:
    release = threading.Event()
    sink = Store(until(release))
    start(sink)
    capture()
    assert sink.tried.acquire(timeout=5)
    age = davy.stats()["oldest_age_seconds"]
    assert 0 < age < 5
    assert davy.stats()["oldest_age_seconds"] > age
    release.set()
    davy.flush()
    assert davy.stats()["oldest_age_seconds"] == 0


def test_many_threads_lose_nothing_and_count_right() -> None:
    sink = Store(Failing(3, LogError("log", "x", "is down")))
    start(sink, queue_items=100_000)
    threads = [threading.Thread(target=capture, args=(500, f"m:{number}")) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert davy.flush(30)
    found: dict[str, list[Any]] = {}
    for one in sink.inferences:
        found.setdefault(one.model, []).append(one.inputs["x"])
    assert found == {f"m:{number}": [float(value) for value in range(500)] for number in range(8)}
    assert davy.stats()["sent"] == 4000
