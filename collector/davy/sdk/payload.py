"""What becomes of a field too large to travel inside an envelope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from davy.codec import dump_any
from davy.errors import InvalidInference
from davy.event import Array, BlobRef


class TooLarge(InvalidInference):
    """A field is larger than what travels inside an envelope, and cannot be summarised."""


def fit(section: str, fields: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """Replace arrays of more than `limit` bytes by a summary; leave the rest as it is.

    Raises
    ------
    TooLarge
        A text, bytes or container is larger.
    """
    return {name: fit_value(f"{section}.{name}", value, limit) for name, value in fields.items()}


def fit_rows(section: str, fields: Mapping[str, Array], limit: int) -> dict[str, Array]:
    """Do as `fit` for fields of a batch, whose first axis is the inferences."""
    return {name: _fit_rows(f"{section}.{name}", array, limit) for name, array in fields.items()}


def fit_value(field: str, value: Any, limit: int) -> Any:
    """Do as `fit` for one value."""
    if isinstance(value, (type(None), bool, int, float, np.generic, BlobRef)):
        return value
    array = _numbers(value)
    if array is not None:
        return summary(array) if array.nbytes > limit else value
    if isinstance(value, (bytes, bytearray, memoryview)):
        size = memoryview(value).nbytes
    elif isinstance(value, str):
        size = len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    else:
        size = len(dump_any(value))
    if size > limit:
        raise TooLarge(field, f"{size} bytes", f"at most {limit}; send less, or raise sdk.inline_bytes")
    return value


def summary(array: Array) -> dict[str, Any]:
    """Describe an array without its content.

    Returns
    -------
    dict
        `shape`, `dtype`, `hash` (BLAKE2b-256 of the bytes in C order) and the moments `mean`, `std`, `min`, `max`
        over all elements.
    """
    from hashlib import blake2b  # loads OpenSSL, which most apps that watch a model need not have

    contiguous = np.ascontiguousarray(array)
    with np.errstate(all="ignore"):
        moments = {
            "mean": float(contiguous.mean(dtype=np.float64)),
            "std": float(contiguous.std(dtype=np.float64)),
            "min": float(contiguous.min()),
            "max": float(contiguous.max()),
        }
    digest = blake2b(contiguous.data, digest_size=32).hexdigest()
    return {"shape": list(array.shape), "dtype": str(array.dtype), "hash": digest, **moments}


def _numbers(value: Any) -> Array | None:
    if not isinstance(value, (np.ndarray, list, tuple)) and not hasattr(value, "__array__"):
        return None
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return None
    return array if array.dtype.kind in "buif" else None


def _fit_rows(field: str, array: Array, limit: int) -> Array:
    if array.dtype.kind in "buif" and array.nbytes <= limit * len(array):
        return array
    rows = np.empty(len(array), dtype=object)
    for row, value in enumerate(array):
        rows[row] = fit_value(field, value, limit)
    return rows
