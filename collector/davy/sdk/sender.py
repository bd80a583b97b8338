"""The one thread of the SDK: it joins what was captured into envelopes and sees them stored."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from davy._signals import SignalSafeEvent
from davy.sdk.backlog import ADOPT_SECONDS, Backlog
from davy.sdk.claims import ClaimChecks
from davy.sdk.delivery import Delivery
from davy.sdk.forksafe import ForkSafe, renew_all
from davy.sdk.guard import Guard
from davy.sdk.hand import Hand
from davy.sdk.lane import SPOOLED, Lane
from davy.sdk.leaving import hooks_run, senders, stop_at_exit
from davy.sdk.outlet import Outlet
from davy.sdk.parcels import ENVELOPE_BYTES, Parcel, envelopes, feedback_parcels
from davy.sdk.report import ClientReport
from davy.sdk.sink import Sink

if TYPE_CHECKING:
    from davy.config import SdkSettings

_PATIENCE_SECONDS: Final = 10.0
_PATIENCE_WITH_SPOOL: Final = 2.0
_LAST_SECONDS: Final = 0.05
"""Kept back from the time the exit may take, for counting what is left and for the end of the interpreter."""
_RESCUE_SECONDS: Final = 0.2
"""Kept back for writing to the spool what a sink that does not answer still has not taken at the exit."""
_PAUSE_SECONDS: Final = 0.25
_LOOK_SECONDS: Final = 0.02
_FEEDBACK_ITEMS: Final = 2_000
_FEEDBACK_BYTES: Final = 8 * 2**20
_GUARD: Final = Guard("sender")


class Sender(ForkSafe):
    """Two lanes and the thread that empties them, feedback first.

    The thread is a daemon and starts with the first capture of a process. What cannot be stored stays at the head and
    is tried again for as long as it takes; the bounds of the lanes hold meanwhile. With a spool it goes there instead,
    and everything behind it, until the spool is empty again: order holds.

    `runs_in` is the process that has the thread, 0 while there is none.

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
    """

    def __init__(
        self,
        open_sink: Callable[[], Sink],
        settings: SdkSettings,
        source: Callable[[], str],
        random: Callable[[], float],
    ) -> None:
        super().__init__()
        self._settings = settings
        self.exit_seconds = max(0.0, settings.exit_seconds - _LAST_SECONDS)
        self._source = source
        self._deadline: float | None = None
        self._left = self.exit_seconds
        self._report = ClientReport()
        envelope = settings.envelope_rows, ENVELOPE_BYTES
        self.bulk = Lane(settings.queue_items, settings.queue_bytes, *envelope, self.wake, self._report)
        self.feedback = Lane(
            _FEEDBACK_ITEMS, _FEEDBACK_BYTES, 1, 1, self.wake, self._report, prefix="feedback_"
        )
        self._outlet = Outlet(open_sink, stop_at_exit, random)
        self._backlog = Backlog(settings, self._outlet, self.bulk, self.feedback)
        self._checks = ClaimChecks(settings.payload_bytes, self.bulk.note)
        self._hand = Hand()
        self._delivery = Delivery(
            self._hand, self._outlet, self._checks, self._report, self._source,
            patience=self._patience, again=self._again,
        )  # fmt: skip
        self.renew()
        senders.add(self)

    def renew(self) -> None:
        """Forget the thread and what it had in hand; they live in the parent."""
        self._pid = os.getpid()
        self.runs_in = 0
        self._starting = threading.Lock()
        self._awake = SignalSafeEvent()
        self._hurry = SignalSafeEvent()
        self._thread: threading.Thread | None = None
        self._start_after = 0.0
        self._lingers = 0

    def wake(self) -> None:
        """Wake the thread: something waits, or send it where the process ends."""
        self._awake.set()
        if self._lingers == threading.get_ident() and not sys.is_finalizing():
            self._send_late()

    def owe(self, model: str, counts: Mapping[str, int]) -> None:
        """Send counts with the next envelope of a model."""
        for reason, count in counts.items():
            self._report.owe(model, reason, count)

    def ensure(self) -> None:
        """Start the thread when this process has none."""
        if self.runs_in != os.getpid():
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

    def leave(self, timeout: float, for_certain: bool) -> None:
        """Send what waits before a signal ends the process; captures of other threads wait meanwhile.

        Where that does not work out in time, or after one failed attempt, `stop` does what is left to do `for_certain`.
        """
        if self._thread is None or self._pid != os.getpid():
            return  # nothing was captured here
        deadline, failed = time.monotonic() + timeout, self._outlet.retries
        kept_back = _RESCUE_SECONDS if self._backlog.exists else 0.0
        lanes = [(lane, lane.hold(timeout)) for lane in (self.feedback, self.bulk)]
        self._hurry.set()
        self.wake()
        while lanes and self._outlet.retries == failed and time.monotonic() < deadline - kept_back:
            lane, mark = lanes[-1]
            if lane.wait_settled(min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic())), mark):
                lanes.pop()
        if for_certain and lanes:
            self.stop(max(0.0, deadline - time.monotonic()))
        elif not for_certain:
            self.bulk.let_go()
            self.feedback.let_go()

    def stop(self, timeout: float) -> None:
        """Send what can be sent in `timeout` seconds, count the rest as dropped and let the thread end."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + timeout
        self._hurry.set()
        self.wake()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and self._pid == os.getpid():
            kept_back = _RESCUE_SECONDS if self._backlog.exists else 0.0
            thread.join(max(0.0, self._deadline - now - kept_back))
        self._rescue()
        self._close_lanes()
        self._left = min(self._left, timeout) - (time.monotonic() - now)

    def linger(self) -> None:
        """Send what this thread captures from now on at once, in what is left of the time the exit may take.

        Hooks of the exit run last in, first out, so the app's first ones come after Davy's. No thread can be started
        then, and nothing would wait for one.
        """
        ended = self._thread is None or not self._thread.is_alive()
        if ended and self._left > 0 and self._pid == os.getpid():
            self._lingers = threading.get_ident()
            self._hand.let_go = False
            self.bulk.reopen()
            self.feedback.reopen()

    def stats(self) -> dict[str, Any]:
        """Return the accounts of both lanes."""
        found, feedback = self.bulk.stats(), self.feedback.stats()
        noted = found.pop("noted")
        del feedback["sampled_out"], feedback["noted"]
        return {
            **found,
            "thinned": noted.pop("thinned", 0),
            "incomplete": noted,
            "retries": self._outlet.retries,
            "log_replaced": self._outlet.replaced,
            "feedback": feedback,
        }

    def _start(self) -> None:
        if self._pid != os.getpid():
            renew_all()  # a fork that ran no hooks
        if hooks_run():
            self.linger()
            return
        if not self._starting.acquire(blocking=False):
            return  # it is being started, perhaps by what this signal handler interrupted
        try:
            if self._thread is not None or time.monotonic() < self._start_after:
                return
            thread = threading.Thread(target=self._run, name="davy-sender", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is going down, or out of threads: what waits stays counted
                self._start_after = time.monotonic() + 1.0
                return
            self._thread, self.runs_in = thread, self._pid
        finally:
            self._starting.release()
        stop_at_exit()

    def _run(self) -> None:
        while True:
            with _GUARD:
                if self._step():
                    continue
                break
            self._hurry.wait(_PAUSE_SECONDS)  # only after something was swallowed
        with _GUARD:
            self._outlet.close(self._patience())

    def _send_late(self) -> None:
        begun, thread = time.monotonic(), self._lingers
        self._lingers = 0  # what is captured by what sends waits with the rest
        self._deadline = begun + self._left
        with _GUARD:
            while self._step():
                pass
        self._rescue()
        with _GUARD:
            self._outlet.close(self._patience())
        self._left -= time.monotonic() - begun
        if self._left > 0:
            self._lingers, self._hand.let_go = thread, False
        else:
            self._close_lanes()

    def _step(self) -> bool:
        if self._hand.let_go:
            return False
        self._backlog.adopt()
        if len(self._backlog):
            return self._work_off()
        parcels = self._next()
        if parcels:
            self._deliver(parcels)
            return True
        return self._deadline is None

    def _next(self) -> Sequence[Parcel]:
        while True:
            parcels = self._take(self._outlet.together)
            if parcels:
                return parcels
            if self.bulk.waiting:
                self._wait_for_company()
                self._drain_bulk()
            elif self._deadline is not None:
                return []
            else:
                self._hurry.clear()
                if not self._awake.wait(ADOPT_SECONDS if self._backlog.exists else None):
                    return []  # another look at the spool
                self._awake.clear()

    def _take(self, most: int) -> list[Parcel]:
        with self._hand.lock:
            if self.feedback.waiting:
                self._hand.add(feedback_parcels(self.feedback, self.feedback.drain()), first=True)
            return self._hand.take(most)

    def _drain_bulk(self) -> None:
        with self._hand.lock:
            self._hand.add(envelopes(self.bulk, self.bulk.drain(), self._settings.envelope_rows))

    def _wait_for_company(self) -> None:
        self._awake.clear()
        if self._deadline is None and not self._hurry.is_set() and not self.bulk.full:
            self._awake.wait(self._settings.flush_seconds)
        self._hurry.clear()

    def _deliver(self, parcels: Sequence[Parcel]) -> None:
        reason = self._delivery.deliver(parcels)
        if self._hand.let_go:
            return
        if reason == SPOOLED and not self._keep_all() and self._deadline is None:
            self._hurry.wait(self._wait())
        if reason and self._deadline is not None:
            self._close_lanes()

    def _again(self) -> str:
        """Wait until it is time to offer again what the sink did not take; or say why it is not offered again."""
        if self._backlog.exists:
            return SPOOLED
        if self._deadline is not None:
            return "shutdown"
        self._hurry.wait(self._wait())
        if self._deadline is None:
            self._hurry.clear()
        return ""

    def _keep_all(self) -> bool:
        """Put everything that waits behind what the spool holds; false when the disk does not take it."""
        with self._hand.lock:
            self._drain_bulk()
            while parcels := self._take(1):
                (parcel,) = parcels
                late = self._deadline is not None and time.monotonic() > self._deadline
                if not late:
                    self._checks.check_in(parcel)
                if late or not self._backlog.keep(parcel, self._source()):
                    self._hand.put_back([parcel])
                    return False
                self._hand.settle(parcel, SPOOLED)
        return True

    def _rescue(self) -> None:
        """Write to the spool, at the exit, what the thread could not send."""
        if not self._backlog.exists:
            return
        with self._hand.lock:
            self._hand.put_back()
            self._keep_all()
            self._hand.let_go = True
        self._backlog.close()

    def _work_off(self) -> bool:
        """Put what waits behind what the spool holds, and try the oldest again when it is time."""
        hurried = self._hurry.is_set() or self._deadline is not None
        wait = self._outlet.next_try - time.monotonic()
        if wait > 0 and not hurried:
            if self.bulk.waiting:
                self._wait_for_company()
            elif not (self.feedback.waiting or self._hand):
                self._awake.wait(wait)
                self._awake.clear()
                return True
        pressing = self._hand or self.feedback.waiting or self.bulk.full
        if wait > 0 or hurried or pressing:
            kept = self._keep_all()
            if not kept and not hurried:
                self._hurry.wait(max(0.0, min(wait, _PAUSE_SECONDS)))
        if self._deadline is not None:
            return False
        if hurried:
            self._hurry.clear()
        if hurried or wait <= 0:
            self._backlog.replay(self._patience())
        return True

    def _wait(self) -> float:
        return max(0.0, self._outlet.next_try - time.monotonic())

    def _patience(self) -> float:
        usual = _PATIENCE_WITH_SPOOL if self._backlog.exists else _PATIENCE_SECONDS
        if self._deadline is None:
            return usual
        kept_back = _RESCUE_SECONDS if self._backlog.exists else 0.0
        return max(0.05, self._deadline - time.monotonic() - kept_back)

    def _close_lanes(self) -> None:
        self.bulk.close("shutdown")
        self.feedback.close("shutdown")
        self._hand.clear()
