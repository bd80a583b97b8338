"""Watching a function or a model object: every call is captured, and nothing else about it changes."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from davy.sdk.fields import (
    Binder,
    Columns,
    Fields,
    Inputs,
    input_columns,
    input_fields,
    output_columns,
    output_fields,
    row_count,
)
from davy.sdk.guard import Guard
from davy.sdk.home import HOME
from davy.sdk.scope import CURRENT

_GUARD: Final = Guard("watch")


class Options(NamedTuple):
    """What the app asked for, as `davy.watch` takes it."""

    batched: bool = False
    inputs: Inputs = None
    output: str | None = None
    embedding: str | None = None
    members: Any = None


class Watch:
    """What is done with the calls of one function; integrations override how its calls are read.

    Parameters
    ----------
    function
        The function, for the names of its parameters.
    model
        ``name:version``.
    options
        What the app asked for.
    batched
        Whether the first axis of arguments and result is the inferences.
    columns
        Names for the columns of a matrix.
    output
        Name of the output field of a batch, when it is known and the app gave none.
    classes
        The labels of the columns of ``probs``, when they are known.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        model: str,
        options: Options,
        *,
        batched: bool = False,
        columns: Sequence[str] | None = None,
        output: str | None = None,
        classes: Any = None,
    ) -> None:
        inputs = options.inputs
        self.model = model
        self._binder = Binder(function)
        self._batched = batched or options.batched
        self._transform = inputs if callable(inputs) else None
        self._chosen = None if inputs is None or callable(inputs) else list(inputs)
        self._columns = self._chosen if columns is None else columns
        self._output = options.output or output
        self._classes = classes

    def observe(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any, started: int) -> None:
        """Capture one call that began at `started` (``perf_counter_ns``) and ended now; never raises."""
        latency_ms = (time.perf_counter_ns() - started) / 1e6
        with _GUARD:
            client = HOME.client or HOME.begin()
            rows = self.rows(args, kwargs, result)
            if rows is not None:
                if rows:
                    columns = functools.partial(self.columns, args, kwargs, result)
                    client.capture_batch(self.model, rows, columns, latency_ms)
                return
            low = client.ids.admitted() if CURRENT.get() is None else -1
            if low:  # else sampled out
                found = functools.partial(self.fields, args, kwargs, result)
                client.capture(low, self.model, found, None, None, None, latency_ms)

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int | None:
        """Give the number of inferences in a call: None when it is one and `fields` reads it, else `columns` does."""
        del args, kwargs  # for integrations, whose answers alone do not tell
        return row_count(result) if self._batched else None

    def fields(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> tuple[Fields, Fields, Any]:
        """Read the inputs, outputs and embedding of a call that is one inference."""
        outputs, embedding = output_fields(result, self._output)
        return input_fields(self.arguments(args, kwargs)), outputs, embedding

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        """Read the fields of a call whose first axis is the inferences."""
        outputs, embedding = output_columns(result, self._output, self._classes)
        return Columns(input_columns(self.arguments(args, kwargs), self._columns), outputs, embedding)

    def arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give the arguments to capture by name."""
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
