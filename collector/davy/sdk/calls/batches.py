"""One inference or many: how many a call is, and what of it belongs to each.

The rule, for models that work on batches: **the number of inferences is the first axis, or the length of a list, that
an answer shares with an argument**; of several sizes the one that most answers share. Members without it are left out
by name and counted, and from then on whenever they have it by chance: as many prompts as pictures belong to no single
picture. Where nothing is shared, the call is one inference. A call of exactly one row, ``(1, d)`` to ``(1, C)``, is one
inference without the leading axis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np

from davy.event import Array
from davy.fields import column as travelling
from davy.fields import columns_of
from davy.sdk.calls.opening import INSIDE, MEMBERS, Leaves, holds_arrays, is_list, members, open_answer
from davy.sdk.calls.tensors import as_array, is_array, is_ragged, is_real, shape_of
from davy.sdk.fields import Columns, Fields, is_failed, is_table, record_fields

Lose = Callable[[str, str], None]
"""Told the name of a member that is left out, and the reason."""
_LOOKED_AT: Final = 64
"""So many items of a list are looked at to tell what it is a list of."""
_TABLES: Final = frozenset({"pandas", "polars", "pyarrow"})
_SCALARS: Final = (bool, int, float, complex, np.generic)


def batch_size(given: Mapping[str, Any], answered: Mapping[str, Any], *, vectors: bool = True) -> int | None:
    """Return how many inferences a call is; None when it is one, for no answer shares its first axis with an argument.

    Numbers of one axis do not tell beside others: a lone vector may be one row. Alone they do where they are whole
    numbers, as those of an embedding, or several of one length; without `vectors` they do not at all. An empty list,
    alone and answered with nothing, is a batch of none.

    Examples
    --------
    >>> batch_size({"x": np.ones((8, 3))}, {"logits": np.ones((8, 2)), "loss": np.ones(())})
    8
    >>> batch_size({"x": np.ones(3)}, {"": np.ones(3)}), batch_size({"texts": ["a", "b"]}, {"": np.ones((2, 5))})
    (None, 2)
    >>> batch_size({"images": []}, {"": []})
    0
    """
    if len(given) == 1 and len(answered) == 1:  # as most calls are
        (asked,), (answer,) = given.values(), answered.values()
        if is_array(asked) and is_array(answer):
            axes, found = shape_of(asked), shape_of(answer)
            if len(axes) > 1:
                return axes[0] if axes[0] in found[:1] else None
    possible = _sizes_given(given.values(), vectors)
    if not possible:
        return None
    votes = Counter(
        size
        for value in answered.values()
        for size in ((0,) if _is_empty(value) else _sizes(value))
        if size in possible
    )
    return max(votes, key=votes.__getitem__) if votes else None  # the first of those with most


def is_batch_second(given: Mapping[str, Any], answered: Mapping[str, Any]) -> bool:
    """Return whether an answer of three axes or more has the batch of its arguments as its second axis alone.

    So answer ensembles, and models of sequences whose steps come first.

    Examples
    --------
    >>> is_batch_second({"x": np.ones((2, 8))}, {"": np.ones((5, 2, 3))}), is_batch_second({"x": np.ones(8)}, {})
    (True, False)
    """
    sizes = {shape[0] for each in given.values() if is_array(each) and len(shape := shape_of(each)) > 1}
    shapes = [shape_of(each) for each in answered.values() if is_array(each)]
    return any(len(shape) > 2 and shape[1] > 1 and shape[1] in sizes - {shape[0]} for shape in shapes)


def _sizes_given(values: Collection[Any], vectors: bool) -> set[int]:
    found: set[int] = set()
    alone: list[tuple[int, bool]] = []
    for value in values:
        if is_array(value):
            shape = shape_of(value)
            if len(shape) > 1 or is_ragged(value) or (shape and _are_texts(value)):
                found.add(shape[0])
            elif shape:
                alone.append((shape[0], _is_whole(value)))
        elif not _is_vector(value):
            found.update(_sizes(value))
    if not found and vectors:
        lengths = Counter(length for length, _ in alone)
        found = {length for length, whole in alone if whole or lengths[length] > 1}
    if not found and not alone:
        found = {0 for value in values if _is_empty(value)}
    return found


def _sizes(value: Any) -> Iterator[int]:
    """Yield the sizes that may be the number of inferences."""
    if is_array(value):
        yield from shape_of(value)[:1]
    elif is_list(value):
        listed = issubclass(type(value), list) and len(value) > 0
        if listed:
            yield len(value)
        axis = _shared_axis(value)
        if axis is not None and not (listed and axis == len(value)):
            yield axis
    elif _is_table(value):
        length = getattr(value, "num_rows", None)  # of pyarrow
        with suppress(Exception):  # what is not worked out yet has no length, whatever it raises
            yield len(value) if length is None else length


def _is_table(value: Any) -> bool:
    return str(type(value).__module__).partition(".")[0] in _TABLES


def _is_empty(value: Any) -> bool:
    return type(value) is list and not value


def _is_whole(value: Any) -> bool:
    return "int" in str(value.dtype)


def _are_texts(value: Any) -> bool:
    """Whether a vector holds texts, and so is what a list of them is."""
    if type(value) is not np.ndarray or value.dtype.kind not in "USO":
        return False
    return value.dtype.kind != "O" or all(issubclass(type(each), str) for each in value[:_LOOKED_AT])


def _is_vector(value: Any) -> bool:
    """Whether a list is numbers, and so may be one row."""
    return (
        is_list(value)
        and len(value) > 0
        and all(issubclass(type(each), _SCALARS) for each in value[:_LOOKED_AT])
    )


def _shared_axis(items: Sequence[Any], place: int = 0) -> int | None:
    """Return the first axis, or another, that all arrays of a list, and of lists in it, have; None without one."""
    sizes = {axis for item in _arrays(items[:MEMBERS]) for axis in shape_of(item)[place : place + 1]}
    return sizes.pop() if len(sizes) == 1 else None


class Habits:
    """What batches of one model have shown, so that a call of as many rows as something else is long is read alike.

    Attributes
    ----------
    apart
        Members that once had not the first axis of a batch.
    opened
        Lists that are members, and not one item an inference.
    """

    __slots__ = ("apart", "opened")

    def __init__(self) -> None:
        self.apart: set[str] = set()
        self.opened: set[str] = set()


def rows_of(
    leaves: Mapping[str, Any], rows: int | None, lose: Lose, habits: Habits, *, answers: bool
) -> Leaves:
    """Return the fields of a batch, or with `rows` of None of one inference, arrays of the libraries they came from.

    A list of one item an inference is a column; any other that holds arrays is opened. Of a batch, what has not the
    first axis, or had it not before, is left out: `lose` is told of arrays and lists and, of `answers`, of anything;
    scalars among the arguments are parameters of the call. `habits` are those of the arguments, or of the answers, of
    one model.
    """
    found: Leaves = {}
    waiting = [*leaves.items()][::-1]
    while waiting:
        name, value = waiting.pop()
        apart = rows is not None and name in habits.apart
        if is_list(value) and len(value):
            if not apart and name not in habits.opened and _is_column(value, rows, answers):
                found |= _columns(name, value, answers)
                continue
            if holds_arrays(value) and len(found) + len(waiting) < MEMBERS:
                if rows is not None and len(habits.opened) < MEMBERS:
                    habits.opened.add(name)
                waiting += [*members(name, value).items()][::-1]
                continue
        if value is INSIDE:
            lose(name, "inside")
        elif rows is None or (not apart and _has_rows(value, rows)):
            found[name] = value
        elif value is not None and (answers or is_array(value) or is_list(value) or _is_table(value)):
            lose(name, "length")
            if len(habits.apart) < MEMBERS:
                habits.apart.add(name)
    return found


def _is_column(items: list[Any] | tuple[Any, ...], rows: int | None, answers: bool) -> bool:
    """Whether a list is one item an inference.

    Arrays that have the first axis themselves are members, in a tuple always, in an answer also in a list: two heads,
    and not two images. So are those of a tuple that have it second, as the state of two sequences has.
    """
    if rows is None or len(items) != rows:
        return False
    in_tuple = issubclass(type(items), tuple)
    if not (answers or in_tuple) or not holds_arrays(items):
        return True
    return _shared_axis(items) != rows and not (in_tuple and _shared_axis(items, 1) == rows)


def _columns(name: str, items: list[Any] | tuple[Any, ...], answers: bool) -> Leaves:
    """Return the column of a list of one item an inference; of records in an answer one a name."""
    known = [each for each in items[:_LOOKED_AT] if not is_failed(each)]
    if known and all(record_fields(each) is not None for each in known):
        found = columns_of([{} if is_failed(each) else each for each in items]) if answers else None
        if found is None:
            return {name: items}  # a table like any other
        return {f"{name}.{key}" if name else key: objects(values) for key, values in found.items()}
    return {name: objects(items)}


def is_table_of(result: Any, rows: int) -> bool:
    """Whether an answer is a table; a tuple of records is one if it has one an inference, none of them columns."""
    if type(result) is not tuple:
        return is_table(result)
    columns = rows_of(open_answer(result), rows, lambda _name, _reason: None, Habits(), answers=True)
    return len(result) == rows and not columns and is_table(result)


def without_labels(value: Any) -> Any:
    """Return a column of pandas without the labels of its rows, also in a mapping or tuple; anything else as it is.

    Of several inferences a column is one value each, whatever the labels; of one inference, with names, it is a row.
    """
    kind = type(value)
    if kind is dict:
        return (
            {name: without_labels(each) for name, each in value.items()}
            if _labelled(value.values())
            else value
        )
    if kind is tuple:
        return tuple(map(without_labels, value)) if _labelled(value) else value
    return value.reset_index(drop=True) if _labelled((value,)) else value


def _labelled(values: Iterable[Any]) -> bool:
    return any(
        type(each).__name__ == "Series" and type(each).__module__.startswith("pandas.") for each in values
    )


def repeated(fields: Mapping[str, Any], rows: int | None) -> Mapping[str, Any]:
    """Return the fields that the app made of a batch, in which a single value holds for every inference.

    With `rows` of None, of one inference, they are as they are.

    Examples
    --------
    >>> {name: [*each] for name, each in repeated({"season": "w", "x": [1.0, 2.0]}, 2).items()}
    {'season': ['w', 'w'], 'x': [1.0, 2.0]}
    """
    if rows is None:
        return fields
    return {
        name: value if value is None or _has_axis(value) else objects([value] * rows)
        for name, value in fields.items()
    }


def _has_axis(value: Any) -> bool:
    if is_array(value):
        return bool(shape_of(value))
    return is_list(value) or _is_table(value) or issubclass(type(value), Mapping)


def objects(values: Iterable[Any]) -> Array:
    """Return values of any kind, one an inference, as an array of objects; tensors among them as arrays."""
    rows = [as_array(each) if is_array(each) else each for each in values]
    kinds = set(map(type, rows))
    if kinds <= {bool, int, float}:
        return np.asarray(travelling(rows))
    if kinds <= {list, tuple} and (even := _even(rows)) is not None:
        return even
    found = np.empty(len(rows), dtype=object)
    for place, row in enumerate(rows):  # NumPy would take lists and arrays apart
        found[place] = row
    return found


def _even(rows: list[Any]) -> Array | None:
    """Return lists of numbers of one length as an array; None for others."""
    try:
        found = np.asarray(rows)
    except (ValueError, TypeError, RuntimeError, OverflowError):
        return None
    return found if found.dtype.kind in "buif" and found.ndim > 1 else None


def _has_rows(value: Any, rows: int) -> bool:
    if is_array(value):
        return shape_of(value)[:1] == (rows,)
    if _is_table(value):
        return rows in _sizes(value)
    return False


def first_row(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the only row of columns of any kind."""
    return {name: _first(values) for name, values in columns.items()}


