"""From what a model was given and what it answered to named fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from davy.event import Array

Fields: TypeAlias = dict[str, Any]
Inputs: TypeAlias = "Sequence[str] | Callable[..., Mapping[str, Any]] | None"
"""Which arguments are captured: some by name, or what a function makes of them; all when None."""


class Columns(NamedTuple):
    """The fields of inferences made at once: arrays whose first axis is the inferences."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    embedding: Array | None = None
    alternatives: Mapping[str, Mapping[str, Array]] = {}


_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NO_RECORDS: Final = frozenset(
    {bool, int, float, str, bytes, list, type(None), np.ndarray, np.float32, np.float64}
)
_TOLERANCE: Final = 1e-3


class Binder:
    """Names the arguments of one function, as ``inspect.signature`` would, in a fraction of the time.

    Defaults that are numbers, booleans or text count as given, so that every call has the same fields.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        parameters = _parameters(function)
        if parameters and parameters[0].name in {"self", "cls"}:
            self._skipped = 1
        else:
            self._skipped = 0
        self._names = [each.name for each in parameters if each.kind in _POSITIONAL][self._skipped :]
        rest = [each.name for each in parameters if each.kind is inspect.Parameter.VAR_POSITIONAL]
        self._rest = rest[0] if rest else "args"
        self._defaults = {
            each.name: each.default
            for each in parameters
            if isinstance(each.default, (bool, int, float, str))
        }

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Fields:
        """Give the arguments by name, without ``self`` and ``cls``."""
        args = args[self._skipped :]
        found = {**self._defaults, **dict(zip(self._names, args, strict=False)), **kwargs}
        if len(args) > len(self._names):
            found[self._rest] = list(args[len(self._names) :])
        return found


def input_fields(arguments: Mapping[str, Any]) -> Fields:
    """Give the fields of arguments: a mapping, row or record among them becomes one field an item."""
    found: Fields = {}
    for name, value in arguments.items():
        fields = record_fields(value)
        if fields is None:
            found[name] = value
        else:
            for key, item in fields.items():
                found[f"{name}.{key}" if key in found else key] = item
    return found


def output_fields(result: Any, name: str | None = None) -> tuple[Fields, Any]:
    """Give the output fields of a model's answer, bare ones under `name`, and the embedding when it has one."""
    if result is None:
        return {}, None
    if isinstance(result, str):
        return {name or "label": result}, None
    if isinstance(result, (bool, int, float, bytes, np.generic)):
        return {name or "value": result}, None
    found = record_fields(result)
    if found is not None:
        return found, found.pop("embedding", None)
    if name is None:
        array = _array(result)
        name = "probs" if array is not None and array.ndim == 1 and probabilities(array) else "value"
    return {name: result}, None


def input_columns(arguments: Mapping[str, Any], names: Sequence[str] | None) -> dict[str, Array]:
    """Give the fields of arguments whose first axis is the inferences; `names` are those of a matrix's columns."""
    found: dict[str, Array] = {}
    for name, value in arguments.items():
        columns = _table(value)
        if columns is not None:
            found |= columns
            continue
        array = np.asarray(value)
        if array.ndim == 2 and names is not None and len(names) == array.shape[1]:
            found |= {str(column): array[:, i] for i, column in enumerate(names)}
        elif array.ndim > 0:  # a scalar is a parameter of the call, not a field of its rows
            found[name] = array
    return found


def output_columns(
    result: Any, name: str | None = None, classes: Any = None
) -> tuple[dict[str, Array], Array | None]:
    """Give the output fields of a batch and the embedding when it has one.

    An array gets `name`, or the one its values tell; with the labels of its columns `classes`, probabilities give
    the likeliest as ``label`` too. Arrays in a list, one a target, get the target's number behind the name.
    """
    columns = _table(result)
    if columns is not None:
        return columns, columns.pop("embedding", None)
    if _one_a_target(result):
        parts = {f"{name or output_name(part)}_{i}": np.asarray(part) for i, part in enumerate(result)}
        return parts, None
    array = np.asarray(result)
    name = output_name(array) if name is None else name
    if name == "probs" and array.ndim == 2 and classes is not None and len(classes) == array.shape[1]:
        return {name: array, "label": np.asarray(classes)[array.argmax(axis=1)]}, None
    return {name: array}, None


def output_name(array: Array) -> str:
    """Name the output of a batch by what its values are."""
    if array.ndim == 2 and probabilities(array):
        return "probs"
    return "label" if array.ndim == 1 and array.dtype.kind in "UO" else "value"


def row_count(result: Any) -> int:
    """Count the inferences in the answer to a batch."""
    if isinstance(result, Mapping):
        result = next(iter(result.values()), ())
    elif _one_a_target(result):
        result = result[0]
    return len(result) if hasattr(result, "__len__") else 1


def record_fields(value: Any) -> Fields | None:
    """Give the items of a mapping, a pandas row, a dataclass or a named tuple by name; None for anything else."""
    if type(value) in _NO_RECORDS:
        return None
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, tuple):
        return value._asdict() if hasattr(value, "_asdict") else None
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if _from_pandas(value) and value.ndim == 1:
        return {str(key): item for key, item in value.to_dict().items()}
    return None


def _table(value: Any) -> dict[str, Array] | None:
    if _from_pandas(value) and value.ndim == 2:
        return {str(name): value[name].to_numpy() for name in value.columns}
    if isinstance(value, Mapping):
        return {str(name): np.asarray(column) for name, column in value.items()}
    if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
        return {str(name): _column([row.get(name) for row in value]) for name in value[0]}
    return None


def _one_a_target(result: Any) -> bool:
    return (
        isinstance(result, list)
        and len(result) > 1
        and all(isinstance(part, np.ndarray) and part.ndim == 2 for part in result)
        and len({len(part) for part in result}) == 1
    )


def _column(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _from_pandas(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "ndim")


def _array(value: Any) -> Array | None:
    if not isinstance(value, (np.ndarray, list, tuple)) and not hasattr(value, "__array__"):
        return None
    try:
        return np.asarray(value)
    except ValueError:  # rows of different lengths
        return None


def probabilities(array: Array) -> bool:
    """Whether the last axis of an array holds numbers that are not negative and sum to one."""
    if array.dtype.kind != "f" or array.shape[-1] < 2 or not array.size:
        return False
    return bool((array >= 0).all() and (abs(array.sum(axis=-1, dtype=np.float64) - 1.0) < _TOLERANCE).all())


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C
        return []
