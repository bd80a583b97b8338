"""Answers that come later: generators, coroutines, futures and their kin are followed, and captured when they end.

The app gets its stream at once and in its own time: what it sends, throws, closes and awaits reaches the model's own
stream, and what that gives or raises reaches the app. Nothing is read ahead and nothing is held back.
"""

from __future__ import annotations

import inspect
import io
import sys
import threading
import time
import types
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence
from contextvars import copy_context
from typing import Any, Final, TypeAlias

from davy.sdk.forksafe import ForkSafe
from davy.sdk.guard import Guard
from davy.sdk.leaving import upstream
from davy.sdk.scope import CURRENT
from davy.sdk.transcript import MOST_BYTES, Transcript, copied

MOST_OPEN: Final = 1_024
MOST_HELD: Final = 64 * 2**20
"""Streams followed at once, and bytes kept of them; what comes beyond is captured without its answer, and counted."""
EXHAUSTED, CLOSED, FAILED, ABANDONED = "exhausted", "closed", "failed", "abandoned"
_GUARD: Final = Guard("stream")
_KINDS: Final = 1_024
_UNANSWERED: Final = object()
_clock: Final = time.perf_counter_ns

Record: TypeAlias = "Callable[[Story], None]"
"""Records a call once its stream has ended."""


class Open(ForkSafe):
    """The streams that have not ended."""

    def __init__(self) -> None:
        super().__init__()
        self.renew()
        upstream.add(self)

    def renew(self) -> None:
        """Forget them: the parent captures them."""
        self._lock = threading.RLock()
        self.stories: dict[int, Story] = {}
        self.held = 0

    @property
    def full(self) -> bool:
        """Whether no other stream can be followed."""
        return len(self.stories) >= MOST_OPEN or self.held >= MOST_HELD

    def hold(self, size: int) -> None:
        """Count bytes that are kept, or with a minus no longer are."""
        with self._lock:
            self.held += size

    def wait(self, timeout: float) -> bool:
        """Wait for nothing: a stream ends when the app wants."""
        del timeout
        return True

    def stop(self, timeout: float) -> None:
        """Record the calls whose streams are still open: the process ends."""
        del timeout
        for story in list(self.stories.values()):
            story.end(ABANDONED)


OPEN: Final = Open()


class Story:
    """What is to be recorded of one call whose answer comes later.

    Parameters
    ----------
    record
        Called once, in the context of the call, when the stream has ended.
    low
        The admitted half of the id; -1 when the scope says.
    args, kwargs
        Of the call; copied, as far as that is no large work: the app may change them before the stream ends.
    spent
        Nanoseconds the call has taken so far.
    """

    __slots__ = (
        "__weakref__", "_context", "_ref", "_size", "answer", "args", "at", "ended", "kwargs", "low", "record",
        "spent", "transcript",
    )  # fmt: skip

    def __init__(
        self, record: Record, low: int, args: Sequence[Any], kwargs: Mapping[str, Any], spent: int
    ) -> None:
        self.record = record
        self.low = low
        self.args, size = copied(tuple(args), MOST_BYTES)
        self.kwargs, more = copied(dict(kwargs), MOST_BYTES)
        self._size = size + more
        self.spent = spent
        self.transcript = Transcript()
        self.answer: Any = _UNANSWERED
        self.ended = ""
        self._ref: Any = None
        self._context = copy_context()
        scope = CURRENT.get()
        self.at = time.time_ns() if scope is None or scope.at is None else scope.at
        if scope is not None and scope.pending is not None:  # the id of the request is this call's
            self._context.run(CURRENT.set, scope._replace(id=scope.take(""), pending=None))

    @property
    def answered(self) -> bool:
        """Whether there is an answer of one piece: what was awaited came."""
        return self.answer is not _UNANSWERED

    def begin(self, stream: Any, source: Any = None) -> Any:
        """Follow `stream`, which the app gets; when nobody wants it any more, an unstarted `source` is closed."""
        if OPEN.stories.setdefault(id(self), self) is self and self._ref is None:
            OPEN.hold(self._size)

        def gone(_: Any) -> None:
            if source is not None and inspect.getcoroutinestate(source) == inspect.CORO_CREATED:
                source.close()  # its stand-in has said that it was never awaited
            self.end(ABANDONED)

        self._ref = weakref.ref(stream, gone)
        return stream

    def tell_at_once(self) -> None:
        """Record the call without its answer: there is no room for another stream."""
        self.begin(self)
        self.end(ABANDONED)

    def took(self, began: int, piece: Any) -> None:
        """Keep a piece that the model began to make at `began`."""
        self.spent += _clock() - began
        with _GUARD:
            kept = self.transcript
            before = kept.size
            kept.take(piece, room=not OPEN.full)
            self._size += kept.size - before
            if kept.size != before and self._ref is not None:
                OPEN.hold(kept.size - before)

    def end(self, how: str, answer: Any = _UNANSWERED) -> None:
        """Record the call, the first time; never raises."""
        if OPEN.stories.pop(id(self), None) is None:
            return
        OPEN.hold(-self._size)
        self.ended, self.answer = how, answer
        with _GUARD:
            self._context.run(self.record, self)
        self._ref = None


Tee: TypeAlias = Callable[[Any, Story], Any]
"""From a stream and its story to what the app gets."""
_tees: dict[type, Tee | None] = {}


