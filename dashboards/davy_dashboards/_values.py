"""Values of an inference as JSON holds them without loss of meaning, and as a person reads them in one line."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from davy.event import BlobRef

_LONGEST: Final = 200
_LISTED: Final = 12


def as_json(value: Any) -> Any:
    """Return a value as JSON holds it.

    An array is a tensor of the Open Inference Protocol (``datatype``, ``shape``, ``data``), bytes are ``base64``, a
    payload is its reference. JSON has no word for numbers that are not finite: as in Protocol Buffers' JSON mapping
    they are the texts ``NaN``, ``Infinity`` and ``-Infinity``.

    Examples
    --------
    >>> as_json({"x": np.array([1.5, np.inf], np.float32), "b": b"ok"})
    {'x': {'datatype': 'FP32', 'shape': [2], 'data': [1.5, 'Infinity']}, 'b': {'base64': 'b2s='}}
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return _number(value)
        case bytes() | bytearray() | memoryview():
            return {"base64": base64.b64encode(value).decode()}
        case np.ndarray():
            return {"datatype": _datatype(value), "shape": list(value.shape), "data": as_json(value.tolist())}
        case np.generic():
            return as_json(value.item())
        case BlobRef():
            about = as_json(dict(value.about))
            return {
                "hash": value.hash,
                "length": value.length,
                "media_type": value.media_type,
                "about": about,
            }
        case Mapping():
            return {str(name): as_json(one) for name, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [as_json(one) for one in value]
        case _:
            return str(value)


def as_line(value: Any) -> str:
    """Return what a person reads of a value, at most some 200 characters: of many numbers, how they are spread.

    Examples
    --------
    >>> as_line(np.arange(2048.0).reshape(2, 1024)), as_line(b"1234"), as_line(None)
    ('FP64 [2, 1024]: 0 to 2047, mean 1024', '4 bytes', '-')
    """
    match value:
        case None:
            return "-"
        case str():
            return _cut(value)
        case float():
            return f"{value:.6g}"
        case bytes() | bytearray() | memoryview():
            return f"{len(value):,} bytes"
        case np.ndarray() if value.size > _LISTED:
            return f"{_datatype(value)} {list(value.shape)}{_spread(value)}"
        case np.ndarray():
            return _cut(f"{_datatype(value)} {list(value.shape)}: {json.dumps(as_json(value.tolist()))}")
        case BlobRef():
            return f"{value.media_type}, {value.length:,} bytes, {value.hash[:16]}…"
        case _:
            return _cut(json.dumps(as_json(value), ensure_ascii=False))


def as_time(at: int | None) -> str | None:
    """Return nanoseconds since the epoch in ISO 8601; None for none."""
    if at is None:
        return None
    try:
        return datetime.fromtimestamp(at / 1e9, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{at} ns"


def _number(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def _datatype(value: NDArray[Any]) -> str:
    kinds = {"f": "FP", "i": "INT", "u": "UINT"}
    if value.dtype.kind in kinds:
        return f"{kinds[value.dtype.kind]}{8 * value.dtype.itemsize}"
    return {"b": "BOOL"}.get(value.dtype.kind, "BYTES" if value.dtype.kind in "OUS" else str(value.dtype))


def _spread(value: NDArray[Any]) -> str:
    if value.dtype.kind not in "biuf":
        return ""
    numbers = value.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    gaps = "" if len(finite) == value.size else f", {value.size - len(finite):,} not finite"
    if not len(finite):
        return gaps
    return f": {finite.min():.4g} to {finite.max():.4g}, mean {finite.mean():.4g}{gaps}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
