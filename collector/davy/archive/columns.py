"""Fields of envelopes, many envelopes at once, as Arrow columns.

Files of one model are read together, so a field has the same type in all of them: every number is a double, every
boolean a boolean. Tensors are lists, flattened in C order, of float where 32 bits hold every value of their dtype and
of double elsewhere; the shape is in the metadata of the field, or in a column beside it where it differs. References
to the blob store have a column of their own, for a field may be inline in one inference and apart in the next. What
has no type of its own, or several in one file, is text: strings as they are, everything else as JSON.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate, pairwise
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from davy.event import Array, BlobRef, Column, Summary

Columns: TypeAlias = Iterator[tuple[str, Any, Mapping[str, str]]]
"""Suffix of the name, array and metadata of every column that one field becomes."""

BLOB: Final = pa.struct(
    {"hash": pa.string(), "length": pa.int64(), "media_type": pa.string(), "about": pa.string()}
)
"""A reference and, as JSON, what is said of the value; a summary refers to nothing and has no length or type."""
_TYPES: Final[Mapping[type, str]] = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "text",
    bytes: "bytes",
    np.ndarray: "tensor",
}


def arrow_columns(parts: Sequence[Column | None], counts: Sequence[int], *, whole: bool = False) -> Columns:
    """Turn one field of many envelopes into columns.

    A field that no envelope has a value of becomes none.

    Parameters
    ----------
    parts
        The field in every envelope, None where an envelope has none.
    counts
        The inferences of every envelope.
    whole
        Whether integers stay integers of 64 bits.
    """
    parts = [part if part is not None and _has_values(part) else None for part in parts]
    arrays = [part.values for part in parts if part is not None]
    if not arrays:
        return
    if all(array.dtype != object and array.ndim == 1 for array in arrays):
        yield "", _numbers(parts, counts, {array.dtype.kind for array in arrays}, whole), {}
    elif all(array.dtype != object and array.ndim > 1 for array in arrays):
        yield from _tensors(parts, counts)
    else:
        yield from _objects(_rows(parts, counts))


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


def _has_values(part: Column) -> bool:
    return part.missing is None or not part.missing.all()


def _numbers(parts: Sequence[Column | None], counts: Sequence[int], kinds: set[str], whole: bool) -> Any:
    dtype: type[np.generic] = np.float64
    if kinds == {"b"}:
        dtype = np.bool_
    elif whole and "f" not in kinds:
        dtype = np.int64
    arrays = [
        np.zeros(count, dtype) if part is None else part.values
        for part, count in zip(parts, counts, strict=True)
    ]
    return pa.array(np.concatenate(arrays, dtype=dtype, casting="unsafe"), mask=_missing(parts, counts))


def _tensors(parts: Sequence[Column | None], counts: Sequence[int]) -> Columns:
    """Join tensors that have one dtype and shape within each envelope."""
    total = sum(counts)
    flat, sizes, kinds = list[Array](), np.zeros(total, np.int64), np.zeros(total, np.int64)
    shapes: list[tuple[int, ...]] = []
    for part, (start, stop) in zip(parts, pairwise(accumulate(counts, initial=0)), strict=True):
        if part is None:
            continue
        shape = part.values.shape[1:]
        if shape not in shapes:
            shapes.append(shape)
        flat.append(part.values[part.present].reshape(-1))
        sizes[start:stop] = part.present * math.prod(shape)
        kinds[start:stop] = shapes.index(shape)
    missing = _missing(parts, counts)
    yield "", _lists(flat, sizes, missing), _shape(shapes)
    if len(shapes) > 1:
        absent = np.zeros(total, bool) if missing is None else missing
        rows = [None if gone else shapes[kind] for kind, gone in zip(kinds, absent, strict=True)]
        yield ".shape", pa.array(rows, pa.list_(pa.int64())), {}


def _objects(rows: Sequence[Any]) -> Columns:
    references = [_reference(row) for row in rows]
    values = [row if found is None else None for row, found in zip(rows, references, strict=True)]
    if any(references):
        yield ".blob", pa.array(references, BLOB), {}
    kinds = {_TYPES.get(type(value), "other") for value in values if value is not None}
    if kinds == {"boolean"}:
        yield "", pa.array(values, pa.bool_()), {}
    elif kinds and kinds <= {"boolean", "number"}:
        yield "", pa.array([None if v is None else float(v) for v in values], pa.float64()), {}
    elif kinds == {"bytes"}:
        yield "", pa.array(values, pa.binary()), {}
    elif kinds == {"tensor"}:
        yield from _ragged(values)
    elif kinds:
        yield "", text_array([None if value is None else as_text(value) for value in values]), {}


def _reference(value: Any) -> dict[str, Any] | None:
    if isinstance(value, BlobRef):
        return {**asdict(value), "about": as_text(dict(value.about)) if value.about else None}
    if isinstance(value, Summary):
        return {"hash": value.get("hash", ""), "length": 0, "media_type": "", "about": as_text(dict(value))}
    return None


def _ragged(rows: Sequence[Array | None]) -> Columns:
    shapes = [None if row is None else row.shape for row in rows]
    sizes = np.array([0 if row is None else row.size for row in rows], np.int64)
    missing = np.array([row is None for row in rows])
    distinct = list({shape for shape in shapes if shape is not None})
    yield "", _lists([row.reshape(-1) for row in rows if row is not None], sizes, missing), _shape(distinct)
    if len(distinct) > 1:
        yield ".shape", pa.array(shapes, pa.list_(pa.int64())), {}


def _lists(flat: Sequence[Array], sizes: NDArray[np.int64], missing: NDArray[np.bool_] | None) -> Any:
    dtype = np.result_type(*{array.dtype for array in flat})
    values = np.concatenate(flat)
    if dtype != np.bool_:
        values = values.astype(np.promote_types(dtype, np.float32), copy=False)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    mask = None if missing is None else pa.array(missing)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values), mask=mask)


def _shape(shapes: Sequence[tuple[int, ...]]) -> Mapping[str, str]:
    return {"davy.shape": json.dumps(shapes[0])} if len(shapes) == 1 else {}


def _missing(parts: Sequence[Column | None], counts: Sequence[int]) -> NDArray[np.bool_] | None:
    if all(part is not None and part.missing is None for part in parts):
        return None
    each = zip(parts, counts, strict=True)
    missing: NDArray[np.bool_] = np.concatenate(
        [np.ones(count, bool) if part is None else ~part.present for part, count in each]
    )
    return missing


def _rows(parts: Sequence[Column | None], counts: Sequence[int]) -> list[Any]:
    rows: list[Any] = []
    for part, count in zip(parts, counts, strict=True):
        if part is None:
            rows += [None] * count
            continue
        values = part.values.tolist() if part.values.ndim == 1 else list(part.values)
        rows += [value if here else None for value, here in zip(values, part.present, strict=True)]
    return rows


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
