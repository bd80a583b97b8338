"""How one field is kept: its kind, how kinds widen, and the bytes of a single value.

Kinds form a lattice: nothing seen < boolean < integer < float; nothing < text, bytes, blob reference, tensor of one
shape < tensor of any shape; everything < MessagePack. `widen` gives the least kind above two. Nothing is lost on the
way up: an array keeps its dtype, and `holds` says of a value whether a float would round it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar

import msgspec
import numpy as np

from davy.codec._plain import dump_any, dump_stored, load_any, load_stored
from davy.codec._tensors import LISTED, NAMES, OIP, becomes, load_tensor, tensor_dumper
from davy.errors import InvalidInference
from davy.event import BlobRef, Path, Summary
from davy.fields.arrays import WHOLE

T = TypeVar("T")
SCALARS: Final = {"BOOL": "?", "INT64": "q", "FP32": "f", "FP64": "d"}
"""Single precision is for batches: of one number, Python would round what does not fit."""
BLANKS: Final[Mapping[str, Any]] = {"BOOL": False, "INT64": 0, "FP32": float("nan"), "FP64": float("nan")}
UNFIT: Final = (struct.error, AttributeError, TypeError, ValueError, OverflowError, DeprecationWarning)
"""What packing a value of another kind raises; a warning where the app makes errors of them."""
_RANK: Final = ("BOOL", "INT64", "FP64")
"""What numbers of Python, and lists of them, become: these widen into one another."""
FLOATS: Final = frozenset({float, np.float64, np.float32, np.float16})


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

    def keeps(self, value: Any) -> bool:
        """Return whether the bytes of an array are those that an envelope has of it."""
        return (
            type(value) is np.ndarray and value.shape == self.shape and NAMES.get(value.dtype) == self.dtype
        )


NULL: Final = Kind("NULL")
ANY: Final = Kind("MSGPACK")


def kind_of(value: Any) -> Kind:
    """Return the narrowest kind that holds a plain value."""
    match value:
        case None:
            return NULL
        case bool() | np.bool_():
            return Kind("BOOL")
        case int() | np.integer():
            return _whole(int(value))
        case float() | np.floating():
            return Kind("FP64")
        case str():
            return Kind("TEXT")
        case bytes() | bytearray() | memoryview():
            return Kind("BYTES")
        case BlobRef() | Summary():
            return Kind("BLOB")
        case np.ndarray() if value.dtype in NAMES and value.ndim:
            return Kind(NAMES[value.dtype], value.shape, tensor=True)
    return ANY


def _whole(value: int) -> Kind:
    if -(2**63) <= value < 2**63:
        return Kind("INT64")
    return ANY if 0 < value < 2**64 else Kind("FP64")


def holds(kind: Kind, value: Any) -> bool:
    """Whether a plain value of a narrower kind is the same number once it is kept as `kind`."""
    if kind.dtype != "FP64" or value is None:
        return True
    return becomes(value, np.dtype(np.float64)) if kind.tensor else exact((value,))


def exact(numbers: Collection[Any]) -> bool:
    """Whether floats of 64 bits hold all these numbers; of integers beyond 64 bits a float is all that travels."""
    others = [each for each in numbers if type(each) not in FLOATS]
    if {int}.issuperset(map(type, others)) and -WHOLE <= min(others, default=0) <= max(
        others, default=0
    ) <= WHOLE:
        return True
    return all(map(_is_exact, others))


def _is_exact(value: Any) -> bool:
    kind = type(value)
    if issubclass(kind, (int, np.integer)):
        number = int(value)
        return -WHOLE <= number <= WHOLE or not -(2**63) <= number < 2**64
    return kind is not np.ndarray  # of no axes, which may be either


def widen(one: Kind, other: Kind) -> Kind:
    """Return the least kind that holds what either holds, but for integers that `holds` says a float would round."""
    if one == other or other == NULL:
        return one
    if one == NULL:
        return other
    if one.tensor and other.tensor:
        if one.dtype != other.dtype and not {one.dtype, other.dtype} <= LISTED:
            return ANY  # pictures of bytes stay pictures of bytes when one comes as floats
        return Kind(_wider(one, other), one.shape if one.shape == other.shape else None, tensor=True)
    if one.scalar and other.scalar:
        return Kind(_wider(one, other))
    return ANY


def _wider(one: Kind, other: Kind) -> str:
    return one.dtype if one.dtype == other.dtype else max(one.dtype, other.dtype, key=_RANK.index)


def dumper(kind: Kind) -> Callable[[Any], bytes]:
    """Return the function that turns a value of `kind` into bytes; TypeError or ValueError on another kind."""
    if kind.tensor:
        return tensor_dumper(np.dtype(OIP[kind.dtype]), kind.shape)
    return _DUMPERS[kind.dtype]


def loader(kind: Kind) -> Callable[[bytes | memoryview], Any]:
    """Return the function that turns the bytes of one value of variable size back."""
    if kind.tensor:
        dtype = np.dtype(OIP[kind.dtype])
        return lambda data: load_tensor(data, dtype)
    return _LOADERS[kind.dtype]


def blank(kind: Kind) -> bytes:
    """Return the bytes that stand where a value is missing."""
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
    "BLOB": dump_stored,
    "MSGPACK": dump_any,
    "NULL": _dump_null,
}
_LOADERS: Final[Mapping[str, Callable[[bytes | memoryview], Any]]] = {
    "TEXT": lambda data: str(data, "utf-8", "surrogatepass"),
    "BYTES": bytes,
    "BLOB": load_stored,
    "MSGPACK": load_any,
    "NULL": lambda _: None,
}
