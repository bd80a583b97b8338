"""Tables of Arrow as columns: what each type becomes, which columns are none. Only this file here knows pyarrow."""

from __future__ import annotations

import ast
import codecs
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet, types

from davy.errors import InvalidInference
from davy.event import Array
from davy.fields import plain
from davy.fields.fitting import spells_numbers
from davy.fields.reading import truths
from davy_detectors.reference.archived import is_reference, referred, shaped, together

_INDEX: Final = "an index of the table, no field of an inference"
_BETWEEN: Final = re.compile(r"(?<=[\d.\]ef])\s+(?=[-+\d.\[N])")
_QUOTED: Final = re.compile(r"(['\"])\s+(['\"])")
DELIMITERS: Final = (",", ";", "\t", "|")
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""A mark of UTF-8 needs no look: Arrow leaves it out."""
_HEAD: Final = 2**20
_QUOTED_CELL: Final = re.compile(r'"[^"]*"')
_COMMA_NUMBER: Final = re.compile(r"[+-]?\d*(,\d*)?([eE][+-]?\d+)?")
_BRACKETS: Final = frozenset({"[]", "()", "{}"})
_MISSING: Final = re.compile(r"\b(nan|NaN|null)\b")
_NO_NUMBER: Final = frozenset(
    {"nan", "NaN", "NAN", "NA", "N/A", "#N/A", "null", "NULL", "None", "<NA>", "NaT"}
)
_INFINITE: Final = frozenset({"inf", "+inf", "-inf", "Infinity", "+Infinity", "-Infinity"})


def read_parquet(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the columns of a Parquet file, and why others were left out, by name."""
    table = parquet.ParquetFile(path).read()
    unread = {}
    metadata = table.schema.pandas_metadata or {}
    indexes = {name for name in metadata.get("index_columns", []) if isinstance(name, str)}
    columns: dict[str, Any] = {}
    beside: dict[str, tuple[str, str]] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in indexes or _is_unnamed(name):
            unread[name or "the first column"] = _INDEX
        elif name in columns or name in unread:
            unread[name] = "its name appears twice"
        else:
            _take(name, column, columns, unread)
            told = table.schema.field(name).metadata or {}
            shape = told.get(b"davy.shape")
            if shape is not None and name in columns:
                columns[name] = shaped(columns[name], tuple(json.loads(shape)))
            if b"davy.field" in told and name in columns:
                beside[name] = told[b"davy.field"].decode(), told[b"davy.kind"].decode()
    return together(columns, beside), unread


def read_csv(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the columns of a CSV file with a line of names: what each is follows from all of its cells.

    Codes stay text (zero-padded, or longer than a number holds), dates too: as an app sends them. An empty cell is
    missing. A cell in brackets is a list. What separates cells follows from the line of names; where it is a semicolon,
    numbers may have a decimal comma.
    """
    encoding, delimiter = _dialect(path)
    read = csv.ReadOptions(encoding=encoding)
    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with csv.open_csv(path, read_options=read, parse_options=parse) as reader:
        names = reader.schema.names
    options = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
    )
    table = csv.read_csv(path, read_options=read, parse_options=parse, convert_options=options)
    columns: dict[str, Any] = {}
    unread: dict[str, str] = {}
    for place, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if _is_unnamed(name) and place == 0:
            unread[name or "the first column"] = _INDEX
        elif name in columns or name in unread:
            unread[name] = "its name appears twice"
        else:
            cells = column.to_pylist()
            columns[name] = _of_cells(_pointed(cells) if delimiter == ";" else cells)
    return columns, unread


def _dialect(path: Path) -> tuple[str, str]:
    """Return the encoding of a CSV file, by the mark it begins with, and what separates the names of its first line."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    first = (_QUOTED_CELL.sub("", text).lstrip().splitlines() or [""])[0]
    return encoding, max(DELIMITERS, key=first.count)


def _pointed(cells: list[str | None]) -> list[str | None]:
    """Return cells with a point for the comma of numbers, where all of them are numbers so written."""
    words = [cell for cell in cells if cell is not None and cell not in _NO_NUMBER]
    if not all(map(_COMMA_NUMBER.fullmatch, words)):
        return cells
    return [None if cell is None else cell.replace(",", ".") for cell in cells]


def _is_unnamed(name: str) -> bool:
    return not name.strip() or name.startswith(("Unnamed: 0", "__index_level_"))


def _of_cells(cells: list[str | None]) -> Any:
    """Return the cells of a CSV column as what they spell."""
    present = [cell for cell in cells if cell is not None]
    if not present:
        return cells
    meant = truths(present)
    if meant is not None:
        known = dict(zip(present, meant, strict=True))
        return _objects([None if cell is None else known[cell] for cell in cells])
    words = [cell for cell in present if cell not in _NO_NUMBER and cell not in _INFINITE]
    if words and spells_numbers(words) and not any(_unread_number(cell) for cell in words):
        return _numbers([None if cell in _NO_NUMBER else cell for cell in cells])
    if all(cell[:1] + cell[-1:] in _BRACKETS for cell in present):
        return _objects([None if cell is None else _list(cell) for cell in cells])
    return _objects(cells)


def _unread_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return True
    return False


def _numbers(cells: list[str | None]) -> Any:
    if all(cell is None or cell.lstrip("+-").isdigit() for cell in cells):
        found = [None if cell is None else int(cell) for cell in cells]
        return _objects(found) if None in found else np.array(found)
    return np.array([np.nan if cell is None else float(cell) for cell in cells])


def _list(cell: str) -> Any:
    """Return a list, tuple or set as JSON, Python or NumPy writes it; the cell itself when it is none."""
    quoted = _QUOTED.sub(r"\1, \2", cell)
    spaced = _BETWEEN.sub(", ", _MISSING.sub("None", cell))
    for read, text in ((json.loads, cell), (ast.literal_eval, quoted), (ast.literal_eval, spaced)):
        try:
            found = read(text)
            return plain(found) if isinstance(found, (list, tuple, set)) else cell
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, InvalidInference):
            continue
    return cell


