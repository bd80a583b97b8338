"""Tensors that are bytes: the binary tensor extension of the Open Inference Protocol, and its gRPC messages as JSON.

Source: github.com/triton-inference-server, protocol/extension_binary_data: row-major, little-endian; BOOL is a byte;
an element of BYTES is its length as four bytes, then as many; BF16 is the upper half of an FP32.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final

import numpy as np

from davy.errors import InvalidInference
from davy.event import Array

TYPES: Final = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "BF16": "<f4", "FP32": "<f4", "FP64": "<f8", "BYTES": "O",
}  # fmt: skip
"""Every datatype of the protocol, and what holds it here."""
_LENGTH: Final = struct.Struct("<I")


def from_bytes(data: bytes, datatype: str, shape: list[int], where: str) -> Array:
    r"""Return the tensor that `data` is.

    Raises
    ------
    InvalidInference
        These are not as many bytes as such a tensor has.

    Examples
    --------
    >>> from_bytes(b"\x80\x3f\x00\x40", "BF16", [2], "x").tolist()
    [1.0, 2.0]
    >>> from_bytes(b"\x02\x00\x00\x00hi\x00\x00\x00\x00", "BYTES", [2, 1], "x").tolist()
    [['hi'], ['']]
    """
    count = math.prod(shape)
    elements = datatype == "BYTES"
    found = objects(_elements(data, count, where)) if elements else _numbers(data, datatype, count, where)
    return _reshaped(found, shape, where)


def _reshaped(found: Array, shape: list[int], where: str) -> Array:
    try:
        return found.reshape(shape)
    except (ValueError, OverflowError) as error:
        raise InvalidInference(f"{where}.shape", shape, f"is no shape: {error}") from error


def _numbers(data: bytes, datatype: str, count: int, where: str) -> Array:
    code = "<u2" if datatype == "BF16" else TYPES[datatype]
    width = np.dtype(code).itemsize
    if len(data) != count * width:
        raise InvalidInference(
            f"{where}.data", f"{len(data)} bytes", f"{count} of {datatype} are {count * width} bytes"
        )
    found: Array = np.frombuffer(data, "u1" if code == "?" else code) if data else np.empty(0, code)
    if datatype == "BF16":
        return (found.astype("<u4") << np.uint32(16)).view("<f4")
    return found != 0 if code == "?" else found


def _elements(data: bytes, count: int, where: str) -> list[str | bytes]:
    found: list[str | bytes] = []
    place = 0
    while place < len(data):
        start = place + _LENGTH.size
        place = start + (_LENGTH.unpack_from(data, place)[0] if start <= len(data) else len(data))
        if place > len(data):
            raise InvalidInference(f"{where}.data", f"{len(data)} bytes", "an element is cut short")
        found.append(text_or_bytes(data[start:place]))
    if len(found) != count:
        raise InvalidInference(f"{where}.data", f"{len(found)} elements", f"the shape holds {count}")
    return found


def text_or_bytes(data: bytes) -> str | bytes:
    """Return bytes as text if they are UTF-8, else as they are."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def objects(flat: list[Any]) -> Array:
    """Return a list as an array of objects, whatever is in it."""
    array = np.empty(len(flat), object)
    array[:] = flat
    return array
