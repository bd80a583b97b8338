"""Many inferences at once: arrays with the inferences as first axis, to one chunk."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any, Final

import numpy as np

from davy.codec._kinds import ANY, BLANKS, SCALARS, Kind, blank, holds, kind_of, named, widen
from davy.codec._layout import SYSTEM, Chunk, Layout
from davy.codec._settle import Settler
from davy.codec._tensors import NAMES
from davy.event import Array, Path

_SCALARS: Final = {
    dtype: Kind("FP32") if name in {"FP16", "FP32"} else kind_of(np.zeros((), dtype)[()])
    for dtype, name in NAMES.items()
    if name != "UINT64"
}
"""What every number of a dtype is kept as; the largest of 64 bits without a sign fit only sometimes."""

_BY_TYPES: Final = {
    frozenset({str}): Kind("TEXT"),
    frozenset({bytes}): Kind("BYTES"),
    frozenset({bool}): Kind("BOOL"),
    frozenset({float}): Kind("FP64"),
}
"""What a column of objects is kept as when the types of its values tell."""


def batch_fields(  # noqa: PLR0913 - the parts of an inference
    count: int,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    embedding: Any,
    tags: Mapping[str, Any],
    group: str | None,
    seq: int | None,
    alternatives: Mapping[str, Mapping[str, Any]],
    settler: Settler,
    lost: dict[str, int],
) -> dict[Path, Array]:
    """Return every field as an array of `count` rows; tags and group are the same in all rows, `seq` counts on.

    What cannot travel is left out, and counted in `lost`.
    """
    sections: list[tuple[Path, Mapping[Any, Any]]] = [(("inputs",), inputs), (("outputs",), outputs)]
    sections += [(("alternatives", model), found) for model, found in alternatives.items()]
    fields: dict[Path, Array] = {}
    for path, found in sections:
        fields |= {
            (*path, name): values
            for name, values in settler.columns(".".join(path), found, count, lost).items()
        }
    if embedding is not None:
        fields |= {
            (name,): values
            for name, values in settler.columns("", {"embedding": embedding}, count, lost).items()
        }
    fields |= {("tags", name): _repeated(value, count) for name, value in tags.items()}
    if group is not None:
        fields["group",] = _repeated(str(group), count)
    if seq is not None:
        fields["seq",] = np.arange(int(seq), int(seq) + count)
    return fields


def batch_kind(path: Path, array: Array) -> Kind:
    """Return the narrowest kind that holds every row of `array`."""
    if array.ndim == 1 and array.dtype in _SCALARS:
        return _SCALARS[array.dtype]
    name = NAMES.get(array.dtype.newbyteorder("<"))
    if name is not None and array.ndim > 1:
        return Kind(name, array.shape[1:], tensor=True)
    if name is not None:
        return named(path, kind_of, array.max())
    rows = array.tolist() if array.ndim == 1 else list(array)
    known = _BY_TYPES.get(frozenset(map(type, rows)) - {type(None)})
    if known is not None:
        return known
    kind = named(path, kind_of, rows[0])
    for value in rows[1:]:
        kind = widen(kind, named(path, kind_of, value))
    return kind if all(holds(kind, value) for value in rows) else ANY


def encode_rows(
    layout: Layout,
    system: tuple[bytes, int | Array, float | Array, float],
    arrays: list[Array],
    lost: Mapping[str, int] | None = None,
) -> Chunk:
    """Encode arrays whose kinds are those of `layout`; time and latency may differ by row."""
    ids, at, latency_ms, rate = system
    count = len(ids) // 16
    width, offset = layout.width, SYSTEM.itemsize
    records = np.empty((count, width), np.uint8)
    own: Array = np.ndarray(count, SYSTEM, records, strides=(width,))
    own["id"] = np.frombuffer(ids, "V16")
    own["at"], own["latency_ms"], own["rate"] = at, latency_ms, rate
    missing: list[tuple[int, int]] = []
    for dtype, run in groupby(layout.scalars, lambda i: layout.kinds[i].dtype):
        columns = []
        for i in run:
            absent = _absent(arrays[i])
            missing += [(row, i) for row in absent]
            columns.append(_filled(arrays[i], absent, BLANKS[dtype]))
        code = np.dtype(f"<{SCALARS[dtype]}")
        block: Array = np.ndarray((count, len(columns)), code, records, offset, (width, code.itemsize))
        np.stack(columns, axis=1, out=block, casting="unsafe")
        offset += code.itemsize * len(columns)
    parts, sizes = [records.tobytes()], {}
    for i, dump in layout.others:
        kind, array = layout.kinds[i], arrays[i]
        absent = _absent(array)
        missing += [(row, i) for row in absent]
        if kind.width is not None and array.dtype != object:
            parts.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
            continue
        rows = [blank(kind) if value is None else named(layout.paths[i], dump, value) for value in array]
        parts.append(b"".join(rows))
        if kind.width is None:
            sizes[i] = [len(row) for row in rows]
    return Chunk(layout, count, parts, sum(map(len, parts)), missing, sizes, lost)


def _repeated(value: Any, count: int) -> Array:
    array = np.empty(count, dtype=object)
    array[:] = [value] * count
    return array


def _absent(array: Array) -> list[int]:
    return [row for row, value in enumerate(array) if value is None] if array.dtype == object else []


def _filled(array: Array, absent: list[int], value: Any) -> Array:
    if not absent:
        return array
    array = array.copy()
    array[absent] = value
    return array
