"""Ultralytics: a YOLO model answers a call, or `predict`, with a list of results, one a picture, or with a stream."""

from __future__ import annotations

import functools
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from davy.fields import record
from davy.sdk.fields import Columns, Fields
from davy.sdk.integrations._arrays import column
from davy.sdk.options import Options
from davy.sdk.proxy import watch_object
from davy.sdk.watching import NOBODY, Watch


def matches(target: Any) -> bool:
    """Whether it is a model."""
    return any(
        kind.__module__.partition(".")[0] == "ultralytics" and kind.__name__ == "Model"
        for kind in type(target).__mro__
    )


def watch(target: Any, model: str, options: Options) -> Any:
    """Return a stand-in whose predictions are captured."""
    return watch_object(target, model, options, dict.fromkeys(("__call__", "predict", "track"), _Results))


class _Results(Watch):
    """Reads results: what was found, and the picture that each result keeps, in the order red, green, blue."""

    def __init__(self, target: Any, method: Callable[..., Any], model: str, options: Options) -> None:
        super().__init__(method, model, options)
        self._target = target

    def wrap(self, method: Callable[..., Any]) -> Callable[..., Any]:
        whole = super().wrap(method)

        @functools.wraps(method)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if not kwargs.get("stream"):
                return whole(*args, **kwargs)
            result = method(*args, **kwargs)
            return (
                self._one_by_one(result, args, kwargs) if isinstance(result, types.GeneratorType) else result
            )

        return watched

    def _one_by_one(
        self, results: Iterator[Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Iterator[Any]:
        try:
            while True:
                started = time.perf_counter_ns()
                try:
                    result = next(results)
                except StopIteration:
                    return
                self.observe(args, kwargs, [result], started)
                yield result
        finally:
            results.close()  # type: ignore[attr-defined]

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int | None:
        del args, kwargs
        results = result if isinstance(result, (list, tuple)) else [result]
        count = len(results)
        names = getattr(results[0], "names", None) if count else None
        if self._class_names is None and isinstance(names, Mapping):
            self._class_names = [str(name) for _, name in sorted(names.items())]
        return None if count == 1 else count or NOBODY

    def fields(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> tuple[Fields, Fields, Any]:
        found = result[0] if isinstance(result, (list, tuple)) else result
        return {**self.inputs_of(_picture(found), args, kwargs)}, self._found(found), None

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        inputs = self.inputs_of(_table([_picture(each) for each in result]), args, kwargs, len(result))
        return Columns(inputs, _table([self._found(each) for each in result]))

    def _found(self, result: Any) -> Fields:
        found = record(result) or {"value": None}
        found.pop("class_names", None)  # the same of all pictures: told once
        return {name: _array(value) for name, value in found.items()}

    def _shortcut(self, *_: Any) -> None:
        """Return nothing: fields are made of the call, none is taken from it."""


def _picture(result: Any) -> Fields:
    image = getattr(result, "orig_img", None)
    return {} if image is None else {"image": np.ascontiguousarray(_array(image)[..., ::-1])}


def _array(value: Any) -> Any:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _table(rows: Sequence[Fields]) -> dict[str, Any]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: column(row.get(name) for row in rows) for name in names}
