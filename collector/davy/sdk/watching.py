"""Watching a function or a model object: every call is captured, and nothing else about it changes."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

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

if TYPE_CHECKING:
    from davy.sdk.shadow import Call, Shadow

_GUARD: Final = Guard("watch")
_SHADOW: Final = Guard("shadow")


class Options(NamedTuple):
    """What the app asked for, as `davy.watch` takes it."""

    batched: bool = False
    inputs: Inputs = None
    output: str | None = None
    embedding: str | None = None
    members: Any = None
    shadow: Any = None

    def for_method(self, name: str) -> Options:
        """Give the options for one method of an object: a shadow answers with its method of that name, if any."""
        return self.for_shadow(lambda model: getattr(model, name, model))

    def for_shadow(self, change: Callable[[Any], Any]) -> Options:
        """Give the options with another shadow made of the one there is, if any."""
        if isinstance(self.shadow, Mapping):
            return self._replace(shadow={name: change(model) for name, model in self.shadow.items()})
        return self if self.shadow is None else self._replace(shadow=change(self.shadow))


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
        self._shadow: Shadow | None = None
        if options.shadow is not None:
            from davy.sdk.shadow import Shadow

            self._shadow_name, answer = _named_shadow(model, options.shadow)
            self._shadow = Shadow(answer, self._record)

    def observe(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any, started: int) -> None:
        """Capture one call that began at `started` (``perf_counter_ns``) and ended now; never raises."""
        latency_ms = (time.perf_counter_ns() - started) / 1e6
        with _GUARD:
            client = HOME.client or HOME.begin()
            rows = self.rows(args, kwargs, result)
            low = -1
            if rows is None and CURRENT.get() is None:
                low = client.ids.admitted()
            if low == 0 or rows == 0:
                return  # sampled out, or no inference
            read: Callable[..., Any] = self.fields if rows is None else self.columns
            reading = functools.partial(read, args, kwargs, result)
            if self._shadow is not None:
                try:
                    found = _Reading(rows, low, reading(), latency_ms, time.time_ns())
                except BaseException as error:
                    client.lose(self.model, error, rows or 1)
                    raise
                self._shadow.take(args, kwargs, found)
            elif rows is None:
                client.capture(low, self.model, reading, None, None, None, latency_ms)
            else:
                client.capture_batch(self.model, rows, reading, latency_ms)

    def shadow_outputs(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any, rows: int | None
    ) -> Mapping[str, Any]:
        """Read what another model answered to the same call."""
        if rows is None:
            return self.fields(args, kwargs, result)[1]
        return self.columns(args, kwargs, result).outputs

    def _record(self, call: Call, answer: Any, reason: str) -> None:
        """Capture a call of the primary with the shadow's answer or, with a reason, without."""
        with _GUARD:
            client, alternatives = HOME.client or HOME.begin(), {}
            rows, low, found, latency_ms, at = call.reading
            if reason:
                client.bulk.note(self.model, reason, rows or 1)
            else:
                with _SHADOW:
                    answered = self.shadow_outputs(call.args, call.kwargs, answer, rows)
                    alternatives = {self._shadow_name: answered}
                if not alternatives:
                    client.bulk.note(self.model, "shadow_failed", rows or 1)
            if rows is None:
                inputs, outputs, embedding = found
                more = (latency_ms, embedding, None, None, None, alternatives)
                client.capture(low, self.model, inputs, outputs, None, at, *more)
            else:
                columns = found._replace(alternatives={**found.alternatives, **alternatives})
                client.capture_batch(self.model, rows, lambda: columns, latency_ms, at)

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


class _Reading(NamedTuple):
    """What is recorded of a call, read on the caller's thread."""

    rows: int | None
    low: int
    found: Any
    latency_ms: float
    at: int


def _named_shadow(model: str, shadow: Any) -> tuple[str, Callable[..., Any]]:
    if not isinstance(shadow, Mapping):
        return f"{model}-shadow", shadow
    ((name, answer),) = shadow.items()
    return str(name), answer


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
