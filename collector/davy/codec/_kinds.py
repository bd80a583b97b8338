"""How one field is kept: its kind, how kinds widen, and the bytes of a single value.

Kinds form a lattice: nothing seen < boolean < integer < float; nothing < text, bytes, blob reference, tensor of one
shape < tensor of any shape; everything < MessagePack. `widen` gives the least kind above two.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
import numpy as np

from davy.codec._plain import dump_any, dump_reference, load_any, load_reference
from davy.codec._tensors import NAMES, OIP, as_tensor, load_tensor, tensor_dumper
from davy.errors import InvalidInference
from davy.event import BlobRef, Path

T = TypeVar("T")
SCALARS: Final = {"BOOL": "?", "INT64": "q", "FP32": "f", "FP64": "d"}
"""Single precision is for batches: of one number, Python would round what does not fit."""
BLANKS: Final[Mapping[str, Any]] = {"BOOL": False, "INT64": 0, "FP32": float("nan"), "FP64": float("nan")}
UNFIT: Final = (struct.error, AttributeError, TypeError, ValueError, OverflowError, DeprecationWarning)
"""What packing a value of another kind raises; a warning where the app makes errors of them."""
_RANK: Final = ("BOOL", "INT64", "FP64")


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
    return Kind(NAMES[array.dtype], array.shape, tensor=True)


def widen(one: Kind, other: Kind) -> Kind:
    """Give the least kind that holds what either holds."""
    if one == other or other == NULL:
        return one
    if one == NULL:
        return other
    if one.tensor and other.tensor:
        dtype = np.promote_types(OIP[one.dtype], OIP[other.dtype])
        shape = one.shape if one.shape == other.shape else None
        return Kind(NAMES[dtype], shape, tensor=True)
    if one.scalar and other.scalar:
        return Kind(_RANK[max(_RANK.index(one.dtype), _RANK.index(other.dtype))])
    return ANY


def dumper(kind: Kind) -> Callable[[Any], bytes]:
    """Give the function that turns a value of `kind` into bytes; it raises TypeError or ValueError on another kind."""
    if kind.tensor:
        return tensor_dumper(np.dtype(OIP[kind.dtype]), kind.shape)
    return _DUMPERS[kind.dtype]


def loader(kind: Kind) -> Callable[[bytes | memoryview], Any]:
    """Give the function that turns the bytes of one value of variable size back."""
    if kind.tensor:
        dtype = np.dtype(OIP[kind.dtype])
        return lambda data: load_tensor(data, dtype)
    return _LOADERS[kind.dtype]


def blank(kind: Kind) -> bytes:
    """Give the bytes that stand where a value is missing."""
    return bytes(kind.width or 0)


def named(path: Path, function: Callable[[Any], T], value: Any) -> T:
    """Call `function` on a value; whatever the value's own methods raise becomes an error that names the field."""
    try:
        return function(value)
    except Exception as error:  # hostile values raise anything
        unread = f"cannot be read: {type(error).__name__}"
        remedy = error.remedy if isinstance(error, InvalidInference) else unread
        raise InvalidInference(".".join(path), type(value).__name__, remedy) from error


def _dump_text(value: Any) -> bytes:
    return str.encode(value, "utf-8", "surrogatepass")


def _dump_bytes(value: Any) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"{type(value).__name__} is not bytes")
    return bytes(value)


def _dump_null(value: Any) -> bytes:
    raise TypeError(f"{type(value).__name__} is not None")


_DUMPERS: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "TEXT": _dump_text,
    "BYTES": _dump_bytes,
    "BLOB": dump_reference,
    "MSGPACK": dump_any,
    "NULL": _dump_null,
}
_LOADERS: Final[Mapping[str, Callable[[bytes | memoryview], Any]]] = {
    "TEXT": lambda data: str(data, "utf-8", "surrogatepass"),
    "BYTES": bytes,
    "BLOB": load_reference,
    "MSGPACK": load_any,
    "NULL": lambda _: None,
}
