"""Fields of envelopes, many envelopes at once, as Arrow columns: one for each kind of value that a field has.

What a value is decides its kind, and a kind has one type, whatever else the field holds in the file, whatever the width
of a float: files of one model are read together. A number is a double, and where a double would round it also an
integer; tensors are lists of doubles, flattened in C order, whose shape is in the metadata of the column or in a column
beside it where it differs; a reference to the blob store is a structure; what has no type of its own is JSON.

An empty list says nothing of its kind: it is in the column that the field's lists have, or in one of its own as long
as nothing said which that is.
"""

from __future__ import annotations

import base64
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate, chain, pairwise
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa

from davy.event import Array, BlobRef, Column, Summary
from davy.fields import Unfit, plain

BLOB: Final = pa.struct(
    {"hash": pa.string(), "length": pa.int64(), "media_type": pa.string(), "about": pa.string()}
)
"""A reference and, as JSON, what is said of the value; a summary refers to nothing and has no length or type."""
KINDS: Final[Mapping[str, Any]] = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "text": pa.string(),
    "bytes": pa.binary(),
    "json": pa.string(),
    "numbers": pa.list_(pa.float64()),
    "booleans": pa.list_(pa.bool_()),
    "int64": pa.int64(),
    "uint64": pa.uint64(),
    "shape": pa.list_(pa.int64()),
    "blob": BLOB,
    "empty": pa.string(),
}
"""The type of every kind. An ``integer`` is a number of Davy's own that is whole; users' numbers are never."""
BESIDE: Final = frozenset({"int64", "uint64", "shape", "blob", "empty"})
"""Kinds that say more of a value of another kind, or where it lies, and so never have the name of the field itself."""
HOLDS_EMPTY: Final = frozenset({"numbers", "booleans", "json", "text"})
"""Kinds whose columns take empty lists: the first of these that a field has, for good."""
LISTS: Final = (KINDS["numbers"], KINDS["booleans"])
SHAPE: Final = b"davy.shape"
"""Metadata of a column of lists: the one shape that all tensors have, as JSON."""

Rows: TypeAlias = Any
"""Which rows have a value: a slice, or an ascending array of their numbers."""
Pieces: TypeAlias = Sequence[tuple[Rows, Any]]
Home: TypeAlias = tuple[str, int]
Found: TypeAlias = Iterator[tuple[str, Any, Mapping[bytes, str]]]
"""Kind, array and metadata of every column that one field becomes."""

_EXACT: Final = 2**53
_TYPES: Final[Mapping[type, str]] = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "text",
    bytes: "bytes",
    np.ndarray: "numbers",
    BlobRef: "blob",
    Summary: "blob",
}


def field_columns(
    parts: Sequence[Column | None],
    counts: Sequence[int],
    days: Array,
    *,
    whole: bool = False,
    home: Home | None = None,
) -> Found:
    """Turn one field of many envelopes into columns, none where no envelope has a value.

    Parameters
    ----------
    parts
        The field in every envelope, None where an envelope has none.
    counts
        The inferences of every envelope.
    days
        The day of every inference, in whose file it is.
    whole
        Whether numbers are integers.
    home
        The kind whose column takes the empty lists of this field, and since which day; None where there is none yet.
    """
    pieces = defaultdict[str, list[tuple[Rows, Any]]](list)
    for part, (start, stop) in zip(parts, pairwise(accumulate(counts, initial=0)), strict=True):
        if part is not None:
            for kind, rows, values in _split(part, start, stop):
                pieces[kind].append((rows, values))
    total = sum(counts)
    if "empty" in pieces:
        _settle_empty(pieces, total, home, days)
    if whole and "number" in pieces:
        yield "integer", _array(pieces["number"], total, np.int64), {}
        return
    shapes = _shapes([piece for kind in ("numbers", "booleans") for piece in pieces.get(kind, ())])
    same = {one for _, each in shapes for one in each}
    said = {SHAPE: json.dumps(next(iter(same)))} if len(same) == 1 else {}
    for kind, found in pieces.items():
        match kind:
            case "number":
                yield kind, _array(found, total, np.float64), {}
                yield from _exact(found, total)
            case "boolean":
                yield kind, _array(found, total, np.bool_), {}
            case "numbers" | "booleans":
                yield kind, _lists(kind, found, total), said
            case _:
                yield kind, _OBJECTS[kind](_objects(found, total)), {}
    if len(same) > 1:
        yield "shape", pa.array(_objects(shapes, total), KINDS["shape"]), {}


