"""The traffic with the labelling tool, beside the role's own thread: a slow or dead tool never blocks the flags."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Generic, Protocol, TypeVar

from davy.event import Label
from davy.runtime import Runtime
from davy.store import Batch
from davy_miner.health import Notes

T = TypeVar("T")
_PUSH: Final = "pushing tasks"
_SECOND: Final = 10**9
_LONGEST_WAIT: Final = 20.0
_logger = logging.getLogger("davy.mine")


class Tool(Protocol):
    """A labelling tool; `davy_miner.labelstudio.LabelStudio` is one. Both methods raise LabelError."""

    def push(self) -> int:
        """Bring every selected candidate of the store to exactly one task; return how many are confirmed."""

    def pull(self, batch: Batch) -> list[Label]:
        """Return new and changed answers; add to `batch` how far was read."""


class Chore(Generic[T]):
    """One thing done again and again in a worker thread, after a failure with growing waits.

    Failures are counted by kind and logged once a reason; none gets out.
    """

    def __init__(
        self, name: str, action: Callable[[], T], runtime: Runtime, executor: ThreadPoolExecutor, notes: Notes
    ) -> None:
        self._name = name
        self._notes = notes
        self._action = action
        self._runtime = runtime
        self._executor = executor
        self._future: Future[T] | None = None
        self._rested_at = self._rest = 0
        self._failures = 0

    @property
    def busy(self) -> bool:
        """Whether it was started and its outcome has not been taken."""
        return self._future is not None

    def start(self, *, every: float) -> None:
        """Start it unless it runs or is not due; `every` is the least time between two starts, in seconds."""
        now = self._runtime.clock()
        resting = 0 <= now - self._rested_at < self._rest  # a clock that was set back does not prolong it
        if self._future is None and not resting:
            self._rested_at, self._rest = now, int(every * _SECOND)
            self._future = self._executor.submit(self._action)

    def take(self) -> T | None:
        """Return the outcome once it is there; None while it runs and after a failure."""
        if self._future is None or not self._future.done():
            return None
        future, self._future = self._future, None
        error = future.exception()
        if error is None:
            self._failures = 0
            self._notes.works(self._name)
            return future.result()
        self._failed(error)
        return None

    def abandon(self) -> None:
        """Take no outcome of what runs; it is due again at once."""
        if self._future is not None:
            self._future, self._rest = None, 0

    def wait(self, timeout: float) -> None:
        """Wait until it has run; for shutdown and tests."""
        if self._future is not None:
            self._future.exception(timeout)

    def _failed(self, error: BaseException) -> None:
        wait = min(2.0**self._failures, _LONGEST_WAIT)
        self._failures += 1
        now = self._runtime.clock()
        left = self._rest - max(0, now - self._rested_at)
        self._rested_at, self._rest = now, max(left, int(wait * _SECOND))
        reason = str(error)
        self._runtime.failed("mine", error)
        _logger.error("%s failed and is tried again in %g s at least: %s", self._name, wait, error)
        self._notes.failed(self._name, reason)


class Exchange:
    """Push and pull, one at a time."""

    def __init__(self, runtime: Runtime, tool: Tool) -> None:
        self._notes = Notes(runtime)
        self._poll_seconds = runtime.settings.mine.poll_seconds
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="davy-labels")
        self.push: Chore[int] = Chore(_PUSH, tool.push, runtime, self._executor, self._notes)
        self.pull: Chore[tuple[Sequence[Label], Batch]] = Chore(
            "reading labels", lambda: _pull(tool), runtime, self._executor, self._notes
        )

    def begin(self) -> None:
        """Begin anew: take no outcome of a pull that runs, and find out again what works."""
        self.pull.abandon()
        self._notes.begin()

    def take_push(self) -> None:
        """See what a push came to."""
        if self.push.take():
            self._notes.queue(moved=True)

    def rest(self, *, empty: bool) -> None:
        """Note whether the queue of what is to be pushed is empty, or stands."""
        self._notes.queue(moved=empty)
        if empty:
            self._notes.works(_PUSH)

    def start_push(self) -> None:
        """Push, at most once a second: tasks of unknown fate may take several looks."""
        self.push.start(every=1.0)

    def start_pull(self) -> None:
        """Pull, when the poll period is over."""
        self.pull.start(every=self._poll_seconds)

    def close(self) -> None:
        """Wait for what runs and start nothing more."""
        self._executor.shutdown(wait=True, cancel_futures=True)


def _pull(tool: Tool) -> tuple[Sequence[Label], Batch]:
    batch = Batch()
    return tool.pull(batch), batch
