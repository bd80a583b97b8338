"""From what a model was given and what it answered to named fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from davy.event import Array
from davy.fields import column, columns_of, record
from davy.fields.arrays import unmasked
from davy.fields.detections import only
from davy.fields.flattening import frame
from davy.sdk.calls.tensors import as_array, is_array, is_packed
from davy.sdk.naming import is_place, judged, named

Fields: TypeAlias = dict[str, Any]
Inputs: TypeAlias = "Sequence[str] | Callable[..., Mapping[str, Any]] | None"
"""Which arguments are captured: some by name, or what a function makes of them; all when None."""


_FRAMES: Final = 256
"""So many arguments of one function are known to be frames of several rows."""
_PARTS: Final = 16
"""A tuple with more than so many parts is one value."""
_BESIDE_SCORES: Final = {"scores", "label", "embedding", "class_names"}


class Columns(NamedTuple):
    """The fields of inferences made at once: arrays whose first axis is the inferences."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    embedding: Array | None = None
    alternatives: Mapping[str, Mapping[str, Array]] = {}


_NO_RECORDS: Final = frozenset(
    {bool, int, float, str, bytes, list, type(None), np.ndarray, np.float32, np.float64}
)


class Holders:
    """The arguments of one function that ever held items: mappings, records or tables.

    While there was only one, its items have their own names. From the second on the name of the argument stands before
    the items of every one, also where a call has only one of them: a name means one thing.

    Parameters
    ----------
    changed
        Called when names change.

    Examples
    --------
    >>> holders = Holders()
    >>> holders.several({"user"}), holders.several({"item"}), holders.several({"user"})
    (False, True, True)
    """

    __slots__ = ("_changed", "_names", "_tall")

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._tall: set[str] = set()
        self._names: frozenset[str] = frozenset()
        self._changed = changed

    def several(self, names: Iterable[str]) -> bool:
        """Return whether the name of the argument stands before its items; `names` hold items in this call."""
        if len(self._names) < 2 and not self._names.issuperset(names):
            before, self._names = self._names, self._names.union(names)
            if before and len(self._names) > 1:
                self._changed()
        return len(self._names) > 1

    def only_row(self, name: str, value: Any) -> Fields | None:
        """Return the only row of a frame by the names of its columns; None once one of this name had several."""
        columns = _frame(value)
        if columns is None:
            return None
        if name not in self._tall and all(len(values) == 1 for values in columns.values()):
            return {key: _only(values) for key, values in columns.items()}
        if name not in self._tall and len(self._tall) < _FRAMES:
            self._tall.add(name)
            self._changed()
        return None


def _only(values: Any) -> Any:
    """Return the only value of a column; one that does not travel as it is, to be left out by name."""
    try:
        return column(values)[0]
    except Exception:  # noqa: BLE001 - whatever a value of the app raises when it is looked at
        return next(iter(values))


def input_fields(arguments: Mapping[str, Any], holders: Holders | None = None) -> Fields:
    """Return the fields of arguments: a mapping, row or record among them becomes one field an item.

    Items of the only one keep their names; of several, by what `holders` saw, the name of the argument stands before
    them, so that what a field is called does not depend on what another argument holds.
    """
    found: Fields = {}
    parts: dict[str, Fields] = {}
    holders = holders or Holders()
    for name, value in arguments.items():
        fields = record_fields(value)
        if fields is None:
            fields = holders.only_row(name, value)
        if fields is None:
            found[name] = as_array(value) if is_packed(value) else value
        else:
            parts[name] = fields
    return _joined(arguments, found, parts, holders)


def output_fields(
    result: Any, name: str | None = None, judge: Callable[[Any], str] = judged
) -> tuple[Fields, Any]:
    """Return the output fields of a model's answer, bare ones under `name`, and the embedding when it has one.

    Without a name, `judge` names an array or list.
    """
    if result is None:
        return {}, None
    result = only(result)
    if isinstance(result, str):
        return {name or "label": result}, None
    if isinstance(result, (bool, int, float, bytes, np.generic)):
        return {name or "value": result}, None
    if type(result) is tuple:
        found = None if is_vector(result, name, judge) else by_place(result)
    else:
        found = record_fields(result)
    if found is not None:
        return _with_probs(found, name, judge), found.pop("embedding", None)
    if is_array(result):
        result = as_array(result)
    if name == "embedding":
        return {}, result
    if name is not None:
        return {name: result}, None
    if _frame(result) is not None:
        return frame(result) or {}, None
    judged = judge(result)
    return {judged: named(judged, result)}, None