def _take(name: str, column: Any, columns: dict[str, Any], unread: dict[str, str]) -> None:
    """Read one column; a structure becomes a column a part."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        storage = [chunk.storage for chunk in column.chunks]
        stored = pa.chunked_array(storage, kind.storage_type)
        if kind.extension_name == "arrow.uuid":
            columns[name] = _objects(
                [None if raw is None else str(UUID(bytes=raw)) for raw in stored.to_pylist()]
            )
            return
        if kind.extension_name == "pandas.period":
            _take_periods(name, stored, str(kind.freq), columns, unread)
            return
        column, kind = stored, kind.storage_type
    if types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if types.is_struct(kind) and is_reference(frozenset(part.name for part in kind)):
        columns[name] = referred(column.to_pylist())
        return
    if types.is_struct(kind):
        parts = column.combine_chunks()
        parts = parts.chunk(0) if isinstance(parts, pa.ChunkedArray) else parts
        for part, values in zip(kind, parts.flatten(), strict=True):
            _take(f"{name}.{part.name}", pa.chunked_array([values]), columns, unread)
        return
    try:
        columns[name] = _read(column, kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        unread[name] = f"values of type {kind} cannot be read: {error}"


def _take_periods(
    name: str, column: Any, frequency: str, columns: dict[str, Any], unread: dict[str, str]
) -> None:
    """Read periods of pandas, which are counted from 1970, as the moments at which they begin."""
    unit = _PERIODS.get(frequency)
    if unit is None:
        unread[name] = f"periods of frequency {frequency}; save when they start"
        return
    moments = np.array([value if value is not None else "NaT" for value in column.to_pylist()], f"M8[{unit}]")
    columns[name] = moments.astype("M8[us]")


def _read(column: Any, kind: Any) -> Any:
    for is_kind, read in _READERS:
        if is_kind(kind):
            return read(column)
    return _objects(column.to_pylist())


def _number(column: Any) -> Any:
    if not column.null_count:
        return column.to_numpy()
    if types.is_floating(column.type):
        return column.cast(pa.float64()).to_numpy()
    return _objects(column.to_pylist())


def _moments(column: Any) -> Any:
    zone = column.type.tz if types.is_timestamp(column.type) else None
    return column.cast(pa.timestamp("us", zone), safe=False).to_numpy()


def _seconds(column: Any) -> Any:
    parts = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[column.type.unit]
    return column.cast(pa.int64()).cast(pa.float64(), safe=False).to_numpy() * parts


def _clocks(column: Any) -> Any:
    return _objects([None if value is None else value.isoformat() for value in column.to_pylist()])


def _lists(column: Any) -> Any:
    """Return lists of numbers of one length as one array, others as objects."""
    flat = pc.list_flatten(column)
    numeric = types.is_integer(flat.type) or types.is_floating(flat.type)
    if numeric and len(column) and not column.null_count and not flat.null_count:
        lengths = pc.unique(pc.list_value_length(column))
        if len(lengths) == 1 and lengths[0].as_py():
            return flat.to_numpy().reshape(len(column), -1)
    return _objects(column.to_pylist())


def _objects(rows: list[Any]) -> Array:
    found = np.empty(len(rows), object)
    found[:] = rows
    return found


_PERIODS: Final = {
    "D": "D", "M": "M", "Y": "Y", "A": "Y", "Y-DEC": "Y", "A-DEC": "Y", "Q-DEC": "3M", "h": "h", "H": "h", "min": "m",
    "T": "m", "s": "s", "S": "s", "ms": "ms", "us": "us", "ns": "ns",
}  # fmt: skip


def _is_list(kind: Any) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


_READERS: Final[tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...]] = (
    (types.is_integer, _number),
    (types.is_floating, _number),
    (types.is_boolean, _number),
    (types.is_decimal, lambda column: column.cast(pa.float64(), safe=False).to_numpy()),
    (types.is_timestamp, _moments),
    (types.is_date, _moments),
    (types.is_time, _clocks),
    (types.is_duration, _seconds),
    (_is_list, _lists),
)
