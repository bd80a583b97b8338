"""Arrays as files: pictures as PNG, other numbers packed without loss, and back to the very array.

A picture of floats is mostly a picture of bytes that went through a table: what `ToTensor` and `Normalize` make of 8
bits has 256 values a channel. So the table travels with the bytes, a sixth of the size. Where there is no such table,
the bytes of equal weight are put side by side, as differences to the row above. Pictures are filtered in the same
manner (PNG's filter "Up") and compressed by run lengths and Huffman codes alone, which on photographs is as small as a
search for repetitions and several times as fast; docs/sdk.md has figures.

References
----------
"Portable Network Graphics (PNG) Specification (Third Edition)", W3C, 2025, sections 9.2 and 11.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from davy.event import Array
from davy.fields.measures import channel_axis, distinct, is_picture
from davy.fields.media import NPY, PACKED

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PACKED: Final = b"\x93DAVY\x01"
_COLOURS: Final = {1: 0, 2: 4, 3: 2, 4: 6}
_CHANNELS: Final = {colour: channels for channels, colour in _COLOURS.items()}
_UP: Final = 2
_TABLE: Final = 256
_SAMPLE: Final = 4096
_WORTH: Final = 0.95


def as_file(array: Array) -> tuple[bytes, str]:
    """Return an array as the bytes of a file and its media type: PNG, packed numbers or, where these gain little, NPY.

    Examples
    --------
    >>> picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    >>> data, media_type = as_file(picture)
    >>> media_type, bool((as_array(data, {"shape": [8, 8]}) == picture).all())
    ('image/png', True)
    """
    if is_picture(array.shape) and array.size:
        pixels = _pixels(array)
        if pixels is not None:
            return png(pixels), "image/png"
        data = _packed(array)
        if len(data) < _WORTH * array.nbytes:
            return data, PACKED
    return npy(array), NPY


def npy(array: Array) -> bytes:
    """Return an array as a file of NumPy."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def as_array(data: bytes, about: Mapping[str, Any] | None = None) -> Array | None:
    """Return the array that `as_file` was given; None for a file that it has not made.

    `about` is what the reference says of it: a PNG alone does not say whether the channels came first.
    """
    if data.startswith(_PNG):
        pixels = _from_png(data)
        shape = tuple((about or {}).get("shape") or ())
        if pixels is None or not shape or pixels.size != np.prod(shape):
            return pixels
        turned: Array = np.moveaxis(pixels, -1, 0) if _channels_first(shape) else pixels
        return turned.reshape(shape)
    if data.startswith(_PACKED):
        return _unpacked(data)
    if data.startswith(b"\x93NUMPY"):
        found: Array = np.load(io.BytesIO(data), allow_pickle=False)
        return found
    return None


def png(pixels: Array) -> bytes:
    """Return pixels of bytes, ``(height, width)`` or with 1 to 4 channels last, or grey ones of 16 bits, as a PNG."""
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    raw = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    rows = np.empty((height, raw.shape[1] + 1), np.uint8)
    rows[:, 0] = _UP
    rows[:, 1:] = _rises(raw)
    head = struct.pack(">IIBBBBB", width, height, 8 * pixels.dtype.itemsize, _COLOURS[channels], 0, 0, 0)
    return b"".join([_PNG, _chunk(b"IHDR", head), _chunk(b"IDAT", _deflated(rows)), _chunk(b"IEND", b"")])


def _pixels(array: Array) -> Array | None:
    """Return what a PNG can hold, channels last; None for other numbers."""
    shape = tuple(size for size in array.shape if size != 1)
    found = array.reshape(shape)
    if array.dtype not in {np.dtype(np.uint8), np.dtype("<u2")}:
        return None
    if found.ndim == 2:
        return found
    if array.dtype.itemsize > 1:
        return None  # readers of PNG make 8 bits of colours of 16
    found = np.moveaxis(found, 0, -1) if channel_axis(shape) == 0 else found
    return found if found.shape[2] in _COLOURS else None


def _channels_first(shape: tuple[int, ...]) -> bool:
    long = tuple(size for size in shape if size != 1)
    return len(long) == 3 and channel_axis(long) == 0


def _from_png(data: bytes) -> Array | None:
    """Return the pixels of a PNG as `png` writes them; None for any other."""
    try:
        chunks = dict(_chunks(data))
        width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
        rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    except (KeyError, ValueError, struct.error, zlib.error):
        return None
    if any(rest) or colour not in _CHANNELS or depth not in {8, 16} or (rows[:, 0] != _UP).any():
        return None
    raw = np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8)
    if depth == 16:
        raw = raw.view(">u2").astype("<u2")
    channels = _CHANNELS[colour]
    return raw if channels == 1 else raw.reshape(height, width, channels)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_PNG)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, data[place + 8 : place + 8 + length]
        place += 12 + length


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _packed(array: Array) -> bytes:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    flat = little.view(f"<u{little.dtype.itemsize}").reshape([size for size in array.shape if size != 1])
    body, more = _by_table(flat) or _by_weight(flat, floats=array.dtype.kind == "f")
    head = json.dumps({"dtype": little.dtype.str, "shape": array.shape, **more}).encode()
    return b"".join([_PACKED, struct.pack("<I", len(head)), head, body])


