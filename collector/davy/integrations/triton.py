"""Triton's Python backend: ``@watch("resnet:1")`` above ``class TritonPythonModel`` in ``model.py``."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import numpy as np

import davy
from davy.errors import InvalidInference
from davy.sdk.calls.opening import Leaves
from davy.sdk.guard import Guard
from davy.sdk.ids import parse
from davy.sdk.integrations._arrays import ArrayWatch
from davy.sdk.options import Options

__all__ = ["watch"]

Model = TypeVar("Model", bound=type)
_GUARD: Final = Guard("integration")


def watch(model: str, **options: Any) -> Callable[[Model], Model]:
    """Return a decorator of the class that Triton looks for, whose requests are captured with their responses.

    Names are those of the tensors in ``config.pbtxt``; the first axis is the inferences, as Triton batches. A request
    whose id is a UUID gives it to its only inference. What is answered with an error, or later through a response
    sender, is no inference: give ``davy.capture`` what a decoupled model has sent.

    Parameters
    ----------
    model
        ``name:version``.
    options
        ``inputs``, ``output`` and ``class_names``, as `davy.watch` takes them.
    """
    reader = _Requests(_anything, model, Options(**options))

    def decorate(kind: Model) -> Model:
        execute = kind.execute  # type: ignore[attr-defined]
        if inspect.iscoroutinefunction(execute):

            @functools.wraps(execute)
            async def watched_later(self: Any, requests: Sequence[Any]) -> Any:
                started = time.perf_counter_ns()
                responses = await execute(self, requests)
                reader.take(requests, responses, started)
                return responses

            kind.execute = watched_later  # type: ignore[attr-defined]
            return kind

        @functools.wraps(execute)
        def watched(self: Any, requests: Sequence[Any]) -> Any:
            started = time.perf_counter_ns()
            responses = execute(self, requests)
            reader.take(requests, responses, started)
            return responses

        kind.execute = watched  # type: ignore[attr-defined]
        return kind

    return decorate


def _anything(**tensors: Any) -> None:
    """Stand for a model whose inputs have names."""


class _Requests(ArrayWatch):
    """Reads requests and responses, a call each."""

    def size(self, given: Leaves, answered: Leaves) -> int | None:
        """Return the length of the first axis where all tensors share it, as Triton batches."""
        axes = {each.shape[:1] for each in (*given.values(), *answered.values())}
        if len(axes) == 1 and (axis := axes.pop()):
            return int(axis[0])
        return super().size(given, answered)

    def take(self, requests: Sequence[Any], responses: Any, started: int) -> None:
        """Capture what was answered; never raises."""
        with _GUARD:
            for request, response in zip(requests, responses or (), strict=False):
                if response is None or response.has_error():
                    continue
                inputs = _tensors(request.inputs())
                outputs = _tensors(response.output_tensors())
                with davy.context(id=_name(request)):
                    self.observe((), inputs, outputs, started)


def _tensors(found: Sequence[Any]) -> dict[str, Any]:
    return {
        each.name(): _array(each.as_numpy()) for each in found if not hasattr(each, "is_cpu") or each.is_cpu()
    }


def _array(array: Any) -> Any:
    """Return what ``TYPE_STRING`` holds as text."""
    if array.dtype != object:
        return array
    texts = [
        each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in array.reshape(-1)
    ]
    found = np.empty(len(texts), object)
    found[:] = texts
    return found if array.ndim == 2 and array.shape[1] == 1 else found.reshape(array.shape)


def _name(request: Any) -> str | None:
    name = request.request_id() if hasattr(request, "request_id") else ""
    try:
        return parse(name).hex() if name else None
    except InvalidInference:
        return None
