"""Roles end when they are told to, whichever thread of the process the system tells."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import replace

import pytest
from support.gateway_rig import opened

from davy import runner
from davy._signals import SignalSafeEvent
from davy.runtime import Target

pytestmark = pytest.mark.fast


class Stop(threading.Event):
    """A stop signal that says when somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.awaited.set()
        return super().wait(timeout)


class Told(Target):
    """A role whose own thread is told to end, as one may be when a stopped process goes on."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def run(self) -> None:
        self._stop.awaited.wait(10)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        self._stop.wait(30)

    def close(self) -> None: ...


def test_a_signal_that_reaches_the_thread_of_a_role_ends_all_roles() -> None:
    with opened() as runtime:
        stop = Stop()
        begun = time.monotonic()
        assert runner.run({"told": Told(stop)}, replace(runtime, stop=stop)) == 0
        assert time.monotonic() - begun < 10


def test_a_signal_may_set_an_event_that_its_thread_is_inside() -> None:
    """The main thread enters and leaves the event all the time; with the lock of `threading.Event` this test hangs."""
    stop = SignalSafeEvent()
    handled = 0

    def handle(*_: object) -> None:
        nonlocal handled
        handled += 1
        stop.set()

    before = signal.signal(signal.SIGVTALRM, handle)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0001, 0.0001)
    try:
        while handled < 200:
            stop.wait(0.0)
            stop.clear()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
