"""The one thread of the SDK: it joins what was captured into envelopes and sees them stored."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from davy.config import SdkSettings
from davy.errors import DavyError, LogError, Refused, SettingError
from davy.event import FEEDBACK, INFERENCES
from davy.log import Message
from davy.sdk.forksafe import ForkSafe, abandon, renew_all
from davy.sdk.guard import Guard, describe, swallowed, warn
from davy.sdk.lane import SPOOLED, Lane
from davy.sdk.parcels import Parcel, envelopes, feedback_parcels
from davy.sdk.sink import Sink

if TYPE_CHECKING:
    from davy.sdk.journal import Entry
    from davy.sdk.spool import Spool

_PATIENCE_SECONDS: Final = 10.0
_PATIENCE_WITH_SPOOL: Final = 2.0
_FIRST_BACK_OFF, _LONGEST_BACK_OFF = 0.25, 30.0
_LAST_SECONDS: Final = 0.05
"""Kept back from the time the exit may take, for counting what is left and for the end of the interpreter."""
_ADOPT_SECONDS: Final = 30.0
_RESCUE_SECONDS: Final = 0.2
"""Kept back for writing to the spool what a sink that does not answer still has not taken at the exit."""
_FEEDBACK_ITEMS: Final = 2_000
_FEEDBACK_BYTES: Final = 8 * 2**20
_GUARD: Final = Guard("sender")
_senders: Final[WeakSet[Sender]] = WeakSet()


class Sender(ForkSafe):
    """Two lanes and the thread that empties them, feedback first.

    The thread is a daemon and starts with the first capture of a process. A batch that cannot be stored stays at
    the head and is tried again with full jitter [1]_, for as long as it takes; the bounds of the lanes hold meanwhile.
    With a spool it goes there instead, and everything behind it, until the spool is empty again: order holds.

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
        self._spool = _open_spool(settings, self._expired)
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
        self._hand = threading.RLock()
        self._in_hand: Parcel | None = None
        self._rescued = False
        self._attempt, self._next_try, self._next_adoption = 0, 0.0, 0.0
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
            kept_back = _RESCUE_SECONDS if self._spool is not None else 0.0
            thread.join(max(0.0, self._deadline - now - kept_back))
        self._rescue()
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
        if self._rescued:
            return False
        if self._spool is not None:
            self._adopt()
            if len(self._spool):
                return self._work_off()
        parcel = self._next()
        if parcel is not None:
            self._deliver(parcel)
            return True
        return self._deadline is None

    def _next(self) -> Parcel | None:
        while True:
            parcel = self._take()
            if parcel is not None:
                return parcel
            if self.bulk.waiting:
                self._wait_for_company()
                self._drain_bulk()
            elif self._deadline is not None:
                return None
            else:
                self._hurry.clear()
                if not self._awake.wait(None if self._spool is None else _ADOPT_SECONDS):
                    return None  # another look at the spool
                self._awake.clear()

    def _take(self) -> Parcel | None:
        with self._hand:
            if self.feedback.waiting:
                found = feedback_parcels(self.feedback, self.feedback.drain())
                self._parcels.extendleft(reversed(found))
            self._in_hand = self._parcels.popleft() if self._parcels and not self._rescued else None
            return self._in_hand

    def _drain_bulk(self) -> None:
        with self._hand:
            self._parcels.extend(envelopes(self.bulk, self.bulk.drain(), self._settings.envelope_rows))

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
            reason = self._append(parcel.message(self._source(), report))
        except BaseException:
            self._settle(parcel, "send_error")
            raise
        self._settle(parcel, reason)
        if report and not reason:
            self.bulk.reported(parcel.model, report)

    def _settle(self, parcel: Parcel, reason: str) -> None:
        with self._hand:
            if self._rescued:
                return  # it is in the spool by now
            self._in_hand = None
            if reason != SPOOLED or self._keep(parcel):
                parcel.settle(reason)
                return
            self._parcels.appendleft(parcel)
        if self._deadline is not None:
            self._close_lanes()
        self._hurry.wait(max(0.0, self._next_try - time.monotonic()))

    def _append(self, message: Message) -> str:
        while True:
            try:
                sink = self._sink or self._open()
                sink.append([message], timeout=self._patience())
                self._attempt = 0
                return ""
            except Refused as error:
                warn("refused", describe(error))
                return "refused"
            except (DavyError, OSError) as error:
                warn("retry", describe(error))
                wait = self._wait_seconds(getattr(error, "seconds", 0.0))
            if self._spool is not None:
                self._retries += self._deadline is None
                self._next_try = time.monotonic() + wait
                return SPOOLED
            if self._deadline is not None:
                self._close_lanes()
                return "shutdown"
            self._retries += 1
            self._back_off(wait)

    def _keep(self, parcel: Parcel) -> bool:
        """Write a parcel to the spool; without the client report, which the next that is sent will carry."""
        if self._spool is None:
            return False
        try:
            self._spool.append(parcel.message(self._source(), {}), parcel.count)
        except OSError as error:
            warn("spool", describe(error))
            return False
        return True

    def _keep_all(self) -> bool:
        with self._hand:
            self._drain_bulk()
            while (parcel := self._take()) is not None:
                if not self._keep(parcel):
                    self._parcels.appendleft(parcel)
                    self._in_hand = None
                    return False
                parcel.settle(SPOOLED)
        return True

    def _rescue(self) -> None:
        """Write to the spool, at the exit, what the thread could not send."""
        if self._spool is None:
            return
        with self._hand:
            if self._in_hand is not None:
                self._parcels.appendleft(self._in_hand)
            self._keep_all()
            self._rescued = True
        self._spool.close()

    def _adopt(self) -> None:
        if self._spool is None or time.monotonic() < self._next_adoption:
            return
        self._next_adoption = time.monotonic() + _ADOPT_SECONDS
        entries, torn = self._spool.adopt()
        for entry in entries:
            self._lane_of(entry).adopt(entry.rows)
        if torn:
            self.bulk.drop("", "spool_torn", torn)

    def _work_off(self) -> bool:
        """Put what waits behind what the spool holds, and try the oldest again when it is time."""
        hurried = self._hurry.is_set() or self._deadline is not None
        wait = self._next_try - time.monotonic()
        if wait > 0 and not hurried:
            if self.bulk.waiting:
                self._wait_for_company()
            elif not (self.feedback.waiting or self._parcels):
                self._awake.wait(wait)
                self._awake.clear()
                return True
        pressing = self._parcels or self.feedback.waiting or self.bulk.waiting >= self._settings.envelope_rows
        if wait > 0 or hurried or pressing:
            kept = self._keep_all()
            if not kept and not hurried:
                self._hurry.wait(max(0.0, min(wait, _FIRST_BACK_OFF)))
        if self._deadline is not None:
            return False
        if hurried:
            self._hurry.clear()
        if hurried or wait <= 0:
            self._replay()
        return True

    def _replay(self) -> None:
        found = None if self._spool is None else self._spool.first()
        if self._spool is None or found is None:
            return
        message, entry = found
        reason: str | None = "send_error"
        try:
            reason = self._offer(message)
        finally:
            if reason is not None and self._spool.advance(entry):
                self._lane_of(entry).unspool(entry.key, entry.rows, reason)

    def _offer(self, message: Message | None) -> str | None:
        """Try to send what was in the spool; give the reason to drop it, none, or None when it stays."""
        if message is None:
            return "spool_torn"
        try:
            (self._sink or self._open()).append([message], timeout=self._patience())
        except Refused as error:
            warn("refused", describe(error))
            return "refused"
        except (DavyError, OSError) as error:
            warn("retry", describe(error))
            self._retries += 1
            self._next_try = time.monotonic() + self._wait_seconds(getattr(error, "seconds", 0.0))
            return None
        self._attempt = 0
        return ""

    def _expired(self, entry: Entry) -> None:
        self._lane_of(entry).unspool(entry.key, entry.rows, "spool_expired")

    def _lane_of(self, entry: Entry) -> Lane:
        return self.feedback if entry.topic == FEEDBACK else self.bulk

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

    def _wait_seconds(self, least: float) -> float:
        longest = min(_LONGEST_BACK_OFF, _FIRST_BACK_OFF * 2.0 ** min(self._attempt, 16))
        self._attempt += 1
        return max(least, longest * self._random())

    def _back_off(self, seconds: float) -> None:
        self._hurry.wait(seconds)
        if self._deadline is None:
            self._hurry.clear()

    def _patience(self) -> float:
        usual = _PATIENCE_SECONDS if self._spool is None else _PATIENCE_WITH_SPOOL
        if self._deadline is None:
            return usual
        kept_back = 0.0 if self._spool is None else _RESCUE_SECONDS
        return max(0.05, self._deadline - time.monotonic() - kept_back)

    def _close_lanes(self) -> None:
        self.bulk.close("shutdown")
        self.feedback.close("shutdown")
        self._parcels.clear()


def _open_spool(settings: SdkSettings, expired: Callable[[Entry], None]) -> Spool | None:
    if not settings.spool:
        return None
    try:
        from davy.sdk.spool import Spool
    except ImportError as error:
        raise SettingError("sdk.spool", settings.spool, "this system has no POSIX file locks") from error
    return Spool(Path(settings.spool), settings.spool_bytes, settings.spool_hours, expired)


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
