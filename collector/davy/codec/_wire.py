"""The log's side: chunks to an envelope's bytes, and an envelope's bytes to columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Final, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from davy.codec._encode import SYSTEM, Chunk, Layout
from davy.codec._kinds import OIP, SCALARS, Kind, loader
from davy.errors import DecodeError
from davy.event import VERSION, Array, Column, Envelope, Path

_MAGIC: Final = b"DVY\x01"
_NOTHING: Final = memoryview(b"")


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


def pack(chunks: Sequence[Chunk], *, source: str = "", report: Mapping[str, int] | None = None) -> bytes:
    """Join chunks of one layout into the bytes of an envelope.

    Examples
    --------
    >>> from davy.codec import Encoder
    >>> encoder = Encoder()
    >>> data = pack([encoder.encode("m:1", bytes([i] * 16), i, {"x": 0.5}, {}) for i in range(3)])
    >>> decode(data)["inputs", "x"].values
    array([0.5, 0.5, 0.5])
    """
    layout = chunks[0].layout
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
    system = memoryview(np.ascontiguousarray(records[:, : SYSTEM.itemsize])).cast("B")
    wire = _Wire(VERSION, layout.model, source, count, dict(report or {}), system, blocks)
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
    except (ValueError, TypeError, KeyError, OverflowError) as error:
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


def select(data: bytes | memoryview, rows: Sequence[int] | NDArray[np.intp]) -> bytes:
    """Give the bytes of an envelope with only these rows, in this order, without its client report."""
    wire = _read(data)
    index = np.asarray(rows, dtype=np.intp)
    count = wire.count
    wire.blocks = [_take(block, count, index) for block in wire.blocks]
    wire.system = _buffer(np.frombuffer(wire.system, np.uint8).reshape(count, -1)[index])
    wire.count, wire.report = len(index), {}
    return _MAGIC + _ENCODER.encode(wire)


def _read(data: bytes | memoryview) -> _Wire:
    view = memoryview(data)
    if view[: len(_MAGIC)] != _MAGIC:
        raise DecodeError("envelope", bytes(view[:8]), f"must begin with {_MAGIC!r}")
    try:
        wire = _DECODER.decode(view[len(_MAGIC) :])
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
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
    return memoryview(np.packbits(missing[:, fields]))


def _sizes(chunks: Sequence[Chunk], part: int, index: int) -> memoryview:
    each = (chunk.sizes[index] if chunk.sizes else (len(chunk.parts[part]),) for chunk in chunks)
    return _buffer(np.fromiter(chain.from_iterable(each), "<u4"))


def _buffer(array: Array) -> memoryview:
    return memoryview(np.ascontiguousarray(array)).cast("B") if array.size else _NOTHING


def _absent(block: _Block, count: int) -> NDArray[np.bool_] | None:
    if not block.missing:
        return None
    size = count * len(block.paths)
    bits = np.unpackbits(np.frombuffer(block.missing, np.uint8), count=size)
    return bits.view(bool).reshape(count, len(block.paths))


def _columns(block: _Block, count: int) -> list[tuple[Path, Column]]:
    absent, kind = _absent(block, count), block.kind
    if kind.scalar:
        matrix = np.frombuffer(block.data, OIP[kind.dtype]).reshape(count, len(block.paths))
        return [
            (path, Column(matrix[:, i], None if absent is None else absent[:, i]))
            for i, path in enumerate(block.paths)
        ]
    missing = None if absent is None else absent[:, 0]
    values: Array | Callable[[], Array]
    if kind.width is None:
        if len(block.sizes) != 4 * count:
            raise ValueError(f"{len(block.sizes) // 4} sizes for {count} values")
        values = partial(_values, block, count, missing)
    else:
        shape = cast("tuple[int, ...]", kind.shape)
        values = np.frombuffer(block.data, OIP[kind.dtype]).reshape(count, *shape)
    return [(block.paths[0], Column(values, missing))]


def _values(block: _Block, count: int, missing: NDArray[np.bool_] | None) -> Array:
    ends = np.cumsum(np.frombuffer(block.sizes, "<u4"), dtype=np.int64).tolist()
    starts = [0, *ends[:-1]]
    load, found = loader(block.kind), np.empty(count, dtype=object)
    try:
        for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
            if missing is None or not missing[row]:
                found[row] = load(block.data[start:end])
    except Exception as error:  # bytes from anywhere: every failure of a loader means damage
        raise DecodeError(
            ".".join(block.paths[0]), f"{len(block.data)} bytes", f"is damaged: {error}"
        ) from error
    return found


def _take(block: _Block, count: int, index: NDArray[np.intp]) -> _Block:
    absent = _absent(block, count)
    missing = _NOTHING if absent is None else memoryview(np.packbits(absent[index]))
    if block.kind.width is not None:
        rows = np.frombuffer(block.data, np.uint8).reshape(count, -1)
        return _Block(block.paths, block.kind, _buffer(rows[index]), _NOTHING, missing)
    sizes = np.frombuffer(block.sizes, "<u4")
    ends = np.cumsum(sizes, dtype=np.int64)
    data = b"".join([block.data[ends[i] - sizes[i] : ends[i]] for i in index])
    return _Block(block.paths, block.kind, memoryview(data), _buffer(sizes[index]), missing)
