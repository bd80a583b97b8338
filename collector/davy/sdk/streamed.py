"""Stand-ins for streams that are objects of a library: iterators, asynchronous iterators and awaitables."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from davy.sdk.proxy import KEPT
from davy.sdk.streams import CLOSED, EXHAUSTED, Story, answered, follow_iterator, how_it_ended

_clock: Final = time.perf_counter_ns
_CLOSES: Final = frozenset({"close", "aclose", "cancel"})


def stand_in(target: Any, story: Story) -> Any:
    """Return an object that does as `target` and tells its story."""
    kind: type = type(target)
    return story.begin(_class_for(kind)(target, story))


class _Streamed:
    __slots__ = ("__weakref__", "_davy_story", "_davy_target")

    def __init__(self, target: Any, story: Story) -> None:
        object.__setattr__(self, "_davy_target", target)
        object.__setattr__(self, "_davy_story", story)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._davy_target, name)
        return _closing(value, self._davy_story) if name in _CLOSES and callable(value) else value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._davy_target, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._davy_target, name)

    def __dir__(self) -> list[str]:
        return dir(self._davy_target)

    def __copy__(self) -> Any:
        return copy.copy(self._davy_target)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self._davy_target, memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._davy_target.__reduce_ex__(protocol)


def _iter(self: Any) -> Any:
    found = iter(self._davy_target)
    return self if found is self._davy_target else follow_iterator(found, self._davy_story)


def _next(self: Any) -> Any:
    story, began = self._davy_story, _clock()
    try:
        found = next(self._davy_target)
    except StopIteration:
        story.end(EXHAUSTED)
        raise
    except BaseException as error:
        story.end(how_it_ended(error))
        raise
    story.took(began, found)
    return found


def _aiter(self: Any) -> Any:
    found = aiter(self._davy_target)
    return self if found is self._davy_target else _follow_async(found, self._davy_story)


async def _follow_async(source: Any, story: Story) -> Any:
    how = CLOSED
    try:
        while True:
            began = _clock()
            try:
                piece = await anext(source)
            except StopAsyncIteration:
                how = EXHAUSTED
                return
            except BaseException as error:
                how = how_it_ended(error)
                raise
            story.took(began, piece)
            yield piece
    finally:
        if hasattr(source, "aclose") and how == CLOSED:
            await source.aclose()
        story.end(how)


async def _anext(self: Any) -> Any:
    story, began = self._davy_story, _clock()
    try:
        found = await anext(self._davy_target)
    except StopAsyncIteration:
        story.end(EXHAUSTED)
        raise
    except BaseException as error:
        story.end(how_it_ended(error))
        raise
    story.took(began, found)
    return found


def _await(self: Any) -> Any:
    story, began = self._davy_story, _clock()
    try:
        found = yield from self._davy_target.__await__()
    except BaseException as error:
        story.end(how_it_ended(error))
        raise
    return answered(story, found, began)


def _enter(self: Any) -> Any:
    found = self._davy_target.__enter__()
    return self if found is self._davy_target else found


async def _aenter(self: Any) -> Any:
    found = await self._davy_target.__aenter__()
    return self if found is self._davy_target else found


def _exit(self: Any, *error: Any) -> Any:
    try:
        return self._davy_target.__exit__(*error)
    finally:
        self._davy_story.end(CLOSED)


async def _aexit(self: Any, *error: Any) -> Any:
    try:
        return await self._davy_target.__aexit__(*error)
    finally:
        self._davy_story.end(CLOSED)


_OWN: Final = {
    "__iter__": _iter, "__next__": _next, "__aiter__": _aiter, "__anext__": _anext, "__await__": _await,
    "__enter__": _enter, "__exit__": _exit, "__aenter__": _aenter, "__aexit__": _aexit,
}  # fmt: skip


@lru_cache(maxsize=256)
def _class_for(kind: type) -> type[_Streamed]:
    names = {name for name in dir(kind) if name.startswith("__") and name.endswith("__")} - KEPT
    body: dict[str, Any] = {
        name: _OWN.get(name) or _forward(name) for name in names if callable(getattr(kind, name, None))
    }
    body |= {
        "__slots__": (),
        "__doc__": kind.__doc__,
        "__module__": kind.__module__,
        "__class__": property(lambda self: type(self._davy_target)),
    }
    return type(kind.__name__, (_Streamed,), body)


def _forward(name: str) -> Callable[..., Any]:
    def special(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._davy_target, name)(*args, **kwargs)

    special.__name__ = name
    return special


def _closing(close: Callable[..., Any], story: Story) -> Callable[..., Any]:
    def closed(*args: Any, **kwargs: Any) -> Any:
        try:
            return close(*args, **kwargs)
        finally:
            story.end(CLOSED)

    return closed
