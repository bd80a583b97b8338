"""The log's side: chunks to an envelope's bytes, and an envelope's bytes to columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, pairwise
from typing import Any, Final, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from davy.codec._kinds import ANY, SCALARS, Kind, loader
from davy.codec._layout import SYSTEM, Chunk, Layout
from davy.codec._plain import dump_any, load_any
from davy.codec._snapshots import Snapshot, chunks_of
from davy.codec._tensors import OIP, view
from davy.errors import DecodeError
from davy.event import VERSION, Array, Column, Envelope, Path

_MAGIC: Final = b"DVY\x01"
_NOTHING: Final = memoryview(b"")
_SHARED: Final = "shared"
"""What stands before the path of a field whose value all inferences of the envelope share; it is written once."""
_DAMAGE: Final = (ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError)
_SECTIONS: Final[Mapping[str, int]] = {
    "inputs": 2, "outputs": 2, "embedding": 1, "tags": 2, "alternatives": 3, "group": 1, "seq": 1,
}  # fmt: skip
"""How many parts the path of a field has, by its first; a newer Davy may know more."""


class _Block(msgspec.Struct, array_like=True):
    """Fields of one kind; several scalars share a block of shape ``(rows, fields)``.

    `sizes` holds the length of every value (uint32) when values differ in size; `missing` a bit a value, row by
    row, or nothing when nothing is missing.
    """

    paths: list[Path]
    kind: Kind
    data: memoryview
    sizes: memoryview = _NOTHING
    missing: memoryview = _NOTHING


class _Wire(msgspec.Struct, array_like=True):
    version: int
    model: str
    source: str
    count: int
    report: dict[str, int]
    system: memoryview
    blocks: list[_Block]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Wire)


def pack(
    loads: Sequence[Chunk | Snapshot], *, source: str = "", report: Mapping[str, int] | None = None
) -> bytes:
    """Join chunks and snapshots of one layout into the bytes of an envelope.

    Examples
    --------
    >>> from davy.codec import Encoder
    >>> encoder = Encoder()
    >>> data = pack([encoder.encode("m:1", bytes([i] * 16), i, {"x": 0.5}, {}) for i in range(3)])
    >>> decode(data)["inputs", "x"].values
    array([0.5, 0.5, 0.5])
    """
    layout, chunks = loads[0].layout, list(chunks_of(loads))
    count = sum(chunk.count for chunk in chunks)
    records = np.frombuffer(b"".join([chunk.parts[0] for chunk in chunks]), np.uint8)
    records = records.reshape(count, layout.width)
    missing = _missing(chunks, count, len(layout.kinds))
    blocks = list(_scalar_blocks(layout, records, missing))
    for part, (index, _) in enumerate(layout.others, start=1):
        kind = layout.kinds[index]
        blocks.append(
            _Block(
                paths=[layout.paths[index]],
                kind=kind,
                data=memoryview(b"".join([chunk.parts[part] for chunk in chunks])),
                sizes=_NOTHING if kind.width is not None else _sizes(chunks, part, index),
                missing=_bits(missing, [index]),
            )
        )
    system = _buffer(records[:, : SYSTEM.itemsize])
    told = dict(report or {})
    for chunk in chunks:
        if chunk.lost:
            for reason, lost in chunk.lost.items():
                told[reason] = told.get(reason, 0) + lost
    blocks += [
        _Block([(_SHARED, *path)], ANY, memoryview(dump_any(value))) for path, value in layout.shared.items()
    ]
    wire = _Wire(VERSION, layout.model, source, count, told, system, blocks)
    return _MAGIC + _ENCODER.encode(wire)


def decode(data: bytes | memoryview) -> Envelope:
    """Read an envelope; fields are views of `data`, made when they are looked at.

    Raises
    ------
    DecodeError
        These are not the bytes of an envelope, they are cut short, or a newer version than the next wrote them.
    """
    wire = _read(data)
    try:
        system = np.frombuffer(wire.system, SYSTEM)
        if len(system) != wire.count:
            raise ValueError(f"{len(system)} system records for {wire.count} inferences")
        columns: dict[Path, Column] = {}
        for block in wire.blocks:
            columns.update(_columns(block, wire.count))
    except _DAMAGE as error:
        raise DecodeError("envelope", f"{len(data)} bytes", f"is damaged: {error}") from error
    return Envelope(
        model=wire.model,
        source=wire.source,
        report=wire.report,
        version=wire.version,
        ids=system["id"],
        at=system["at"],
        latency_ms=system["latency_ms"],
        rate=system["rate"],
        columns=columns,
    )


def select(
    data: bytes | memoryview, rows: Sequence[int] | NDArray[np.intp], *, report: bool = False
) -> bytes:
    """Return the bytes of an envelope with only these rows, in this order; its client report only if asked for."""
    wire = _read(data)
    index = np.asarray(rows, dtype=np.intp)
    if len(index) and not -wire.count <= index.min() <= index.max() < wire.count:
        raise IndexError(f"rows {index.min()} to {index.max()} of an envelope of {wire.count}")
    try:
        wire.blocks = [_take(block, wire.count, index) for block in wire.blocks]
        wire.system = _rows(wire.system, wire.count, index)
    except _DAMAGE as error:
        raise DecodeError("envelope", f"{len(data)} bytes", f"is damaged: {error}") from error
    wire.count, wire.report = len(index), wire.report if report else {}
    return _MAGIC + _ENCODER.encode(wire)


def renamed(data: bytes | memoryview, model: str) -> bytes:
    """Return the bytes of an envelope with another name of its model.

    Examples
    --------
    >>> from davy.codec import Encoder
    >>> data = pack([Encoder().encode("m:1", bytes(16), 1, {"x": 0.5}, {})])
    >>> decode(renamed(data, "fraud/m:1")).model
    'fraud/m:1'
    """
    wire = _read(data)
    wire.model = model
    return _MAGIC + _ENCODER.encode(wire)


def split(data: bytes | memoryview, rows: Sequence[int]) -> list[bytes]:
    """Return, for each of these rows, the bytes of an envelope of one: what `select` gives, with `data` read once.

    Examples
    --------
    >>> from davy.codec import Encoder
    >>> encoder = Encoder()
    >>> data = pack([encoder.encode("m:1", bytes([i] * 16), i, {"x": 0.5}, {}) for i in range(3)])
    >>> split(data, [2]) == [select(data, [2])]
    True
    """
    wire = _read(data)
    blocks, system, count, found = wire.blocks, wire.system, wire.count, []
    if rows and not 0 <= min(rows) <= max(rows) < count:
        raise IndexError(f"rows {min(rows)} to {max(rows)} of an envelope of {count}")
    wire.count, wire.report = 1, {}
    try:
        for row in rows:
            wire.blocks = [_one(block, count, row) for block in blocks]
            wire.system = _row(system, count, row)
            found.append(_MAGIC + _ENCODER.encode(wire))
    except _DAMAGE as error:
        raise DecodeError("envelope", f"{len(data)} bytes", f"is damaged: {error}") from error
    return found


def _read(data: bytes | memoryview) -> _Wire:
    whole = memoryview(data)
    if bytes(whole[: len(_MAGIC)]) != _MAGIC:
        raise DecodeError("envelope", bytes(whole[:8]), f"must begin with {_MAGIC!r}")
    try:
        wire = _DECODER.decode(whole[len(_MAGIC) :])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError("envelope", f"{len(data)} bytes", f"is damaged: {error}") from error
    if not 0 < wire.version <= VERSION + 1:
        raise DecodeError(
            "envelope version", wire.version, f"this Davy reads up to {VERSION + 1}; upgrade it"
        )
    return wire


def _scalar_blocks(layout: Layout, records: Array, missing: NDArray[np.bool_] | None) -> Sequence[_Block]:
    offsets, position = {}, SYSTEM.itemsize
    for index in layout.scalars:
        offsets[index] = position
        position += cast("int", layout.kinds[index].width)
    blocks = []
    for dtype in SCALARS:
        chosen = [index for index in layout.scalars if layout.kinds[index].dtype == dtype]
        if not chosen:
            continue
        width = cast("int", Kind(dtype).width)
        places = np.add.outer([offsets[index] for index in chosen], np.arange(width)).ravel()
        contiguous = places[-1] - places[0] == len(places) - 1
        found = records[:, places[0] : places[-1] + 1] if contiguous else records[:, places]
        paths = [layout.paths[index] for index in chosen]
        blocks.append(_Block(paths, Kind(dtype), _buffer(found), _NOTHING, _bits(missing, chosen)))
    return blocks


def _missing(chunks: Sequence[Chunk], count: int, fields: int) -> NDArray[np.bool_] | None:
    if not any(chunk.missing for chunk in chunks):
        return None
    missing, first = np.zeros((count, fields), dtype=bool), 0
    for chunk in chunks:
        for row, field in chunk.missing:
            missing[first + row, field] = True
        first += chunk.count
    return missing


def _bits(missing: NDArray[np.bool_] | None, fields: list[int]) -> memoryview:
    if missing is None or not missing[:, fields].any():
        return _NOTHING
    return _buffer(np.packbits(missing[:, fields]))


def _sizes(chunks: Sequence[Chunk], part: int, index: int) -> memoryview:
    each = (chunk.sizes[index] if chunk.sizes else (len(chunk.parts[part]),) for chunk in chunks)
    return _buffer(np.fromiter(chain.from_iterable(each), "<u4"))


def _buffer(array: Array) -> memoryview:
    return np.ascontiguousarray(array).data.cast("B") if array.size else _NOTHING


def _absent(block: _Block, count: int) -> NDArray[np.bool_] | None:
    if not block.missing:
        return None
    size = count * len(block.paths)
    bits = np.unpackbits(np.frombuffer(block.missing, np.uint8), count=size)
    return bits.view(bool).reshape(count, len(block.paths))


def _columns(block: _Block, count: int) -> list[tuple[Path, Column]]:
    absent, kind = _absent(block, count), block.kind
    if block.paths and block.paths[0][0] == _SHARED:
        return [(tuple(block.paths[0][1:]), Column(partial(_repeated, load_any(block.data), count)))]
    if not all(_SECTIONS.get(path[0]) == len(path) for path in block.paths):
        return []
    if kind.scalar:
        matrix = view(block.data, OIP[kind.dtype], (count, len(block.paths)))
        return [
            (path, Column(matrix[:, i], None if absent is None else absent[:, i]))
            for i, path in enumerate(block.paths)
        ]
    (path,) = block.paths
    missing = None if absent is None else absent[:, 0]
    values: Array | Callable[[], Array]
    if kind.width is None:
        ends = _ends(block, count)
        values = partial(_values, block, [0, *ends.tolist()], missing)
    else:
        values = view(block.data, OIP[kind.dtype], (count, *cast("tuple[int, ...]", kind.shape)))
    return [(path, Column(values, missing))]


def _ends(block: _Block, count: int) -> NDArray[np.int64]:
    ends = np.cumsum(view(block.sizes, "<u4", (count,)), dtype=np.int64)
    if len(block.data) != (ends[-1] if count else 0):
        raise ValueError(f"{len(block.data)} bytes for values of another size")
    return ends


def _values(block: _Block, places: Sequence[int], missing: NDArray[np.bool_] | None) -> Array:
    found = np.empty(len(places) - 1, dtype=object)
    try:
        load = loader(block.kind)
        for row, (start, end) in enumerate(pairwise(places)):
            if missing is None or not missing[row]:
                found[row] = load(block.data[start:end])
    except Exception as error:  # bytes from anywhere: every failure of a loader means damage
        raise DecodeError(
            ".".join(block.paths[0]), f"{len(block.data)} bytes", f"is damaged: {error}"
        ) from error
    return found


def _repeated(value: Any, count: int) -> Array:
    found = np.empty(count, dtype=object)
    for row in range(count):
        found[row] = value
    return found


def _take(block: _Block, count: int, index: NDArray[np.intp]) -> _Block:
    if block.paths and block.paths[0][0] == _SHARED:
        return block
    absent = _absent(block, count)
    missing = _NOTHING if absent is None else _buffer(np.packbits(absent[index]))
    if block.kind.width is not None:
        return _Block(block.paths, block.kind, _rows(block.data, count, index), _NOTHING, missing)
    ends = _ends(block, count)
    sizes = np.diff(ends, prepend=0)
    data = b"".join([block.data[ends[i] - sizes[i] : ends[i]] for i in index])
    return _Block(block.paths, block.kind, memoryview(data), _buffer(sizes[index].astype("<u4")), missing)


def _one(block: _Block, count: int, row: int) -> _Block:
    if block.missing or block.kind.width is None:
        return _take(block, count, np.array([row]))
    return _Block(block.paths, block.kind, _row(block.data, count, row))


def _row(data: memoryview, count: int, row: int) -> memoryview:
    width = len(data) // count
    return data[row * width : (row + 1) * width]


def _rows(data: memoryview, count: int, index: NDArray[np.intp]) -> memoryview:
    width = len(data) // count if count else 0
    return _buffer(view(data, "u1", (count, width))[index])
