"""The one thread of the SDK: it joins what was captured into envelopes and sees them stored."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakSet

from davy.config import SdkSettings
from davy.errors import DavyError, LogError
from davy.event import INFERENCES
from davy.log import Message
from davy.sdk.forksafe import ForkSafe, abandon, renew_all
from davy.sdk.guard import Guard, describe, swallowed, warn
from davy.sdk.lane import Lane
from davy.sdk.parcels import Parcel, envelopes, feedback_parcels
from davy.sdk.sink import Refused, Sink

_PATIENCE_SECONDS: Final = 10.0
_FIRST_BACK_OFF, _LONGEST_BACK_OFF = 0.25, 30.0
_LAST_SECONDS: Final = 0.05
"""Kept back from the time the exit may take, for counting what is left and for the end of the interpreter."""
_FEEDBACK_ITEMS: Final = 2_000
_FEEDBACK_BYTES: Final = 8 * 2**20
_GUARD: Final = Guard("sender")
_senders: Final[WeakSet[Sender]] = WeakSet()


class Sender(ForkSafe):
    """Two lanes and the thread that empties them, feedback first.

    The thread is a daemon and starts with the first capture of a process. A batch that cannot be stored stays at
    the head and is tried again with full jitter [1]_, for as long as it takes; the bounds of the lanes hold meanwhile.

    Parameters
    ----------
    open_sink
        Opens the sink; called on the thread, again after a failure.
    settings
        Bounds and times.
    source
        Names this process in every envelope.
    random
        Gives numbers in [0, 1) for the jitter.

    References
    ----------
    .. [1] M. Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015.
    """

    def __init__(
        self,
        open_sink: Callable[[], Sink],
        settings: SdkSettings,
        source: Callable[[], str],
        random: Callable[[], float],
    ) -> None:
        super().__init__()
        self._open_sink = open_sink
        self._settings = settings
        self.exit_seconds = max(0.0, settings.exit_seconds - _LAST_SECONDS)
        self._source = source
        self._random = random
        self._sink: Sink | None = None
        self._deadline: float | None = None
        rows = settings.envelope_rows
        self.bulk = Lane(settings.queue_items, settings.queue_bytes, rows, self.wake)
        self.feedback = Lane(_FEEDBACK_ITEMS, _FEEDBACK_BYTES, 1, self.wake)
        self.renew()
        _senders.add(self)

    def renew(self) -> None:
        """Forget the thread, the sink and what they had in hand; they live in the parent."""
        abandon(self._sink)
        self._sink = None
        self._pid = os.getpid()
        self._starting = threading.Lock()
        self._awake = threading.Event()
        self._hurry = threading.Event()
        self._parcels: deque[Parcel] = deque()
        self._thread: threading.Thread | None = None
        self._start_after = 0.0
        self._retries = 0

    def wake(self) -> None:
        """Tell the thread that something waits."""
        self._awake.set()

    def ensure(self) -> None:
        """Start the thread when this process has none."""
        if self._thread is None or self._pid != os.getpid():
            self._start()

    def flush(self, timeout: float) -> bool:
        """Wait until everything queued so far was sent or dropped; false when `timeout` came first."""
        deadline = time.monotonic() + timeout
        if self.feedback.waiting or self.bulk.waiting:
            self.ensure()
        self._hurry.set()
        self.wake()
        bulk = self.bulk.wait_settled(timeout)
        return self.feedback.wait_settled(max(0.0, deadline - time.monotonic())) and bulk

    def stop(self, timeout: float) -> None:
        """Send what can be sent in `timeout` seconds, count the rest as dropped and let the thread end."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + timeout
        self._hurry.set()
        self.wake()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and self._pid == os.getpid():
            thread.join(max(0.0, self._deadline - now))
        self._close_lanes()

    def stats(self) -> dict[str, Any]:
        """Give the accounts of both lanes."""
        feedback = self.feedback.stats()
        del feedback["sampled_out"], feedback["thinned"]
        return {**self.bulk.stats(), "retries": self._retries, "feedback": feedback}

    def _start(self) -> None:
        if self._pid != os.getpid():
            renew_all()  # a fork that ran no hooks
        with self._starting:
            if self._thread is not None or time.monotonic() < self._start_after:
                return
            thread = threading.Thread(target=self._run, name="davy-sender", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is going down, or out of threads: what waits stays counted
                self._start_after = time.monotonic() + 1.0
                return
            self._thread = thread
        _stop_at_exit()

    def _run(self) -> None:
        while True:
            with _GUARD:
                if self._step():
                    continue
                break
            self._hurry.wait(_FIRST_BACK_OFF)  # only after something was swallowed
        with _GUARD:
            if self._sink is not None:
                self._sink.close(timeout=self._patience())

    def _step(self) -> bool:
        parcel = self._next()
        if parcel is not None:
            self._deliver(parcel)
        return parcel is not None

    def _next(self) -> Parcel | None:
        while True:
            if self.feedback.waiting:
                found = feedback_parcels(self.feedback, self.feedback.drain())
                self._parcels.extendleft(reversed(found))
            if self._parcels:
                return self._parcels.popleft()
            if self.bulk.waiting:
                self._wait_for_company()
                rows = self._settings.envelope_rows
                self._parcels.extend(envelopes(self.bulk, self.bulk.drain(), rows))
            elif self._deadline is not None:
                return None
            else:
                self._hurry.clear()
                self._awake.wait()
                self._awake.clear()

    def _wait_for_company(self) -> None:
        self._awake.clear()
        if (
            self._deadline is None
            and not self._hurry.is_set()
            and self.bulk.waiting < self._settings.envelope_rows
        ):
            self._awake.wait(self._settings.flush_seconds)
        self._hurry.clear()

    def _deliver(self, parcel: Parcel) -> None:
        try:
            report = self.bulk.report(parcel.model) if parcel.topic == INFERENCES else {}
            message = parcel.message(self._source(), report)
            reason = self._append(message)
        except BaseException:
            parcel.settle("send_error")
            raise
        parcel.settle(reason)
        if report and not reason:
            self.bulk.reported(parcel.model, report)

    def _append(self, message: Message) -> str:
        attempt = 0
        while True:
            try:
                sink = self._sink or self._open()
                sink.append([message], timeout=self._patience())
                return ""
            except Refused as error:
                warn("refused", describe(error))
                return "refused"
            except (DavyError, OSError) as error:
                warn("retry", describe(error))
                least = getattr(error, "seconds", 0.0)
            if self._deadline is not None:
                self._close_lanes()
                return "shutdown"
            self._retries += 1
            self._back_off(attempt, least)
            attempt += 1

    def _open(self) -> Sink:
        try:
            self._sink = self._open_sink()
        except (DavyError, OSError):
            raise
        except Exception as error:  # no message was touched, so it may be tried again, unlike an append
            swallowed("sender", error)
            raise LogError("sink", type(error).__name__, "could not be opened") from error
        _stop_at_exit()  # again: hooks run last in, first out, and the sink may have brought its own
        return self._sink

    def _back_off(self, attempt: int, least: float) -> None:
        longest = min(_LONGEST_BACK_OFF, _FIRST_BACK_OFF * 2 ** min(attempt, 16))
        self._hurry.wait(max(least, longest * self._random()))
        if self._deadline is None:
            self._hurry.clear()

    def _patience(self) -> float:
        if self._deadline is None:
            return _PATIENCE_SECONDS
        return max(0.05, self._deadline - time.monotonic())

    def _close_lanes(self) -> None:
        self.bulk.close("shutdown")
        self.feedback.close("shutdown")
        self._parcels.clear()


def _stop_at_exit() -> None:
    atexit.register(_stop_all)
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        # A child of multiprocessing leaves through os._exit and runs these instead.
        multiprocessing.util.Finalize(None, _stop_all, exitpriority=1)


def _stop_all() -> None:
    for sender in list(_senders):
        with _GUARD:
            sender.stop(sender.exit_seconds)
