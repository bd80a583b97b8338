"""A function that does as another one, and lets a watch observe its calls."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from davy.sdk.watching import Watch


def wrap(function: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    """Return a function that does as `function` and lets `watch` observe it."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def watched_coroutine(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter_ns()
            result = await function(*args, **kwargs)
            try:
                return watch.observe(args, kwargs, result, started)
            except RecursionError:  # no frame is left to enter it
                return result

        return watched_coroutine

    @functools.wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter_ns()
        result = function(*args, **kwargs)
        try:
            return watch.observe(args, kwargs, result, started)
        except RecursionError:  # no frame is left to enter it
            return result

    return watched