def by_place(parts: Iterable[Any]) -> Fields:
    """Return what a function answers beside one another by place, whatever it is.

    The items of the first mapping or record among them keep their names, as if it were the answer alone; those of
    another have its place before them.

    Examples
    --------
    >>> by_place((7, 0.9)), by_place(({"label": "cat"}, 12.5)), by_place(([1.0], {"ms": 3.0}, {"gpu": 0}))
    ({'output_0': 7, 'output_1': 0.9}, {'label': 'cat', 'output_1': 12.5}, \
{'output_0': [1.0], 'ms': 3.0, 'output_2': {'gpu': 0}})
    """
    found: Fields = {}
    opened = False
    for place, each in enumerate(parts):
        inner = None if opened else record_fields(each)
        if inner is None or any(map(is_place, inner)):
            found[f"output_{place}"] = each
        else:
            opened = True
            found |= inner
    return found


def is_vector(parts: Sequence[Any], name: str | None, judge: Callable[[Any], str]) -> bool:
    """Whether a tuple is one answer: numbers that are a distribution, one chosen place or have a name; or very long."""
    if not 0 < len(parts) <= _PARTS:
        return True
    kinds = set(map(type, parts))
    if not all(issubclass(kind, (bool, int, float, np.number, np.bool_)) for kind in kinds):
        return False
    return name is not None or (len(kinds) == 1 and len(parts) > 1 and judge(list(parts)) != "value")


def rows_by_place(result: Any, name: str | None, judge: Callable[[Any], str]) -> list[Fields | None] | None:
    """Return tuples in a list, an inference each, as records by place; None for other lists, and vectors."""
    if type(result) is not list or not any(type(each) is tuple for each in result):
        return None
    rows = [None if is_failed(each) else each for each in result]
    parts = [each for each in rows if each is not None]
    if any(type(each) is not tuple or not 0 < len(each) <= _PARTS for each in parts):
        return None
    numbers = all(issubclass(type(each), (bool, int, float, np.number)) for row in parts for each in row)
    if numbers and (name is not None or _is_distribution(parts, judge)):
        return None
    return [None if each is None else by_place(each) for each in rows]


def _is_distribution(rows: list[Any], judge: Callable[[Any], str]) -> bool:
    alike = len({*map(len, rows)}) == 1 and len({type(each) for row in rows for each in row}) == 1
    return alike and len(rows[0]) > 1 and judge(np.asarray(rows)) != "value"


def is_failed(value: Any) -> bool:
    """Whether an item of the answer to a batch says that there is none: it is missing, or an exception."""
    return value is None or issubclass(type(value), BaseException)


def _with_probs(found: Fields, name: str | None, judge: Callable[[Any], str]) -> Fields:
    """Return an answer whose only ``scores`` are a distribution over classes with these called ``probs``."""
    scores = found.get("scores")
    beside = [each for each in found if each not in _BESIDE_SCORES and not is_place(each)]
    if name is not None or scores is None or beside:
        return found
    if judge(scores) == "probs":
        found["probs"] = found.pop("scores")
    return found


def input_columns(
    arguments: Mapping[str, Any], names: Sequence[str] | None, holders: Holders | None = None
) -> dict[str, Array]:
    """Return the fields of arguments whose first axis is the inferences; `names` are those of a matrix's columns."""
    found: dict[str, Array] = {}
    tables: dict[str, dict[str, Array]] = {}
    for name, value in arguments.items():
        columns = _table(value)
        if columns is not None:
            tables[name] = columns
            continue
        array = _array(value)
        if array.ndim == 2 and names is not None and len(names) == array.shape[1]:
            tables[name] = {str(column): array[:, i] for i, column in enumerate(names)}
        elif array.ndim > 0:  # a scalar is a parameter of the call, not a field of its rows
            found[name] = array
    return _joined(arguments, found, tables, holders or Holders())


def output_columns(
    result: Any, name: str | None = None, classes: Any = None, judge: Callable[[Array], str] | None = None
) -> tuple[dict[str, Array], Array | None]:
    """Return the output fields of a batch and the embedding when it has one.

    An array gets `name`, or the one `judge` gives, by default the one its values tell; with the labels of its columns
    `classes`, probabilities of which one class holds give the likeliest as ``label`` too. Arrays in a list, one a
    target, get the target's number behind the name.
    """
    judge = judge or output_name
    columns = _table(result)
    if columns is not None:
        return columns, columns.pop("embedding", None)
    if _one_a_target(result):
        parts = {f"{name or judge(part)}_{i}": np.asarray(part) for i, part in enumerate(result)}
        return parts, None
    if type(result) is list and any(map(is_failed, result)):
        result = [None if is_failed(each) else each for each in result]
    array = _array(result)
    if name == "embedding":
        return {}, array
    if name is None:
        name = judge(array)
        array = named(name, array, rows=True)
    labelled = name == "probs" and array.ndim == 2 and classes is not None and len(classes) == array.shape[1]
    if labelled and judge(array) == "probs":  # of several labels each holds or not, and none is the likeliest
        return {name: array, "label": np.asarray(classes)[array.argmax(axis=1)]}, None
    return {name: array}, None


