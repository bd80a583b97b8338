"""How one field is kept: its kind, how kinds widen, and the bytes of a single value.

Kinds form a lattice: nothing seen < boolean < integer < float; nothing < text, bytes, blob reference, tensor of one
shape < tensor of any shape; everything < MessagePack. `widen` gives the least kind above two.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import msgspec
import numpy as np

from davy.errors import InvalidInference
from davy.event import Array, BlobRef

OIP: Final = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1",
    "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_NAMES: Final = {np.dtype(code): name for name, code in OIP.items()}
SCALARS: Final = {"BOOL": "?", "INT64": "q", "FP64": "d"}
_RANK: Final = ("BOOL", "INT64", "FP64")
_DEPTH: Final = 32
_TENSOR, _REFERENCE = 1, 2


class Kind(msgspec.Struct, frozen=True, array_like=True):
    """How a field is kept: a dtype and, for tensors, a shape (``None`` for any).

    `dtype` is a name of the Open Inference Protocol for numbers, or TEXT, BYTES, BLOB, MSGPACK, NULL.
    """

    dtype: str
    shape: tuple[int, ...] | None = None
    tensor: bool = False

    @property
    def scalar(self) -> bool:
        """Whether values sit in the fixed-width record of a row."""
        return not self.tensor and self.dtype in SCALARS

    @property
    def width(self) -> int | None:
        """Bytes of one value; None when values differ in size."""
        if self.scalar:
            return struct.calcsize(SCALARS[self.dtype])
        if self.tensor and self.shape is not None:
            return np.dtype(OIP[self.dtype]).itemsize * math.prod(self.shape)
        return None


NULL: Final = Kind("NULL")
ANY: Final = Kind("MSGPACK")


def kind_of(value: Any) -> Kind:
    """Give the narrowest kind that holds `value`."""
    match value:
        case None:
            return NULL
        case bool() | np.bool_():
            return Kind("BOOL")
        case int() | np.integer():
            return Kind("INT64") if -(2**63) <= int(value) < 2**63 else Kind("FP64")
        case float() | np.floating():
            return Kind("FP64")
        case str():
            return Kind("TEXT")
        case bytes() | bytearray() | memoryview():
            return Kind("BYTES")
        case BlobRef():
            return Kind("BLOB")
        case dict():
            return ANY
    array = as_tensor(value)
    if array is None:
        return ANY
    if array.ndim == 0:
        return kind_of(array.item())
    return Kind(_NAMES[array.dtype], array.shape, tensor=True)


def as_tensor(value: Any) -> Array | None:
    """Give `value` as a little-endian array when it is one, is a list of numbers, or knows how to become one."""
    if isinstance(value, (list, tuple)) and not value:
        return None
    if not isinstance(value, (np.ndarray, list, tuple)) and not hasattr(value, "__array__"):
        return None
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return array if array.dtype in _NAMES else None


def widen(one: Kind, other: Kind) -> Kind:
    """Give the least kind that holds what either holds."""
    if one == other or other == NULL:
        return one
    if one == NULL:
        return other
    if one.tensor and other.tensor:
        dtype = np.promote_types(OIP[one.dtype], OIP[other.dtype])
        shape = one.shape if one.shape == other.shape else None
        return Kind(_NAMES[dtype], shape, tensor=True)
    if one.scalar and other.scalar:
        return Kind(_RANK[max(_RANK.index(one.dtype), _RANK.index(other.dtype))])
    return ANY


def dumper(kind: Kind) -> Callable[[Any], bytes]:
    """Give the function that turns a value of `kind` into bytes; it raises TypeError or ValueError on another kind."""
    if kind.tensor:
        return _tensor_dumper(np.dtype(OIP[kind.dtype]), kind.shape)
    return _DUMPERS[kind.dtype]


def loader(kind: Kind) -> Callable[[bytes | memoryview], Any]:
    """Give the function that turns the bytes of one value of variable size back."""
    if kind.tensor:
        dtype = np.dtype(OIP[kind.dtype])
        return lambda data: _load_tensor(data, dtype)
    return _LOADERS[kind.dtype]


def blank(kind: Kind) -> bytes:
    """Give the bytes that stand where a value is missing."""
    return bytes(kind.width or 0)


def dump_any(value: Any) -> bytes:
    """Turn plain containers, scalars, text, bytes, arrays and blob references into MessagePack."""
    return _ENCODER.encode(_plain(value, 0))


def load_any(data: bytes | memoryview) -> Any:
    """Turn what `dump_any` made back; arrays come back read-only, tuples and sets as lists."""
    return _DECODER.decode(data)


def _plain(value: Any, depth: int) -> Any:
    if depth > _DEPTH:
        raise InvalidInference("value", type(value).__name__, f"nested deeper than {_DEPTH}, or cyclic")
    match value:
        case None | bool() | float() | str() | bytes():
            return value
        case Enum():
            return _plain(value.value, depth + 1)
        case int():
            return value if -(2**63) <= value < 2**64 else float(value)
        case np.generic():
            return _plain(value.item(), depth + 1)
        case bytearray() | memoryview():
            return bytes(value)
        case dict() | Mapping():
            return {_plain_key(key): _plain(item, depth + 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item, depth + 1) for item in value]
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal() | UUID():
            return str(value)
        case BlobRef():
            packed = _ENCODER.encode([value.hash, value.length, value.media_type])
            return msgspec.msgpack.Ext(_REFERENCE, packed)
    array = as_tensor(value)
    if array is not None:
        head = _ENCODER.encode([_NAMES[array.dtype], array.shape])
        return msgspec.msgpack.Ext(_TENSOR, struct.pack("<I", len(head)) + head + array.tobytes())
    if isinstance(value, np.ndarray):
        return _plain(value.tolist(), depth + 1)
    raise InvalidInference(
        "value", type(value).__name__, "give numbers, text, bytes, arrays or containers of these"
    )


def _plain_key(key: Any) -> str | int:
    if isinstance(key, (str, int)):
        return key
    raise InvalidInference("key", type(key).__name__, "keys are text or whole numbers")


def _unpack_extension(code: int, data: memoryview) -> Any:
    if code == _REFERENCE:
        return BlobRef(*msgspec.msgpack.decode(data))
    if code == _TENSOR:
        (length,) = struct.unpack_from("<I", data)
        dtype, shape = msgspec.msgpack.decode(data[4 : 4 + length])
        return np.frombuffer(data[4 + length :], np.dtype(OIP[dtype])).reshape(shape)
    raise ValueError(f"unknown extension {code}")


def _tensor_dumper(dtype: np.dtype[Any], shape: tuple[int, ...] | None) -> Callable[[Any], bytes]:
    def fixed(value: Any) -> bytes:
        if type(value) is not np.ndarray:
            value = np.asarray(value, dtype)
        if value.shape != shape or value.dtype != dtype:
            if value.shape != shape or not np.can_cast(value.dtype, dtype):
                raise TypeError
            value = value.astype(dtype)
        return value.tobytes()  # type: ignore[no-any-return]

    def ragged(value: Any) -> bytes:
        array = np.asarray(value)
        if not np.can_cast(array.dtype, dtype):
            raise TypeError
        head = struct.pack(f"<B{array.ndim}q", array.ndim, *array.shape)
        return head + array.astype(dtype, copy=False).tobytes()

    return ragged if shape is None else fixed


def _load_tensor(data: bytes | memoryview, dtype: np.dtype[Any]) -> Array:
    (ndim,) = struct.unpack_from("<B", data)
    shape = struct.unpack_from(f"<{ndim}q", data, 1)
    return np.frombuffer(data, dtype, offset=1 + 8 * ndim).reshape(shape)


def _dump_text(value: Any) -> bytes:
    return value.encode("utf-8", "surrogatepass")  # type: ignore[no-any-return]


def _dump_bytes(value: Any) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError
    return bytes(value)


def _dump_reference(value: Any) -> bytes:
    return _ENCODER.encode([value.hash, value.length, value.media_type])


def _dump_null(value: Any) -> bytes:
    raise TypeError


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(ext_hook=_unpack_extension)
_DUMPERS: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "TEXT": _dump_text,
    "BYTES": _dump_bytes,
    "BLOB": _dump_reference,
    "MSGPACK": dump_any,
    "NULL": _dump_null,
}
_LOADERS: Final[Mapping[str, Callable[[bytes | memoryview], Any]]] = {
    "TEXT": lambda data: str(data, "utf-8", "surrogatepass"),
    "BYTES": bytes,
    "BLOB": lambda data: BlobRef(*msgspec.msgpack.decode(data)),
    "MSGPACK": load_any,
    "NULL": lambda _: None,
}
