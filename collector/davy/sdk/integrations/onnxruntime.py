"""ONNX Runtime: an ``InferenceSession`` knows the names of its inputs and outputs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from davy.event import Array
from davy.sdk.calls.batches import objects
from davy.sdk.calls.opening import Leaves
from davy.sdk.calls.tensors import is_array
from davy.sdk.fields import names_of
from davy.sdk.integrations._arrays import ArrayWatch
from davy.sdk.options import Options
from davy.sdk.proxy import watch_object

MEANS: Final = frozenset({"embedding"})


def matches(target: Any) -> bool:
    """Whether it is a session."""
    return isinstance(target, sys.modules["onnxruntime"].InferenceSession)


def watch(target: Any, model: str, options: Options) -> Any:
    """Return a stand-in whose calls are captured; `embedding` names the output that is the embedding."""
    return watch_object(target, model, options, dict.fromkeys(("run", "run_with_ort_values"), _SessionWatch))


class _SessionWatch(ArrayWatch):
    def __init__(self, target: Any, method: Callable[..., Any], model: str, options: Options) -> None:
        super().__init__(method, model, options)
        self._outputs = [each.name for each in target.get_outputs()]
        self._embedding = options.embedding

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int | None:
        if self._class_names is None:
            self._class_names = _mapped(result)
        return super().rows(args, kwargs, result)

    def given(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Leaves:
        return {name: _array(value) for name, value in self._feed(args, kwargs).items()}

    def chosen(self, args: Sequence[Any], kwargs: Mapping[str, Any], given: Leaves) -> Leaves:
        if self._transform is not None:
            return {**self._transform(self._feed(args, kwargs))}
        return super().chosen(args, kwargs, given)

    def answered(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Leaves:
        names = self._binder.bind(args, kwargs).get("output_names") or self._outputs
        found = {name: _array(value) for name, value in zip(names, result, strict=True)}
        if self._embedding in found:
            found["embedding"] = found.pop(self._embedding)
        return found

    def _feed(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = self._binder.bind(args, kwargs)
        found: Mapping[str, Any] = (
            asked["input_feed"] if "input_feed" in asked else asked["input_dict_ort_values"]
        )
        return found


def _mapped(result: Sequence[Any]) -> list[str] | None:
    """Return the classes that a ZipMap names, when one output is what it makes of probabilities."""
    found = [value[0] for value in result if isinstance(value, list) and value and isinstance(value[0], dict)]
    return names_of(list(found[0])) if len(found) == 1 else None


def _array(value: Any) -> Array:
    if isinstance(value, np.ndarray):
        return value
    if (
        isinstance(value, list) and value and isinstance(value[0], dict)
    ):  # what a ZipMap makes of probabilities
        if all(row.keys() == value[0].keys() for row in value):
            return np.array([list(row.values()) for row in value])
        return objects(value)
    if isinstance(value, list):
        return objects(value)
    return np.asarray(value if is_array(value) or not hasattr(value, "numpy") else value.numpy())