def as_text(value: Any) -> str:
    """Return a string as it is and any other value as JSON; what JSON lacks becomes null, bytes become base64.

    Examples
    --------
    >>> as_text("cat"), as_text({"cat": float("nan")}), as_text(b"cat")
    ('cat', '{"cat": null}', '"Y2F0"')
    """
    return value if isinstance(value, str) else json.dumps(_plain(value), ensure_ascii=False)


def text_array(values: Sequence[str | None]) -> Any:
    """Make a column of text; halves of surrogate pairs, which UTF-8 cannot hold, become question marks."""
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return pa.array([v and v.encode("utf-8", "replace").decode() for v in values], pa.string())


def hex_array(ids: Array) -> Any:
    """Make a column of 32 hexadecimal digits from ids, shape ``(n,)``, dtype ``V16``."""
    offsets = np.arange(len(ids) + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(
        len(ids), pa.py_buffer(offsets), pa.py_buffer(ids.tobytes().hex().encode())
    )


def folded(array: Any) -> str | None:
    """Return the one shape that a column of shapes has, as JSON; None where there are several."""
    different = set(map(tuple, array.drop_null().to_pylist()))
    return json.dumps(next(iter(different))) if len(different) == 1 else None


def _split(part: Column, start: int, stop: int) -> Iterator[tuple[str, Rows, Any]]:
    """Yield the values that are there, by kind, with their rows; those of ``numbers`` are tensors."""
    values = part.values
    rows: Rows = slice(start, stop)
    if part.missing is not None and part.missing.any():
        rows, values = start + np.flatnonzero(part.present), values[part.present]
    if not len(values):
        return
    if values.dtype != object:
        if values.ndim > 1 and not values.shape[-1]:
            yield "empty", rows, values
            return
        kind = "boolean" if values.dtype == np.bool_ else "number"
        yield kind if values.ndim == 1 else f"{kind}s", rows, values
        return
    if list in set(map(type, values)):
        values = _with_tensors(values)
    kinds = [_kind_of(value) for value in values]
    different = set(kinds)
    if len(different) == 1:
        yield different.pop(), rows, values
        return
    numbers = rows if isinstance(rows, np.ndarray) else np.arange(start, stop)
    each = np.array(kinds)
    for kind in dict.fromkeys(kinds):
        chosen = each == kind
        yield kind, numbers[chosen], values[chosen]


def _kind_of(value: Any) -> str:
    kind = _TYPES.get(type(value), "json")
    if kind != "numbers":
        return kind
    if value.ndim and not value.shape[-1]:
        return "empty"
    return "booleans" if value.dtype == np.bool_ else kind


def _with_tensors(values: Array) -> Array:
    """Return values with lists of numbers as what they are where a field holds nothing else: tensors."""
    found = np.empty(len(values), object)
    for place, value in enumerate(values):
        try:
            made = plain(value) if type(value) is list else value
        except Unfit:
            made = value
        found[place] = made if type(made) is np.ndarray else value
    return found


def _settle_empty(
    pieces: defaultdict[str, list[tuple[Rows, Any]]], total: int, home: Home | None, days: Array
) -> None:
    """Assign empty lists to the kind whose column takes them, from the day on that it has, or whose day's file has it.

    The others stay as they are, so that no day's file depends on rows of a later one.
    """
    empty = pieces.pop("empty")
    rows = _places(empty, total)
    values = np.fromiter(chain.from_iterable(each for _, each in empty), object, len(rows))
    kind = home[0] if home else next((kind for kind in pieces if kind in HOLDS_EMPTY), None)
    known: Array = np.zeros(len(rows), np.bool_)
    if kind is not None:
        said = days[_places(pieces.get(kind, ()), total)]
        known = (days[rows] >= (home[1] if home else said.min())) | np.isin(days[rows], said)
    if kind is not None and known.any():
        taken = values[known]
        if kind == "text":
            taken = np.array([as_text(value) for value in taken], object)
        pieces[kind].append((rows[known], taken))
    if not known.all():
        pieces["empty"].append((rows[~known], values[~known]))


def _places(pieces: Pieces, total: int) -> Array:
    """Return the numbers of the rows that have a value."""
    return np.concatenate([np.zeros(0, np.int64), *(np.arange(total)[rows] for rows, _ in pieces)])


def _array(pieces: Pieces, total: int, dtype: type[np.generic]) -> Any:
    """Make a column of numbers or booleans."""
    found, absent = np.zeros(total, dtype), np.ones(total, np.bool_)
    for rows, values in pieces:
        found[rows] = values
        absent[rows] = False
    return pa.array(found, mask=absent if absent.any() else None)


def _exact(pieces: Pieces, total: int) -> Found:
    """Yield the integers that a double rounds."""
    found: dict[str, list[tuple[Rows, Any]]] = defaultdict(list)
    for rows, values in pieces:
        if values.dtype == object:
            places = np.arange(total)[rows]
            for place, value in zip(places, values, strict=True):
                if isinstance(value, int) and not -_EXACT <= value <= _EXACT:
                    found["int64" if value < 2**63 else "uint64"].append((place, value))
        elif values.dtype.kind == "i" and (values.max() > _EXACT or values.min() < -_EXACT):
            beyond = (values > _EXACT) | (values < -_EXACT)
            found["int64"].append((np.arange(total)[rows][beyond], values[beyond]))
    for kind, dtype in (("int64", np.int64), ("uint64", np.uint64)):
        if kind in found:
            yield kind, _array(found[kind], total, dtype), {}


def _shapes(pieces: Pieces) -> list[tuple[Rows, list[tuple[int, ...]]]]:
    """Return the shapes of tensors, one for all rows of a piece where they are one array."""
    return [
        (rows, [value.shape for value in values] if values.dtype == object else [values.shape[1:]])
        for rows, values in pieces
    ]


def _lists(kind: str, pieces: Pieces, total: int) -> Any:
    """Make a column of flattened tensors."""
    flat, sizes, absent = list[Array](), np.zeros(total, np.int64), np.ones(total, np.bool_)
    for rows, values in pieces:
        if values.dtype == object:
            flat += [value.reshape(-1) for value in values]
            sizes[rows] = [value.size for value in values]
        else:
            flat.append(values.reshape(-1))
            sizes[rows] = math.prod(values.shape[1:])
        absent[rows] = False
    items = np.concatenate(flat, dtype=KINDS[kind].value_type.to_pandas_dtype(), casting="unsafe")
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    mask = pa.array(absent) if absent.any() else None
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(items), mask=mask)


