"""Values of any kind: plain containers, scalars, text, bytes, arrays and blob references as MessagePack."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

import msgspec
import numpy as np

from davy.codec._tensors import NAMES, OIP, view
from davy.errors import InvalidInference
from davy.event import Array, BlobRef, Summary
from davy.fields import plain
from davy.fields.arrays import numeric

_DEPTH: Final = 32
_AS_IT_IS: Final = {type(None), bool, float, bytes}
_TENSOR, _REFERENCE, _TEXT, _SUMMARY = 1, 2, 3, 4
_REFERENCED: Final = tuple[str, int, str, dict[str, Any]]


def dump_any(value: Any) -> bytes:
    """Turn plain containers, scalars, text, bytes, arrays and blob references into MessagePack."""
    return encode(as_plain(value))


def encode(plain: Any) -> bytes:
    """Turn what `as_plain` gave, and containers of it, into MessagePack."""
    return _ENCODER.encode(plain)


def as_plain(value: Any, depth: int = 0) -> Any:
    """Return a value as MessagePack holds it."""
    if depth > _DEPTH:
        raise InvalidInference("value", type(value).__name__, f"nested deeper than {_DEPTH}, or cyclic")
    exact = type(value)
    if exact in _AS_IT_IS or (exact is str and value.isascii()):
        return value
    convert = _CONVERTERS.get(exact)
    if convert is not None:
        return convert(value, depth)
    for kind, convert in _CONVERTERS.items():
        if isinstance(value, kind):
            return convert(value, depth)
    return as_plain(plain(value), depth + 1)


def load_any(data: bytes | memoryview) -> Any:
    """Turn what `dump_any` made back; arrays come back read-only, tuples and sets as lists."""
    return _DECODER.decode(data)


def dump_reference(value: Any) -> bytes:
    """Turn a blob reference into bytes."""
    if not isinstance(value, BlobRef):
        raise TypeError(f"{type(value).__name__} is not a BlobRef")
    about = [as_plain(value.about)] if value.about else []
    return _ENCODER.encode([value.hash, value.length, value.media_type, *about])


def load_reference(data: bytes | memoryview) -> BlobRef:
    """Turn what `dump_reference` made back; of a newer Davy's reference the parts that are known."""
    return _reference(_DECODER.decode(data))


def dump_stored(value: Any) -> bytes:
    """Turn a blob reference, or the summary of an array that was not stored, into bytes."""
    return _ENCODER.encode(_mapping(value, 0)) if type(value) is Summary else dump_reference(value)


def load_stored(data: bytes | memoryview) -> BlobRef | Summary:
    """Turn what `dump_stored` made back."""
    found = _DECODER.decode(data)
    return Summary(found) if isinstance(found, dict) else _reference(found)


def _reference(found: Any) -> BlobRef:
    hash, length, media_type, about = msgspec.convert([*found, {}][:4], _REFERENCED)
    return BlobRef(hash, length, media_type, about)


def _text(value: str, _: int) -> Any:
    value = str.__str__(value)
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate, as of an emoji cut in two
        return msgspec.msgpack.Ext(_TEXT, value.encode("utf-8", "surrogatepass"))
    return value


def _whole(value: int, _: int) -> int | float:
    return int(value) if -(2**63) <= value < 2**64 else float(value)


def _mapping(value: Mapping[Any, Any], depth: int) -> dict[str | int, Any]:
    return {_key(key): as_plain(item, depth + 1) for key, item in value.items()}


def _items(value: Any, depth: int) -> list[Any]:
    return [as_plain(item, depth + 1) for item in value]


def _array(value: Array, depth: int) -> Any:
    if value.ndim == 0:
        return as_plain(value.item(), depth + 1)
    array = numeric(value)
    if array is None:
        found = plain(value)
        return as_plain(found, depth + 1)
    head = _ENCODER.encode([NAMES[array.dtype], array.shape])
    return msgspec.msgpack.Ext(_TENSOR, struct.pack("<I", len(head)) + head + array.tobytes())


def _key(key: Any) -> str | int:
    if type(key) is str:
        return key
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, int) and -(2**63) <= key < 2**64:
        return int(key)
    raise InvalidInference("key", type(key).__name__, "keys are text or whole numbers of 64 bits")


def _unpack_extension(code: int, data: memoryview) -> Any:
    if code == _REFERENCE:
        return load_reference(data)
    if code == _TEXT:
        return str(data, "utf-8", "surrogatepass")
    if code == _SUMMARY:
        return load_stored(data)
    if code == _TENSOR:
        (length,) = struct.unpack_from("<I", data)
        dtype, shape = msgspec.msgpack.decode(data[4 : 4 + length], type=tuple[str, tuple[int, ...]])
        return view(data[4 + length :], OIP[dtype], shape)
    raise ValueError(f"unknown extension {code}")


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(ext_hook=_unpack_extension)
_CONVERTERS: Final[Mapping[type, Callable[[Any, int], Any]]] = {  # subclasses before their bases
    type(None): lambda value, _: value,
    bool: lambda value, _: value,
    Enum: lambda value, depth: as_plain(value.value, depth + 1),
    np.generic: lambda value, depth: as_plain(plain(value), depth + 1),
    float: lambda value, _: float(value),
    str: _text,
    bytes: lambda value, _: bytes(value),
    int: _whole,
    bytearray: lambda value, _: bytes(value),
    memoryview: lambda value, _: bytes(value),
    np.ndarray: _array,
    Summary: lambda value, _: msgspec.msgpack.Ext(_SUMMARY, dump_stored(value)),
    dict: _mapping,
    Mapping: _mapping,
    list: _items,
    tuple: _items,
    set: lambda value, depth: as_plain(plain(value), depth + 1),
    frozenset: lambda value, depth: as_plain(plain(value), depth + 1),
    BlobRef: lambda value, _: msgspec.msgpack.Ext(_REFERENCE, dump_reference(value)),
}
