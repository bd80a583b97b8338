"""What the app lets travel of a call, ``inputs=[names]``: arguments, items of what they hold, and columns of tables.

It is an allow-list: what it does not name is not read, and where it names nothing of a call, nothing is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from davy.fields.plain import key_text
from davy.sdk.calls.opening import Leaves, is_list, open_arguments
from davy.sdk.calls.tensors import is_array, shape_of
from davy.sdk.fields import Inputs, is_failed, record_fields


def chosen_names(inputs: Inputs | str) -> list[str] | None:
    """Return the names that the app gave as ``inputs``, one or several; None where it gave none."""
    if inputs is None or callable(inputs):
        return None
    return [inputs] if isinstance(inputs, str) else list(inputs)


def choose(
    arguments: Mapping[str, Any], names: Collection[str] | None, columns: Sequence[str] | None = None
) -> Mapping[str, Any]:
    """Return the arguments that are named, and of others the items and columns that are; all without `names`.

    An item may be named with its argument before it or without; `columns` are the names of a matrix's, if it has any.

    Examples
    --------
    >>> choose({"user": {"age": 3, "ssn": 7}, "scale": 2.0}, ["age"]), choose({"age": 3}, ["agee"])
    ({'user': {'age': 3}}, {})
    """
    if names is None:
        return arguments
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        part = value if _is_named(name, names) else _part(name, value, names, columns)
        if part is not None:
            found[name] = part
    return found


def choose_leaves(
    given: Leaves, bound: Mapping[str, Any], names: Collection[str], columns: Sequence[str] | None
) -> Leaves:
    """Do as `choose` for what lies in the arguments `bound` and was opened to `given`."""
    wanted = set(names)
    opened = {name: open_arguments({name: value}) for name, value in bound.items()}
    held = {name: _paths(name, leaves) for name, leaves in opened.items() if name not in wanted}
    for name, leaves in opened.items():
        others = {path for other, paths in held.items() if other != name for path in paths}
        for leaf in () if leaves.keys() == {name} else leaves:
            if _is_named(f"{name}.{leaf}", names) or _is_named(leaf, names):
                # not by a name that another argument has, or a part of it, which is not named itself
                wanted.update({leaf, f"{name}.{leaf}"} - (others - {*names}))
    return open_arguments(choose(given, wanted, columns))


def _paths(name: str, leaves: Iterable[str]) -> set[str]:
    """Return an argument's name, those of its leaves, and of all in between."""
    return {path for leaf in leaves for path in accumulate([name, *leaf.split(".")], "{}.{}".format)} | {name}


def _is_named(name: str, names: Collection[str]) -> bool:
    """Whether a field, or what it is a part of, is among the names."""
    while name not in names:
        name, dot, _ = name.rpartition(".")
        if not dot:
            return False
    return True


def _part(name: str, value: Any, names: Collection[str], columns: Sequence[str] | None) -> Any:
    """Return what is named of an argument that is not named itself; None where nothing is."""
    if is_list(value) and value and not hasattr(value, "_asdict"):
        return _of_list(name, value, names, columns)
    fields = record_fields(value)
    if fields is not None:
        return _items(fields, name, "", names) or None
    if is_array(value) and not _fields_of(value):
        return _of_matrix(value, names, columns)
    return _of_table(name, value, names)


def _items(fields: Mapping[str, Any], argument: str, before: str, names: Collection[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in fields.items():
        path = f"{before}{key}"
        whole = f"{argument}.{path}"
        if path in names or whole in names:
            found[key] = item
        elif any(name.startswith((f"{path}.", f"{whole}.")) for name in names):
            inner = record_fields(item)
            if inner is not None and (kept := _items(inner, argument, f"{path}.", names)):
                found[key] = kept
    return found


def _of_list(name: str, rows: Sequence[Any], names: Collection[str], columns: Sequence[str] | None) -> Any:
    """Return a list of records with the items that are named, or the named columns of rows of numbers."""
    first = next((each for each in rows if not is_failed(each)), None)
    if first is None:
        return None
    if record_fields(first) is not None:
        kept = [
            {} if is_failed(each) else _items(record_fields(each) or {}, name, "", names) for each in rows
        ]
        return kept if any(kept) else None
    if columns is None or not all(is_list(each) and len(each) == len(columns) for each in rows):
        return None
    places = _places(columns, names)
    if len(places) == len(columns):
        return rows
    return {str(columns[place]): [each[place] for each in rows] for place in places} or None


def _of_matrix(value: Any, names: Collection[str], columns: Sequence[str] | None) -> Any:
    if columns is None or len(shape_of(value)) != 2 or shape_of(value)[1] != len(columns):
        return None
    places = _places(columns, names)
    if len(places) == len(columns):
        return value  # whose columns get these names
    dense = value.toarray() if hasattr(value, "toarray") else value
    return {str(columns[place]): dense[:, place] for place in places} or None


def _places(columns: Sequence[str], names: Collection[str]) -> list[int]:
    return [place for place, column in enumerate(columns) if str(column) in names]


def _of_table(name: str, table: Any, names: Collection[str]) -> Any:
    """Return a frame or structured array with the columns that are named."""
    library = str(type(table).__module__).partition(".")[0]
    held = _fields_of(table) if is_array(table) else getattr(table, "column_names", None)
    held = getattr(table, "columns", None) if held is None and library in {"pandas", "polars"} else held
    if held is None or (library == "polars" and not hasattr(table, "get_columns")):
        return None
    kept = [key in names or f"{name}.{key}" in names for key in map(key_text, held)]
    if not any(kept):
        return None
    if library == "pandas":
        return table.loc[:, kept]
    wanted = [key for key, keep in zip(held, kept, strict=True) if keep]
    return table[wanted] if is_array(table) else table.select(wanted)


def _fields_of(value: Any) -> Iterable[str] | None:
    return value.dtype.names if isinstance(value, np.ndarray) else None
