"""The end of the process: what is upstream of the senders queues what it has, then the senders send or count it."""

from __future__ import annotations

import atexit
import sys
import threading
import time
from typing import Final, Protocol
from weakref import WeakSet

from davy.sdk.guard import Guard
from davy.sdk.termination import Termination

_GUARD: Final = Guard("exit")


class Upstream(Protocol):
    """What still has inferences to queue: waited for in a flush, and stopped before the senders at the exit."""

    def wait(self, timeout: float) -> bool:
        """Wait until all it has is queued; false when `timeout` came first."""

    def stop(self, timeout: float) -> None:
        """Queue all it has within `timeout` seconds and begin nothing more."""


class Stoppable(Protocol):
    """A sender, as the exit meets it."""

    exit_seconds: float

    def leave(self, timeout: float, for_certain: bool) -> None:
        """Send what waits in `timeout` seconds; let go of nothing, but for what cannot be sent `for_certain`."""

    def stop(self, timeout: float) -> None:
        """Send what can be sent in `timeout` seconds, and count the rest."""

    def linger(self) -> None:
        """Send what this thread captures from now on at once, in what is left of the time."""


upstream: Final[WeakSet[Upstream]] = WeakSet()
senders: Final[WeakSet[Stoppable]] = WeakSet()


def wait_upstream(timeout: float) -> bool:
    """Wait for everything upstream of the senders; false when `timeout` came first."""
    deadline = time.monotonic() + timeout
    done = [each.wait(max(0.0, deadline - time.monotonic())) for each in list(upstream)]
    return all(done)


def stop_upstream(timeout: float) -> None:
    """Stop everything upstream of the senders, all within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    for each in list(upstream):
        each.stop(max(0.0, deadline - time.monotonic()))


def stop_at_exit() -> None:
    """Stop everything when the process ends; called again it moves behind what registered hooks meanwhile.

    Hooks of the exit run last in, first out: a library that a sink uses must not be closed before the sender is done.
    """
    if hooks_run():
        return  # a hook that captures: it is late for another one
    TERMINATION.attend()
    atexit.register(_stop_all)
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        # A child of multiprocessing leaves through os._exit and runs these instead.
        multiprocessing.util.Finalize(None, _stop_all, exitpriority=1)


def hooks_run() -> bool:
    """Whether this is the main thread and its program has ended: what runs now are the hooks of the exit."""
    main = threading.main_thread()
    return threading.get_ident() == main.ident and not main.is_alive()


def _stop_all() -> None:
    begun, living = time.monotonic(), list(senders)
    with _GUARD:
        stop_upstream(max((sender.exit_seconds for sender in living), default=0.0) / 2)
    for sender in living:
        with _GUARD:
            sender.stop(max(0.0, sender.exit_seconds - (time.monotonic() - begun)))
            sender.linger()


def _leave(for_certain: bool) -> None:
    """Send what waits before a signal ends the process; one that may stay goes on afterwards as before."""
    begun, living = time.monotonic(), list(senders)
    most = max((sender.exit_seconds for sender in living), default=0.0)
    with _GUARD:
        if for_certain:
            stop_upstream(most / 2)
        else:
            wait_upstream(most / 2)
    for sender in living:
        with _GUARD:
            sender.leave(max(0.0, sender.exit_seconds - (time.monotonic() - begun)), for_certain)


TERMINATION: Final = Termination(_leave)
