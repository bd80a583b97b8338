"""Arrays as bytes; dtypes carry the names of the Open Inference Protocol."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from davy.event import Array
from davy.fields.arrays import WHOLE, is_masked

OIP: Final = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1",
    "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
NAMES: Final = {np.dtype(code): name for name, code in OIP.items()}
LISTED: Final = frozenset({"BOOL", "INT64", "FP64"})
"""What lists of numbers become, now this and now that; any other dtype is an array's own."""


def tensor_dumper(dtype: np.dtype[Any], shape: tuple[int, ...] | None) -> Callable[[Any], bytes]:
    """Return the function that turns an array of one dtype, and one shape if given, into bytes."""

    def fixed(value: Any) -> bytes:
        if type(value) is np.ndarray and value.dtype is dtype and value.shape == shape:
            return value.tobytes()
        array = _data(value)
        if array.shape != shape or not becomes(array, dtype):
            raise TypeError(f"{array.dtype}{array.shape} is not {dtype}{shape}")
        return array.astype(dtype, copy=False).tobytes()

    def ragged(value: Any) -> bytes:
        array = _data(value)
        if array.ndim == 0 or not becomes(array, dtype):
            raise TypeError(f"{array.dtype}{array.shape} is not an array of {dtype}")
        head = struct.pack(f"<B{array.ndim}q", array.ndim, *array.shape)
        return head + array.astype(dtype, copy=False).tobytes()

    return ragged if shape is None else fixed


def becomes(array: Array, dtype: np.dtype[Any]) -> bool:
    """Whether an array is one of `dtype`, or of a narrower one of those that lists become, with the same numbers."""
    if array.dtype == dtype:
        return True
    if not {NAMES.get(array.dtype), NAMES[dtype]} <= LISTED or not np.can_cast(array.dtype, dtype):
        return False
    if dtype.kind != "f" or array.dtype.kind != "i" or not array.size:
        return True
    return bool(array.min() >= -WHOLE and array.max() <= WHOLE)


def _data(value: Any) -> Array:
    if is_masked(value):
        raise TypeError("a masked array hides some of its numbers")
    return np.asarray(value)


def load_tensor(data: bytes | memoryview, dtype: np.dtype[Any]) -> Array:
    """Turn what the dumper of any shape made back; the array is a read-only view of `data`."""
    (ndim,) = struct.unpack_from("<B", data)
    shape = struct.unpack_from(f"<{ndim}q", data, 1)
    return view(memoryview(data)[1 + 8 * ndim :], dtype, shape)


def view(data: bytes | memoryview, dtype: np.dtype[Any] | str, shape: tuple[int, ...]) -> Array:
    """View bytes as a read-only array; unlike ``frombuffer`` it accepts an array without elements.

    Raises
    ------
    ValueError
        The bytes are not exactly those of such an array.
    """
    if min(shape, default=0) < 0:
        raise ValueError(f"no array has the shape {shape}")
    found = np.frombuffer(data, dtype) if len(data) else np.empty(0, dtype)
    return found.reshape(shape)