def output_name(array: Array) -> str:
    """Name the output of a batch by what its values are."""
    return judged(array, rows=True)


def names_of(classes: Any) -> list[str] | None:
    """Return the names of classes as text, integers and booleans among them; None for what are no names.

    Examples
    --------
    >>> names_of(np.array([3, 7])), names_of([True, False]), names_of([np.array([0, 1]), np.array([0, 1])])
    (['3', '7'], ['True', 'False'], None)
    """
    if classes is None or isinstance(classes, (str, bytes, Mapping)) or not hasattr(classes, "__len__"):
        return None
    found = classes.tolist() if hasattr(classes, "tolist") else list(classes)
    found = [each.item() if isinstance(each, np.generic) else each for each in found]
    plain = all(isinstance(each, (str, int, float)) for each in found)
    return [str(each) for each in found] if found and plain else None


def row_count(result: Any) -> int:
    """Count the inferences in the answer to a batch: of several parts the length that most of them have."""
    if isinstance(result, (Mapping, tuple)) and not hasattr(result, "ndim"):
        parts = result.values() if isinstance(result, Mapping) else result
        sizes = Counter(len(part) for part in parts if _is_long(part))
        if sizes and (isinstance(result, Mapping) or any(map(is_array, result))):
            return max(sizes, key=sizes.__getitem__)
    elif _one_a_target(result):
        result = result[0]
    return len(result) if hasattr(result, "__len__") and not isinstance(result, (str, bytes)) else 1


def _is_long(part: Any) -> bool:
    if is_array(part):
        return len(part.shape) > 0
    return hasattr(part, "__len__") and not isinstance(part, (str, bytes, Mapping))


def record_fields(value: Any) -> Fields | None:
    """Return the parts of a mapping, record, row or object by name, as `davy.fields.record`; else None."""
    if type(value) in _NO_RECORDS or is_packed(value):
        return None
    try:
        return record(value)
    except Exception:  # noqa: BLE001 - an object that cannot be read is one value, which is then left out by name
        return None


def _table(value: Any) -> dict[str, Any] | None:
    """Return a frame or records by column; where there is none of an inference, its values are missing."""
    if isinstance(value, (list, tuple)):
        first = next((each for each in value if not is_failed(each)), None)
        if first is None or record_fields(first) is None:
            return None
        if any(map(is_failed, value)):
            value = [{} if is_failed(each) else each for each in value]
    return columns_of(value)


def is_table(value: Any) -> bool:
    """Whether a value is a frame, a structured array or a list of records."""
    return not isinstance(value, Mapping) and _table(value) is not None


def _joined(
    arguments: Iterable[str],
    single: Mapping[str, Any],
    parts: Mapping[str, Mapping[str, Any]],
    holders: Holders,
) -> dict[str, Any]:
    """Return single fields and the items of arguments with several, in the order of the arguments."""
    found: dict[str, Any] = {}
    several = bool(parts) and holders.several(parts)
    for name in arguments:
        if name in single:
            found[name] = single[name]
        for key, item in parts.get(name, {}).items():
            found[f"{name}.{key}" if several or key in single else key] = item
    return found


def _frame(value: Any) -> dict[str, Any] | None:
    """Return the columns of a frame, by name; None for anything else and for one without columns."""
    if type(value) in _NO_RECORDS or issubclass(type(value), (list, tuple)):
        return None
    try:
        return (columns_of(value) if hasattr(value, "columns") else None) or None
    except Exception:  # noqa: BLE001 - an object that cannot be read is one value, which is then left out by name
        return None


def _array(values: Any) -> Array:
    """Return rows as an array; of rows that differ in length one of objects."""
    if is_array(values):
        return as_array(values)
    if isinstance(values, list) and values and is_array(values[0]) and type(values[0]) is not np.ndarray:
        return column(values)
    try:
        return np.asarray(unmasked(np.asanyarray(values)))
    except (ValueError, TypeError, RuntimeError):  # rows of different lengths, say
        return column(values)


def _one_a_target(result: Any) -> bool:
    return (
        isinstance(result, list)
        and len(result) > 1
        and all(isinstance(part, np.ndarray) and part.ndim == 2 for part in result)
        and len({len(part) for part in result}) == 1
    )
