"""What is left of an array that does not travel: its shape, type, hash and moments."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from davy.event import Array
from davy.fields.measures import blocks, is_picture

_BLOCK: Final = 2**12


def thinned(array: Array, most_bytes: int) -> Array:
    """Return a part of an array with about so many bytes, spread over all of it; a view where it can be one.

    Of a picture small blocks on a grid, of other arrays every n-th block: the caller waits for the copy.
    """
    if array.nbytes <= most_bytes or array.ndim == 0:
        return array
    if is_picture(array.shape):
        return blocks(array, most_bytes)
    times = -(-array.nbytes // max(most_bytes, 1))
    flat = array.reshape(-1) if array.flags.c_contiguous else array.ravel()
    step = times | 1  # an odd step meets every column of what was even
    if len(flat) < 2 * step * _BLOCK:
        return flat[::step]
    return flat[: len(flat) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)[::step]


def summary(array: Array) -> dict[str, Any]:
    """Describe an array without its content.

    Returns
    -------
    dict
        `shape`, `dtype`, `hash` (BLAKE2b-256 of the bytes in C order) and the moments `mean`, `std`, `min`, `max`
        over all elements; moments of nothing are NaN.

    Examples
    --------
    >>> found = summary(np.array([[0, 2], [4, 6]], np.uint8))
    >>> found["shape"], found["dtype"], found["mean"], found["max"]
    ([2, 2], 'uint8', 3.0, 6.0)
    """
    from hashlib import blake2b  # loads OpenSSL, which most apps that watch a model need not have

    contiguous = np.ascontiguousarray(array)
    moments = dict.fromkeys(("mean", "std", "min", "max"), float("nan"))
    if contiguous.size:
        with np.errstate(all="ignore"):
            moments = {
                "mean": float(contiguous.mean(dtype=np.float64)),
                "std": float(contiguous.std(dtype=np.float64)),
                "min": float(contiguous.min()),
                "max": float(contiguous.max()),
            }
    digest = blake2b(contiguous.data, digest_size=32).hexdigest()
    return {"shape": list(array.shape), "dtype": str(array.dtype), "hash": digest, **moments}