def only_row(columns: Columns) -> tuple[Fields, Fields, Any]:
    """Return the inputs, outputs and embedding of the only inference of a batch."""
    embedding = columns.embedding
    return (
        first_row(columns.inputs),
        first_row(columns.outputs),
        None if embedding is None else first_row({"embedding": embedding})["embedding"],
    )


def _first(values: Any) -> Any:
    if not isinstance(values, np.ndarray):
        return travelling(values)[0]
    return values[0] if values.ndim else values[()]


def as_columns(fields: Mapping[str, Any], rows: int | None) -> dict[str, Any]:
    """Return fields as columns: with `rows` of None each is the only row of one."""
    if rows is not None:
        return {name: as_array(value) if is_array(value) else value for name, value in fields.items()}
    return {
        name: as_array(value)[None] if is_array(value) else objects([value]) for name, value in fields.items()
    }


def serves_nobody(*leaves: Mapping[str, Any]) -> bool:
    """Whether a compiler, an exporter or a transformation looks at the code with tensors that hold no numbers."""
    return looked_at([value for found in leaves for value in found.values()])


def looked_at(values: Iterable[Any]) -> bool:
    """Whether arguments or answers of a call, or the items of a list or mapping among them, hold no numbers."""
    for value in values:
        items = [*value.values()][:MEMBERS] if type(value) is dict else [value]
        with suppress(Exception):  # what cannot be asked is left out by name later
            if any(not is_real(each) for each in _arrays(items)):
                return True
    return False


def _arrays(items: Iterable[Any], depth: int = 0) -> Iterator[Any]:
    for item in items:
        if is_array(item):
            yield item
        elif is_list(item) and depth < 2:
            yield from _arrays(item[:MEMBERS], depth + 1)
