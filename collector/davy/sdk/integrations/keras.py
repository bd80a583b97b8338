"""Keras 3 on any backend: ``predict``, ``predict_on_batch`` and calls of a model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from davy.event import Array
from davy.sdk.fields import Columns, input_columns
from davy.sdk.integrations._arrays import as_rows, canonical, shared_rows
from davy.sdk.proxy import watch_object
from davy.sdk.watching import Options, Watch

_METHODS: Final = ("predict", "predict_on_batch", "__call__")


def matches(target: Any) -> bool:
    """Whether it is a model."""
    return isinstance(target, sys.modules["keras"].Model)


def watch(target: Any, model: str, options: Options) -> Any:
    """Give a stand-in whose predictions and calls are captured."""
    return watch_object(target, model, options, dict.fromkeys(_METHODS, _ModelWatch))


class _ModelWatch(Watch):
    def __init__(self, target: Any, method: Callable[..., Any], model: str, options: Options) -> None:
        super().__init__(method, model, options)
        self._names = _names(target, "inputs"), _names(target, "outputs")

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
        answered = list(_flat(result, self._names[1]).values())
        if not answered or not all(map(_concrete, answered)):
            return 0  # the model is being built or traced
        return self._rows(args, kwargs, result) or 1

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        rows = self._rows(args, kwargs, result)
        given = {name: _numpy(value) for name, value in self._given(args, kwargs).items()}
        if self._transform is not None:
            given = {name: np.asarray(value) for name, value in self._transform(*args, **kwargs).items()}
        answered = {name: _numpy(value) for name, value in _flat(result, self._names[1]).items()}
        return Columns(
            input_columns(as_rows(given, rows), self._columns),
            canonical(as_rows(answered, rows), self._output),
        )

    def _given(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        value = args[0] if args else next(iter(kwargs.values()), None)
        return {name: each for name, each in _flat(value, self._names[0]).items() if _concrete(each)}

    def _rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int | None:
        answered = list(_flat(result, self._names[1]).values())
        given = list(self._given(args, kwargs).values())
        # what a data set or generator holds is not looked at: its answers have the rows
        return shared_rows(given or answered, answered)


def _names(target: Any, side: str) -> list[str]:
    try:
        return [each.name for each in getattr(target, side)]
    except (AttributeError, TypeError, ValueError):  # not built yet, or a model without a graph
        return []


def _flat(value: Any, names: Sequence[str]) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {str(name): each for name, each in value.items() if hasattr(each, "shape")}
    if not isinstance(value, (list, tuple)):
        value = [value]
    if len(names) != len(value):
        names = [f"array_{i}" for i in range(len(value))] if len(value) > 1 else ["x"]
    return {name: each for name, each in zip(names, value, strict=True) if hasattr(each, "shape")}


def _concrete(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return True
    if isinstance(value, sys.modules["keras"].KerasTensor):
        return False
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is None or not tensorflow.is_tensor(value) or hasattr(value, "numpy")


def _numpy(value: Any) -> Array:
    if isinstance(value, np.ndarray):
        return value
    return np.asarray(sys.modules["keras"].ops.convert_to_numpy(value))
