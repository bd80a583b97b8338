"""ONNX Runtime: an ``InferenceSession`` knows the names of its inputs and outputs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from davy.event import Array
from davy.sdk.fields import Columns, input_columns
from davy.sdk.integrations._arrays import as_rows, canonical, column, shared_rows
from davy.sdk.proxy import watch_object
from davy.sdk.watching import Options, Watch


def matches(target: Any) -> bool:
    """Whether it is a session."""
    return isinstance(target, sys.modules["onnxruntime"].InferenceSession)


def watch(target: Any, model: str, options: Options) -> Any:
    """Give a stand-in whose ``run`` is captured; `embedding` names the output that is the embedding."""
    return watch_object(target, model, options, {"run": _SessionWatch})


class _SessionWatch(Watch):
    def __init__(self, target: Any, method: Callable[..., Any], model: str, options: Options) -> None:
        super().__init__(method, model, options)
        self._outputs = [each.name for each in target.get_outputs()]
        self._embedding = options.embedding

    def rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
        _, given, answered = self._named(args, kwargs, result)
        return shared_rows(given.values(), answered.values()) or 1

    def columns(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Columns:
        chosen, given, answered = self._named(args, kwargs, result)
        rows = shared_rows(given.values(), answered.values())
        outputs = as_rows(answered, rows)
        embedding = outputs.pop(self._embedding or "", None)
        return Columns(
            input_columns(as_rows(chosen, rows), self._columns),
            canonical(outputs, self._output),
            embedding,
        )

    def _named(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Sequence[Any]
    ) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
        asked = self._binder.bind(args, kwargs)
        given = {name: np.asarray(value) for name, value in asked["input_feed"].items()}
        chosen = given
        if self._transform is not None:
            found = self._transform(asked["input_feed"])
            chosen = {name: np.asarray(value) for name, value in found.items()}
        elif self._chosen is not None:
            chosen = {name: given[name] for name in self._chosen if name in given} or given
        names = asked.get("output_names") or self._outputs
        return chosen, given, {name: _array(value) for name, value in zip(names, result, strict=True)}


def _array(value: Any) -> Array:
    if (
        isinstance(value, list) and value and isinstance(value[0], dict)
    ):  # what a ZipMap makes of probabilities
        if all(row.keys() == value[0].keys() for row in value):
            return np.array([list(row.values()) for row in value])
        return column(value)
    return np.asarray(value) if not isinstance(value, list) else column(value)