def _objects(pieces: Pieces, total: int) -> list[Any]:
    """Return the values by row, None where there is none; a piece of one value has it for all of its rows."""
    found: list[Any] = [None] * total
    for rows, values in pieces:
        places = range(total)[rows] if isinstance(rows, slice) else rows
        each = list(values) if len(values) == len(places) else [values[0]] * len(places)
        for place, value in zip(places, each, strict=True):
            found[place] = value
    return found


def _reference(value: BlobRef | Summary | None) -> Mapping[str, Any] | None:
    if isinstance(value, BlobRef):
        return {**asdict(value), "about": as_text(dict(value.about)) if value.about else None}
    if value is None:
        return None
    return {"hash": value.get("hash", ""), "length": 0, "media_type": "", "about": as_text(dict(value))}


def _json(values: Sequence[Any]) -> Any:
    return text_array([None if value is None else as_text(value) for value in values])


_OBJECTS: Final[Mapping[str, Any]] = {
    "text": text_array,
    "bytes": lambda values: pa.array(values, pa.binary()),
    "json": _json,
    "empty": _json,
    "blob": lambda values: pa.array(map(_reference, values), BLOB),
}


def _plain(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return base64.b64encode(value).decode()
        case BlobRef():
            return asdict(value)
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case np.ndarray():
            return _plain(value.tolist())
        case _:
            return value
