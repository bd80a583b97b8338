"""A shadow: another model answers the same calls off the request path, and both answers are recorded together."""

from __future__ import annotations

import copy
import inspect
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

from davy.sdk.forksafe import ForkSafe
from davy.sdk.guard import Guard
from davy.sdk.leaving import upstream
from davy.sdk.scope import CURRENT

_WAITING: Final = 64
_WAITING_BYTES: Final = 64 * 2**20
_DROPPED, _FAILED = "shadow_dropped", "shadow_failed"
_GUARD: Final = Guard("shadow")


class ShadowCall(NamedTuple):
    """One call of the primary: what it was given, and what will be recorded of it."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    reading: Any


Record: TypeAlias = Callable[[ShadowCall, Any, str], None]
"""Records a call with the shadow's answer or, with a reason, without one."""


class Shadow(ForkSafe):
    """Runs the calls of one primary through another model, in one thread and from a queue bounded by calls and bytes.

    What the queue has no room for is recorded at once without the shadow's answer, and counted; so is what the shadow
    cannot answer. Calls are copied first: the app may change its arguments right after.

    Parameters
    ----------
    answer
        The other model; what it gives may be awaitable.
    record
        Records a call; it is not called twice for one.
    """

    def __init__(self, answer: Callable[..., Any], record: Record) -> None:
        super().__init__()
        self._answer = answer
        self._record = record
        self.renew()
        upstream.add(self)

    def renew(self) -> None:
        """Forget the thread and the calls that wait: the parent answers them."""
        self._changed = threading.Condition(threading.RLock())
        self._jobs: deque[_Job] = deque()
        self._size = 0
        self._thread: threading.Thread | None = None
        self._stopping = False

    def take(self, args: Sequence[Any], kwargs: Mapping[str, Any], reading: Any) -> None:
        """Answer and record a call soon, or record it now."""
        call = ShadowCall(args, kwargs, reading)
        if self._is_full():
            self._record(call, None, _DROPPED)
            return
        job = _job(call)
        if job is None:
            self._record(call, None, _FAILED)
        elif not self._queue(job):
            self._finish(job, None, _DROPPED)

    def wait(self, timeout: float) -> bool:
        """Wait until every call taken so far is recorded; false when `timeout` came first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs, timeout)

    def stop(self, timeout: float) -> None:
        """Answer what can be answered in `timeout` seconds and record the rest without."""
        self.wait(timeout)
        with self._changed:
            self._stopping = True
            left, self._jobs, self._size = list(self._jobs), deque(), 0
            self._changed.notify_all()
        for job in left:
            self._finish(job, None, _DROPPED)

    def _is_full(self) -> bool:
        with self._changed:
            return self._stopping or len(self._jobs) >= _WAITING or self._size >= _WAITING_BYTES

    def _queue(self, job: _Job) -> bool:
        """Queue a job; return False when there is no room any more: copying its arguments took time."""
        with self._changed:
            if self._is_full() or self._size + job.size > _WAITING_BYTES:
                return False
            self._jobs.append(job)
            self._size += job.size
            self._changed.notify_all()
            self._ensure()
            return True

    def _ensure(self) -> None:
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="davy-shadow", daemon=True)
                with suppress(RuntimeError):  # the interpreter is going down: `stop` records what waits
                    thread.start()
                    self._thread = thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._stopping)
                if self._stopping:
                    return
                job = self._jobs[0]
            answer, reason = None, _FAILED
            with _GUARD:
                answer, reason = job.context.run(self._answered, job.call), ""
            self._finish(job, answer, reason)
            with self._changed:
                if self._jobs and self._jobs[0] is job:
                    self._jobs.popleft()
                    self._size -= job.size
                self._changed.notify_all()

    def _answered(self, call: ShadowCall) -> Any:
        found = self._answer(*call.args, **call.kwargs)
        if not inspect.isawaitable(found):
            return found
        import asyncio  # most apps that watch a model need not have it

        return asyncio.run(_result(found))

    def _finish(self, job: _Job, answer: Any, reason: str) -> None:
        with self._changed:
            done, job.done = job.done, True
        if not done:  # a shadow that was still at it when the process ended comes too late
            job.context.copy().run(self._record, job.call, answer, reason)  # the shadow may be in it still


@dataclass(slots=True, eq=False)
class _Job:
    call: ShadowCall
    context: Context
    size: int
    done: bool = False


def _job(call: ShadowCall) -> _Job | None:
    with _GUARD:
        copies: dict[int, Any] = {}
        copied, context = ShadowCall(*copy.deepcopy(tuple(call), copies)), copy_context()
        scope = CURRENT.get()
        if scope is not None and scope.pending is not None:  # the id of the request is this call's
            context.run(CURRENT.set, scope._replace(id=scope.take(""), pending=None))
        return _Job(copied, context, _size(call, copies.values()))
    return None


def _size(call: ShadowCall, copies: Iterable[Any]) -> int:
    """Return the bytes a call keeps while it waits: of copied arrays, of text and bytes among its arguments."""
    arrays = (getattr(one, "nbytes", 0) for one in copies)
    texts = (len(one) for one in chain(call.args, call.kwargs.values()) if isinstance(one, (bytes, str)))
    return sum(size for size in chain(arrays, texts) if isinstance(size, int))


async def _result(awaitable: Any) -> Any:
    return await awaitable


def named_shadow(model: str, shadow: Any) -> tuple[str, Callable[..., Any]]:
    """Return what a shadow of `model` is called, and what answers."""
    if not isinstance(shadow, Mapping):
        return f"{model}-shadow", shadow
    ((name, answer),) = shadow.items()
    return str(name), answer
