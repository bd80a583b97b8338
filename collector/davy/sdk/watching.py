"""Watching a function or a model object: every call is captured, and nothing else about it changes."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from davy.event import Array
from davy.sdk.fields import Binder, Fields, Inputs, input_columns, input_fields, output_columns, output_fields
from davy.sdk.guard import Guard
from davy.sdk.home import HOME
from davy.sdk.scope import CURRENT

_GUARD: Final = Guard("watch")


class Watch:
    """What is done with the calls of one function.

    Parameters
    ----------
    function
        The function, for the names of its parameters.
    model
        ``name:version``.
    batched
        Whether the first axis of arguments and result is the inferences.
    inputs
        Names of the arguments to capture, or a function that makes the input fields of them.
    columns
        Names for the columns of a matrix.
    output
        Name of the output field of a batch, when it is known.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        model: str,
        *,
        batched: bool,
        inputs: Inputs,
        columns: Sequence[str] | None = None,
        output: str | None = None,
    ) -> None:
        self._binder = Binder(function)
        self._model = model
        self._batched = batched
        self._transform = inputs if callable(inputs) else None
        self._chosen = None if inputs is None or callable(inputs) else list(inputs)
        self._columns = self._chosen if columns is None else columns
        self._output = output

    def observe(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any, started: int) -> None:
        """Capture one call that began at `started` (``perf_counter_ns``) and ended now; never raises."""
        latency_ms = (time.perf_counter_ns() - started) / 1e6
        with _GUARD:
            client = HOME.client or HOME.begin()
            if self._batched:
                columns = functools.partial(self._arrays, args, kwargs, result)
                client.capture_batch(self._model, _length(result), columns, latency_ms)
                return
            low = client.ids.admitted() if CURRENT.get() is None else -1
            if low:  # else sampled out
                found = functools.partial(self._fields, args, kwargs, result)
                client.capture(low, self._model, found, None, None, None, latency_ms)

    def _fields(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> tuple[Fields, Fields, Any]:
        return input_fields(self._arguments(args, kwargs)), *output_fields(result)

    def _arrays(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> tuple[dict[str, Array], dict[str, Array], Array | None]:
        outputs, embedding = output_columns(result, self._output)
        return input_columns(self._arguments(args, kwargs), self._columns), outputs, embedding

    def _arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._transform is not None:
            return self._transform(*args, **kwargs)
        found = self._binder.bind(args, kwargs)
        chosen = {name: found[name] for name in self._chosen or () if name in found}
        return chosen or found


def wrap(function: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    """Give a function that does as `function` and lets `watch` observe it."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def watched_coroutine(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter_ns()
            result = await function(*args, **kwargs)
            watch.observe(args, kwargs, result, started)
            return result

        return watched_coroutine

    @functools.wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter_ns()
        result = function(*args, **kwargs)
        watch.observe(args, kwargs, result, started)
        return result

    return watched


def _length(result: Any) -> int:
    if isinstance(result, Mapping):
        result = next(iter(result.values()), ())
    return len(result) if hasattr(result, "__len__") else 1
