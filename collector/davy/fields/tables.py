"""Tables to columns: frames of pandas, polars, pyarrow and xarray, structured arrays, sparse matrices, records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np

from davy.event import Array
from davy.fields.arrays import WHOLE, as_array, numeric, unmasked
from davy.fields.flattening import NAMES, flatten
from davy.fields.missing import is_missing
from davy.fields.plain import Unfit, key_text, named, plain
from davy.fields.records import FIELDS, record
from davy.fields.times import moment_texts, spans

_COLUMNS: Final = 10 * FIELDS
"""So many columns of a mapping are looked at; of them those beyond the bound are counted."""
_PLAIN: Final = frozenset({str, bytes, bool, type(None)})
_NUMBERS: Final = frozenset({int, float})
_SPREADABLE: Final = _PLAIN | _NUMBERS
_GAPPED: Final = frozenset({int, float, type(None)})


def _nothing(_: Any) -> bool:
    return False


def columns_of(table: Any) -> dict[str, Any] | None:
    """Return the columns of a table by name, each with the rows as first axis; None for what is no table.

    Examples
    --------
    >>> columns_of([{"age": 1.0, "city": "Graz"}, {"age": 2.0}])
    {'age': [1.0, 2.0], 'city': ['Graz', None]}
    >>> columns_of(3.0) is None
    True
    """
    if isinstance(table, Mapping):
        return named(islice(table.items(), _COLUMNS))
    if isinstance(table, np.ndarray):
        return {name: table[name] for name in table.dtype.names} if table.dtype.names else None
    library = type(table).__module__.partition(".")[0]
    if library == "pandas":
        return _of_pandas(table)
    if library == "polars":
        return _of_polars(table)
    if library == "pyarrow" and hasattr(table, "column_names"):
        return named((name, _of_arrow(table.column(i))) for i, name in enumerate(table.column_names))
    if library == "xarray":
        return _of_xarray(table)
    if isinstance(table, (list, tuple)) and len(table) and not hasattr(table, "_asdict"):
        return _of_records(table)
    return None


def column(
    values: Any, lost: dict[str, int] | None = None, *, keep: Callable[[Any], bool] = _nothing
) -> Array:
    """Return one column as it travels: an array of numbers, or of plain values with ``None`` where one is missing.

    Parameters
    ----------
    values
        An array, a column of a frame, or values of any kind, the rows as first axis.
    lost
        Takes how many values do not travel, by reason; such a row is missing. Without it, they are `Unfit`.
    keep
        Says of a value that it stays as it is, for what becomes a payload later.

    Examples
    --------
    >>> column([1.5, None]), column(["a", float("nan")]), column(np.array(["2026-01-02"], "M8[D]"))
    (array([1.5, None], dtype=object), array(['a', None], dtype=object), array(['2026-01-02'], dtype=object))
    """
    array = _as_column(values)
    if array.dtype.kind == "M" and array.ndim == 1:
        return moment_texts(array)
    if array.dtype.kind == "m" and array.ndim == 1:
        return spans(array)
    found = numeric(array)
    if found is not None:
        return found
    if array.dtype.kind in "US" and array.ndim == 1:
        return array.astype(object)
    rows = list(array) if array.ndim > 1 or array.dtype != object else array.tolist()
    return _objects(rows, lost, keep)


def _as_column(values: Any) -> Array:
    if isinstance(values, np.ndarray):
        return unmasked(values)
    library = type(values).__module__.partition(".")[0]
    if library == "pandas":
        return _series(values)
    if library == "polars":
        return _polars_series(values)
    if library == "pyarrow":
        return _of_arrow(values)
    found = as_array(values) if not isinstance(values, (list, tuple)) else None
    if found is not None and found.ndim:
        return found
    if found is not None or not hasattr(values, "__iter__") or isinstance(values, (str, bytes)):
        raise Unfit(values, "length", "give a column, the rows as first axis")
    rows = list(values)
    kinds = set(map(type, rows))
    if kinds <= _NUMBERS or kinds == {bool}:
        try:
            found = np.array(rows)
        except OverflowError:
            return np.array(rows, np.float64)
        return _spread(rows) if _rounds(found, rows) else found
    return _spread(rows)


def _rounds(array: Array, rows: Sequence[Any]) -> bool:
    """Whether integers beside floats became floats that do not hold them."""
    if array.dtype.kind != "f" or not (np.abs(array) > WHOLE).any():
        return False
    return any(type(row) is int and WHOLE < abs(row) < 2**64 for row in rows)


def _objects(rows: Sequence[Any], lost: dict[str, int] | None, keep: Callable[[Any], bool]) -> Array:
    """Return a column of values of any kind; of numbers without gaps an array of numbers."""
    kinds = set(map(type, rows))
    if kinds <= _PLAIN or kinds <= _GAPPED:
        return _spread(rows)
    return _spread([value if keep(value) else _cell(value, lost) for value in rows])


def _cell(value: Any, lost: dict[str, int] | None) -> Any:
    if isinstance(value, float):
        return None if value != value else float(value)  # a gap among values that are no numbers
    try:
        return None if is_missing(value) else plain(value)
    except Exception as error:  # one odd value is missing, whatever its own methods raise
        if lost is None:
            raise
        reason = error.reason if isinstance(error, Unfit) else "unreadable"
        lost[reason] = lost.get(reason, 0) + 1
        return None


def _spread(rows: Sequence[Any]) -> Array:
    array = np.empty(len(rows), dtype=object)
    if set(map(type, rows)) <= _SPREADABLE:
        array[:] = rows
    else:
        for place, row in enumerate(rows):  # NumPy would take lists and arrays apart
            array[place] = row
    return array


def _of_pandas(table: Any) -> dict[str, Any] | None:
    if getattr(table, "ndim", 0) != 2:
        return None
    return named(zip(table.columns, arrays_of(table), strict=True))


def arrays_of(frame: Any) -> list[Any]:
    """Return the columns of a frame of pandas, arrays of NumPy or of pandas: a series costs ten times as much."""
    arrays = getattr(frame, "_iter_column_arrays", None)
    return [values for _, values in frame.items()] if arrays is None else list(arrays())


def _series(series: Any) -> Array:
    """Return a column of pandas, a series or its array: nullable numbers as floats, other gaps as ``None``."""
    dtype = series.dtype
    kind = getattr(dtype, "kind", "O")
    if isinstance(dtype, np.dtype):
        return np.asarray(series.array if hasattr(series, "array") else series)
    zone = getattr(dtype, "tz", None)
    if zone is not None:
        moments = getattr(series, "array", series)
        return moment_texts(np.asarray(moments.tz_convert("UTC").tz_localize(None)), zone="+00:00")
    if kind in "iufb" and hasattr(series, "isna"):
        if not series.isna().any():
            found = np.asarray(series.to_numpy())
            return found if found.dtype != object else np.array(found.tolist())
        if kind == "f":
            return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    found = series.astype(object) if hasattr(series, "astype") else series
    return np.asarray(getattr(found, "array", found), dtype=object)


def _of_polars(table: Any) -> dict[str, Any] | None:
    if hasattr(table, "collect") and not hasattr(table, "rows"):
        return None  # a lazy frame is a plan, and reading it would run it
    return {name: table.get_column(name) for name in table.columns} if hasattr(table, "columns") else None


def _polars_series(series: Any) -> Array:
    if series.dtype.is_numeric() and not series.dtype.is_decimal():
        return np.asarray(series.to_numpy())  # gaps are NaN
    return _spread(series.to_list())


def _of_arrow(found: Any) -> Array:
    kind = str(found.type)
    if found.null_count == 0 and (kind.startswith(("int", "uint", "float", "double")) or kind == "halffloat"):
        return np.asarray(found.to_numpy())
    return _spread(found.to_pylist())


def _of_xarray(table: Any) -> dict[str, Any] | None:
    if hasattr(table, "data_vars"):
        return {key_text(name): np.asarray(values) for name, values in table.data_vars.items()}
    return None


def _of_records(rows: Sequence[Any]) -> dict[str, Any] | None:
    """Return records by column; rows with other keys have gaps there."""
    if not all(type(row) is dict for row in rows):
        parts = [record(row) for row in rows]
        if any(row is None for row in parts):
            return None
        rows = parts
    if any(type(value) is dict for value in rows[0].values()):
        rows = [flatten(row) for row in rows]
    names: dict[Any, None] = {}
    for row in rows:
        if row.keys() != names.keys():
            names.update(dict.fromkeys(row))
    return named((name, [row.get(name) for row in rows]) for name in names)


def settled(
    columns: Mapping[str, Any], lost: dict[tuple[str, str], int], *, keep: Callable[[Any], bool] = _nothing
) -> dict[str, Array]:
    """Return columns as they travel, those of records as one column a name.

    Parameters
    ----------
    columns
        By name, each with the rows as first axis.
    lost
        Takes how many values do not travel, by the name of their column and the reason.
    keep
        Says of a value that it stays as it is.
    """
    found: dict[str, Array] = {}
    for name, values in columns.items():
        reasons: dict[str, int] = {}
        name = key_text(name)
        array = _readable(values, reasons, keep)
        if array is None:
            lost |= {(name, reason): count for reason, count in reasons.items()}
            continue
        lost |= {(name, reason): count for reason, count in reasons.items()}
        inner = _of_cells(array) if array.dtype == object else None
        if inner is None:
            found[name] = array
        else:
            found |= settled({f"{name}.{key}": values for key, values in inner.items()}, lost, keep=keep)
    return found


def _readable(values: Any, reasons: dict[str, int], keep: Callable[[Any], bool]) -> Array | None:
    try:
        found = column(values, reasons, keep=keep)
        if found.ndim:
            return found
        raise Unfit(values, "length", "give a value a row")
    except Exception as error:  # noqa: BLE001 - whatever a foreign column raises costs this column only
        count = len(values) if hasattr(values, "__len__") else 1
        reasons[error.reason if isinstance(error, Unfit) else "unreadable"] = count
        return None


def _of_cells(array: Array) -> dict[str, Any] | None:
    """Return a column of mappings, some of them missing, as columns; None for other columns and too many names."""
    rows = array.tolist()
    if not set(map(type, rows)) <= {dict, type(None)} or all(row is None for row in rows):
        return None
    found = _of_records([{} if row is None else row for row in rows])
    return found if found is not None and len(found) <= NAMES else None