def tee_for(answer: Any) -> Tee | None:
    """Return how an answer is followed; None when it is the answer itself."""
    kind = type(answer)
    try:
        return _tees[kind]
    except KeyError:
        if len(_tees) >= _KINDS:
            _tees.clear()
        found = _tees[kind] = _tee_of(kind)
        return found


def _tee_of(kind: type) -> Tee | None:
    if kind is types.GeneratorType:
        return _follow_generator
    if kind is types.AsyncGeneratorType:
        return lambda source, story: story.begin(_named(_async_generator(source, story), source))
    if kind is types.CoroutineType:
        return lambda source, story: story.begin(_named(_coroutine(source, story), source), source)
    futures = sys.modules.get("concurrent.futures")
    if hasattr(kind, "_asyncio_future_blocking") or (futures and issubclass(kind, futures.Future)):
        return _follow_future
    if kind.__module__ in {"builtins", "itertools"} or issubclass(kind, (io.IOBase, type)):
        return (
            None  # an iterator over what is there, or a file: the very object, and no answer that can travel
        )
    if any(hasattr(kind, name) for name in ("__next__", "__anext__", "__await__")):
        from davy.sdk.streamed import stand_in  # circular: a stand-in's iterators are followed as well

        return stand_in
    return None


def _follow_generator(source: Any, story: Story) -> Any:
    awaitable = source.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE
    return story.begin(_named((_old_coroutine if awaitable else follow_iterator)(source, story), source))


def _follow_future(future: Any, story: Story) -> Any:
    began = _clock()

    def done(ended: Any) -> None:
        story.spent += _clock() - began
        with _GUARD:
            _end_future(ended, story)

    story.begin(future)
    if future.done():
        _end_future(future, story)
    else:
        future.add_done_callback(done)
    return future


def _end_future(future: Any, story: Story) -> None:
    if future.cancelled():
        story.end(CLOSED)
    # asyncio warns of an exception that nobody asked for: looking at it as the app does would silence that
    elif getattr(future, "_exception", None) is not None:
        story.end(FAILED)
    else:
        story.end(EXHAUSTED, future.result())


def how_it_ended(error: BaseException) -> str:
    """Return how a stream ended that `error` came out of: closed, when the app wanted no more of it."""
    stopped = isinstance(error, GeneratorExit) or type(error).__name__ == "CancelledError"  # asyncio's
    return CLOSED if stopped else FAILED


def follow_iterator(source: Any, story: Story) -> Generator[Any, Any, Any]:
    """Yield what a generator or iterator yields; a generator is sent, thrown and closed what this one is."""
    how, box = FAILED, []
    sent: Any = None
    error: BaseException | None = None
    given: BaseException | None = None
    send = getattr(source, "send", None)
    try:
        while True:
            began = _clock()
            try:
                if error is not None:
                    given, error = error, None
                    box.append(source.throw(given))
                else:
                    box.append(next(source) if sent is None or send is None else send(sent))
            except StopIteration as end:
                how = EXHAUSTED
                return end.value
            except BaseException as raised:
                how = how_it_ended(raised)
                raise
            finally:
                given = None
            story.took(began, box[0])
            try:
                sent = yield box.pop()  # held no longer than the app holds it
            except GeneratorExit:
                how = CLOSED
                returned = source.close() if hasattr(source, "close") else None
                if returned is not None:
                    return returned  # Python 3.13 gives it to who closes
                raise
            except BaseException as thrown:
                if not hasattr(source, "throw"):
                    raise
                error = thrown
    finally:
        error = given = sent = None
        story.end(how)


async def _async_generator(source: Any, story: Story) -> AsyncGenerator[Any, Any]:
    how, box = FAILED, []
    sent: Any = None
    error: BaseException | None = None
    given: BaseException | None = None
    try:
        while True:
            began = _clock()
            try:
                if error is not None:
                    given, error = error, None
                    box.append(await source.athrow(given))
                else:
                    box.append(await source.asend(sent))
            except StopAsyncIteration:
                how = EXHAUSTED
                return
            except BaseException as raised:
                how = how_it_ended(raised)
                raise
            finally:
                given = None
            story.took(began, box[0])
            try:
                sent = yield box.pop()
            except GeneratorExit:
                how = CLOSED
                if not source.ag_running:  # the event loop may be closing it itself
                    await source.aclose()
                raise
            except BaseException as thrown:  # noqa: BLE001 - it goes on into the model's own generator
                error = thrown
    finally:
        error = given = sent = None
        story.end(how)


async def _coroutine(source: Coroutine[Any, Any, Any], story: Story) -> Any:
    began = _clock()
    try:
        found = await source
    except BaseException as error:
        story.spent += _clock() - began
        story.end(how_it_ended(error))
        raise
    return answered(story, found, began)


@types.coroutine
def _old_coroutine(source: Any, story: Story) -> Generator[Any, Any, Any]:
    began = _clock()
    try:
        found = yield from source
    except BaseException as error:
        story.end(how_it_ended(error))
        raise
    return answered(story, found, began)


def answered(story: Story, found: Any, began: int) -> Any:
    """Return what was awaited to the app, followed in turn when it is a stream; else it is the answer."""
    story.spent += _clock() - began
    with _GUARD:
        tee = tee_for(found)
        if tee is not None:
            return tee(found, story)
    story.end(EXHAUSTED, found)
    return found


def _named(stand_in: Any, source: Any) -> Any:
    stand_in.__name__, stand_in.__qualname__ = source.__name__, source.__qualname__
    return stand_in