def _unpacked(data: bytes) -> Array:
    (length,) = struct.unpack_from("<I", data, len(_PACKED))
    start = len(_PACKED) + 4
    head = json.loads(data[start : start + length])
    body = zlib.decompress(memoryview(data)[start + length :])
    shape = tuple(size for size in head["shape"] if size != 1)
    dtype = np.dtype(head["dtype"])
    unsigned = np.dtype(f"<u{dtype.itemsize}")
    if "tables" in head:
        sizes, axis = head["tables"], head["axis"]
        tables = np.frombuffer(body, unsigned, sum(sizes))
        codes = np.frombuffer(body, np.uint8, offset=tables.nbytes).reshape(_moved(shape, axis))
        codes = np.cumsum(codes, axis=-2, dtype=np.uint8)
        ends = np.cumsum(sizes)
        parts = [tables[end - size : end][each] for size, end, each in zip(sizes, ends, codes, strict=True)]
        values: Array = np.ascontiguousarray(np.moveaxis(np.stack(parts), 0, axis) if axis >= 0 else parts[0])
    else:
        planes = np.frombuffer(body, np.uint8).reshape(dtype.itemsize, -1)
        rises = np.ascontiguousarray(planes.T).view(unsigned).reshape(shape)
        values = _ordered(np.cumsum(rises, axis=-2, dtype=unsigned), floats=head["floats"], back=True)
    return np.asarray(values.view(dtype).reshape(head["shape"]))


def _by_table(values: Array) -> tuple[bytes, dict[str, Any]] | None:
    """Code numbers by tables of at most 256 of them, one a channel; None where they are more."""
    axis = channel_axis(values.shape) if values.ndim == 3 else -1
    parts = np.moveaxis(values, axis, 0) if axis >= 0 else values[None]
    tables, codes = [], []
    for part in parts:
        found = _table(part)
        if found is None:
            return None
        tables.append(found[0])
        codes.append(_rises(found[1]))
    body = _deflated(b"".join([*(table.tobytes() for table in tables), *(code.tobytes() for code in codes)]))
    return body, {"tables": [len(table) for table in tables], "axis": axis}


def _table(values: Array) -> tuple[Array, Array] | None:
    """Return the values that occur, in order, and the place of each among them; a sample tells most of the table."""
    table = distinct(values.reshape(-1)[:: 1 + values.size // _SAMPLE])
    if len(table) > _TABLE:
        return None
    places = np.minimum(np.searchsorted(table, values), len(table) - 1)
    other = table[places] != values
    if other.any():
        rest = values[other]
        if len(distinct(rest[:_SAMPLE])) > _TABLE:
            return None
        whole = distinct(np.concatenate([table, rest]))
        if len(whole) > _TABLE:
            return None
        places = np.searchsorted(whole, table)[places]
        places[other] = np.searchsorted(whole, rest)
        table = whole
    return table, places.astype(np.uint8)


def _by_weight(values: Array, *, floats: bool) -> tuple[bytes, dict[str, Any]]:
    """Put the bytes of equal weight of all numbers side by side, as differences to the row above."""
    rises = _rises(_ordered(values, floats=floats))
    planes = np.ascontiguousarray(rises.reshape(-1)).view(np.uint8).reshape(-1, values.dtype.itemsize).T
    return _deflated(np.ascontiguousarray(planes)), {"floats": floats}


def _ordered(values: Array, *, floats: bool, back: bool = False) -> Array:
    """Map the bits of floats to whole numbers in the same order, or back."""
    if not floats:
        return values
    top = values.dtype.type(1 << (8 * values.dtype.itemsize - 1))
    positive = values & top != 0 if back else values & top == 0
    return np.asarray(np.where(positive, values ^ top, ~values))


def _rises(rows: Array) -> Array:
    """Return each row less the one above it, modulo what a number holds."""
    found = rows.copy()
    found[..., 1:, :] -= rows[..., :-1, :]
    return found


def _deflated(data: Any) -> bytes:
    squeeze = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    return squeeze.compress(data) + squeeze.flush()


def _moved(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    if axis < 0:
        return (1, *shape)
    return (shape[axis], *(size for place, size in enumerate(shape) if place != axis))
