"""A queue with two bounds and exact accounts, between the app's threads and the sender."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from davy.sdk.forksafe import ForkSafe
from davy.sdk.guard import warn
from davy.sdk.report import ClientReport

SPOOLED: Final = "spooled"
"""Settled, and neither sent nor dropped: what the spool holds counts as depth until it is one or the other."""

_FULL: Final = {
    "queue_full": "as many inferences wait as may, and the newest are dropped: see that the log or gateway takes what "
    "is sent, or raise sdk.queue_items, or lower sdk.sample_rate",
    "bytes_full": "as many bytes wait as may, and the newest inferences are dropped: see that the log or gateway takes "
    "what is sent, or raise sdk.queue_bytes, or lower sdk.sample_rate",
    "feedback_queue_full": "as much feedback waits as may, and the newest is dropped: see that the log or gateway "
    "takes what is sent, and send feedback of the past in parts, with davy.flush() between",
    "feedback_bytes_full": "as many bytes of feedback wait as may, and the newest is dropped: see that the log or "
    "gateway takes what is sent, and send feedback of the past in parts, with davy.flush() between",
}
"""What is said where a bound is reached."""

_NEVER: Final = 2**62
"""More rows and bytes than any lane holds."""

Item: TypeAlias = tuple[Any, str, int, int, int, Sequence[Any]]
"""Something captured: what to send, its model, how many inferences it is, its bytes, when it was queued (ns) and the
claims among its fields."""


class Lane(ForkSafe):
    """Holds what was captured until it is sent or dropped.

    `rows` and `size` are what it holds, and `full` says that an envelope can be filled from what waits.
    At any moment ``captured == sent + sum(dropped) + depth``; what is being sent still counts towards the bounds.
    What was sampled out or thinned was never captured.

    Parameters
    ----------
    items, size
        The bounds: inferences and bytes.
    company, weight
        So many waiting inferences, or so many bytes of them, fill an envelope.
    wake
        Called, outside the lock, when something waits in an empty queue and when an envelope is full.
    report
        Told, with `prefix` before the reason, of everything that is lost or left out.
    """

    __slots__ = (
        "_captured", "_closed", "_company", "_drained_to", "_dropped", "_entered", "_held_until", "_items", "_lock",
        "_most_bytes", "_most_rows", "_noted", "_oldest", "_prefix", "_report", "_sampled_out", "_sending", "_sent",
        "_settled", "_settled_to", "_spooled", "_wake", "_wake_rows", "_wake_size", "_weight", "full", "rows", "size",
    )  # fmt: skip

    def __init__(
        self,
        items: int,
        size: int,
        company: int,
        weight: int,
        wake: Callable[[], None],
        report: ClientReport,
        prefix: str = "",
    ) -> None:
        super().__init__()
        self._most_rows = items
        self._most_bytes = size
        self._company = company
        self._weight = weight
        self._wake = wake
        self._report = report
        self._prefix = prefix
        self._closed = ""
        self.renew()

    def renew(self) -> None:
        """Forget everything: what is queued belongs to the parent."""
        # Re-entrant, for a signal handler or finaliser that captures while this thread is inside.
        self._lock = threading.RLock()
        self._settled = threading.Condition(self._lock)
        self._items: deque[Item] = deque()
        self.rows = self.size = self._sending = self._spooled = 0
        self.full, self._wake_rows, self._wake_size = False, 0, 0
        self._captured = self._sampled_out = self._sent = 0
        self._entered = self._drained_to = self._settled_to = self._oldest = 0
        self._held_until = 0.0
        self._dropped: Counter[str] = Counter()
        self._noted: Counter[str] = Counter()

    def put(self, load: Any, model: str, count: int, size: int, at: int, claims: Sequence[Any] = ()) -> bool:
        """Queue an item; false when it was dropped and counted."""
        with self._lock:
            if self._held_until:
                self._settled.wait_for(self._is_open, max(0.0, self._held_until - time.monotonic()))
            rows, total, refused = self.rows + count, self.size + size, self._closed
            if refused or rows > self._most_rows or total > self._most_bytes:
                refused = refused or ("queue_full" if rows > self._most_rows else "bytes_full")
                self._refuse(model, refused, count)
                news = False
            else:
                self._captured += count
                self.rows = rows
                self.size = total
                self._entered += count
                self._items.append((load, model, count, size, at, claims))
                news = rows >= self._wake_rows or total >= self._wake_size
                if news:
                    self._look_ahead(count, size)
        if news:
            self._wake()
        elif refused:
            self._say(refused)
        return not refused

    def drop(self, model: str, reason: str, count: int = 1) -> None:
        """Count inferences that were captured but never queued."""
        with self._lock:
            self._refuse(model, reason, count)

    def skip(self, count: int = 1) -> None:
        """Count inferences that sampling left out."""
        with self._lock:
            self._sampled_out += count

    def note(self, model: str, reason: str, count: int = 1) -> None:
        """Count what is worth telling and is no loss of something captured: thinned, stored without a part."""
        with self._lock:
            self._noted[reason] += count
        self._report.owe(model, self._prefix + reason, count)

    def fullness(self) -> float:
        """How full the lane is: 1 at a bound."""
        return max(self.rows / self._most_rows, self.size / self._most_bytes)

    def over(self, rows: int, size: int) -> float:
        """Return how many times over so many inferences and bytes fill what is left: above 1 they do not fit.

        Infinity where nothing is left.
        """
        left = self._most_rows - self.rows, self._most_bytes - self.size
        return max(rows / left[0], size / left[1]) if min(left) > 0 else math.inf

    def at_fullness(self, share: float) -> tuple[float, float]:
        """Return the inferences and the bytes at which the lane is so full."""
        return share * self._most_rows, share * self._most_bytes

    @property
    def waiting(self) -> int:
        """How many inferences are queued and not yet taken by the sender."""
        return self.rows - self._sending

    def drain(self) -> list[Item]:
        """Take everything that waits; it counts towards the bounds until it is settled."""
        with self._lock:
            items, self._items = list(self._items), deque()
            self._sending = self.rows
            self.full, self._wake_rows, self._wake_size = False, 0, 0
            self._drained_to = self._entered
            if items:
                self._oldest = items[0][4]
        return items

    def settle(self, model: str, count: int, size: int, reason: str = "") -> None:
        """Count what was drained as sent or, with a reason, as dropped."""
        with self._lock:
            if self._closed:
                return  # counted when the lane was closed
            self.rows -= count
            self._sending -= count
            self.size -= size
            self._wake_rows -= count
            self._wake_size -= size
            if reason == SPOOLED:
                self._spooled += count
            else:
                self._end(model, count, reason)
            if self._sending == 0:
                self._settled_to = self._drained_to
                self._settled.notify_all()

    def release(self, size: int) -> None:
        """Release bytes that something drained no longer holds; it is not settled yet."""
        with self._lock:
            if not self._closed:
                self.size -= size
                self._wake_size -= size

    @property
    def room(self) -> int:
        """How many bytes are left until the lane is a quarter full; from a half on the rate falls."""
        return max(0, self._most_bytes // 4 - self.size)

    def unspool(self, model: str, count: int, reason: str = "") -> None:
        """Count what the spool held as sent or, with a reason, as dropped."""
        with self._lock:
            self._spooled -= count
            self._end(model, count, reason)

    def adopt(self, count: int) -> None:
        """Count what a process captured that died, and this one found in the spool."""
        with self._lock:
            self._captured += count
            self._spooled += count

    def hold(self, seconds: float) -> int:
        """Make `put` wait until the lane is closed or let go of, so long at most; return a mark for `wait_settled`.

        For the moment before a signal ends the process: the threads of the app are still there, and whatever they are
        answered with has been captured and is then lost.
        """
        with self._lock:
            self._held_until = time.monotonic() + seconds
            return self._entered

    def let_go(self) -> None:
        """Take what waits in `put`."""
        with self._lock:
            self._held_until = 0.0
            self._settled.notify_all()

    def close(self, reason: str) -> None:
        """Drop what is left, and all that comes, for `reason`."""
        with self._lock:
            if self._closed:
                return
            self._closed = reason
            left: Counter[str] = Counter()
            for _, model, count, *_ in self._items:
                left[model] += count
            if self._sending:
                left[""] += self._sending
            for model, count in left.items():
                self._lose(model, reason, count)
            self._items.clear()
            self.rows = self.size = self._sending = 0
            self._settled_to = self._entered
            self._settled.notify_all()

    def reopen(self) -> None:
        """Take what comes again."""
        with self._lock:
            self._closed = ""

    def wait_settled(self, timeout: float, mark: int | None = None) -> bool:
        """Wait until everything queued before `mark`, now by default, was sent or dropped; false if it takes longer."""
        with self._settled:
            mark = self._entered if mark is None else mark
            return self._settled.wait_for(lambda: self._settled_to >= mark, timeout)

    def stats(self) -> dict[str, Any]:
        """Return the accounts."""
        with self._lock:
            oldest = self._oldest if self._sending else self._items[0][4] if self._items else 0
            return {
                "captured": self._captured,
                "sampled_out": self._sampled_out,
                "sent": self._sent,
                "dropped": dict(self._dropped),
                "noted": dict(self._noted),
                "depth": self.rows + self._spooled,
                "depth_bytes": self.size,
                "spooled": self._spooled,
                "oldest_age_seconds": (time.time_ns() - oldest) / 1e9 if oldest else 0.0,
            }

    def _is_open(self) -> bool:
        return bool(self._closed) or not self._held_until

    def _look_ahead(self, count: int, size: int) -> None:
        """Set when the sender is told next: when an envelope is full, and after that not before it drains."""
        if len(self._items) == 1:
            self._wake_rows = self.rows - count + self._company
            self._wake_size = self.size - size + self._weight
        if self.rows >= self._wake_rows or self.size >= self._wake_size:
            self.full, self._wake_rows, self._wake_size = True, _NEVER, _NEVER

    def _end(self, model: str, count: int, reason: str) -> None:
        if reason:
            self._lose(model, reason, count)
        else:
            self._sent += count

    def _say(self, reason: str) -> None:
        """Log what was refused, outside the lock: a handler of the app may take its time, or capture."""
        reason = self._prefix + reason
        if reason in _FULL:
            warn(reason, _FULL[reason])

    def _refuse(self, model: str, reason: str, count: int) -> None:
        self._lose(model, reason, count)
        self._captured += count  # last: a call may fail where the stack ends, and the accounts still balance

    def _lose(self, model: str, reason: str, count: int) -> None:
        if count:
            self._report.owe(model, self._prefix + reason, count)
            self._dropped[reason] += count
