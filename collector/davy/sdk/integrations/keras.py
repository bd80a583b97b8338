"""Keras 3 on any backend: ``predict``, ``predict_on_batch`` and calls of a model."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from davy.sdk.calls.opening import Leaves, open_arguments
from davy.sdk.calls.tensors import is_array, is_real
from davy.sdk.integrations._arrays import ArrayWatch
from davy.sdk.options import Options
from davy.sdk.proxy import watch_object
from davy.sdk.watching import NOBODY

_METHODS: Final = ("predict", "predict_on_batch", "__call__")
_MADE_UP: Final = re.compile(r"keras_tensor(_\d+)?")
"""What Keras calls what has no name: another number in every process."""


def matches(target: Any) -> bool:
    """Whether it is a model."""
    return isinstance(target, sys.modules["keras"].Model)


def watch(target: Any, model: str, options: Options) -> Any:
    """Return a stand-in whose predictions and calls are captured."""
    return watch_object(target, model, options, dict.fromkeys(_METHODS, _ModelWatch))


class _ModelWatch(ArrayWatch):
    def __init__(self, target: Any, method: Callable[..., Any], model: str, options: Options) -> None:
        super().__init__(method, model, options)
        self._names = _names(target, "inputs"), _names(target, "outputs")

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int | None:
        if not self.answered(args, kwargs, result):
            return NOBODY  # the model is being built or traced
        return super().rows(args, kwargs, result)

    def size(self, given: Leaves, answered: Leaves) -> int | None:
        if given:
            return super().size(given, answered)
        # what a data set or generator holds is not looked at: its answers have the rows
        sizes = {value.shape[0] for value in answered.values() if len(value.shape)}
        return sizes.pop() if len(sizes) == 1 else None

    def given(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Leaves:
        value = args[0] if args else next(iter(kwargs.values()), None)
        return {name: each for name, each in _flat(value, self._names[0]).items() if is_real(each)}

    def answered(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Leaves:
        del args, kwargs
        return {name: each for name, each in _flat(result, self._names[1]).items() if is_real(each)}


def _names(target: Any, side: str) -> list[str]:
    try:
        found = [each.name for each in getattr(target, side)]
        own = zip(found, _unnamed(len(found)), strict=True)
        return [spare if _MADE_UP.fullmatch(name) else name for name, spare in own]
    except (AttributeError, TypeError, ValueError):  # not built yet, or a model without a graph
        return []


def _unnamed(count: int) -> list[str]:
    return [f"array_{i}" for i in range(count)] if count > 1 else ["x"]


def _flat(value: Any, names: Sequence[str]) -> dict[str, Any]:
    if isinstance(value, Mapping):
        found = open_arguments(value)
    else:
        parts = value if isinstance(value, (list, tuple)) else [value]
        found = dict(zip(names if len(names) == len(parts) else _unnamed(len(parts)), parts, strict=True))
    return {str(name): each for name, each in found.items() if is_array(each)}
