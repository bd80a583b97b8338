"""What is monitored of arrays and pictures, in a few numbers each: the same for whoever works it out.

Detectors measure what travels inline, the SDK's sender what it stores apart or summarises, so that a stream is the same
whatever way its values came. Everything here is vectorised over the first axis, the inferences.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from davy.event import Array, BlobRef, Summary

Floats: TypeAlias = NDArray[np.float64]
VECTOR: Final = ("mean", "sd", "norm")
IMAGE: Final = ("brightness", "contrast", "sharpness", "minimum", "maximum")
BOX: Final = 4
WIDE_ROWS: Final = 16
"""The most columns of a matrix that may be rows of one kind, such as boxes or points."""
COMPONENTS: Final = 256
"""The longest vector of inputs each of whose numbers is watched."""
_BLOCK: Final = 2**20
_CHANNELS: Final = 4


def of_arrays(values: Array) -> dict[str, Floats]:
    """Return mean, standard deviation and norm over all axes but the first, each of shape ``(n,)``."""
    flat = values.reshape(len(values), prod(values.shape[1:]))
    if flat.shape[1] == 0:
        return {name: np.full(len(flat), np.nan) for name in VECTOR}
    with np.errstate(invalid="ignore", over="ignore"):
        if flat.size <= _BLOCK:
            numbers = flat.astype(np.float64, copy=False)
            square = np.einsum("ij,ij->i", numbers, numbers)
            return {"mean": numbers.mean(axis=1), "sd": numbers.std(axis=1), "norm": np.sqrt(square)}
        mean = flat.mean(axis=1, dtype=np.float64)
        spread, square = np.zeros(len(flat)), np.zeros(len(flat))
        step = max(1, _BLOCK // len(flat))
        for start in range(0, flat.shape[1], step):
            part = flat[:, start : start + step].astype(np.float64)
            square += np.einsum("ij,ij->i", part, part)
            part -= mean[:, None]
            spread += np.einsum("ij,ij->i", part, part)
        return {"mean": mean, "sd": np.sqrt(spread / flat.shape[1]), "norm": np.sqrt(square)}


def of_pictures(values: Array) -> dict[str, Floats]:
    """Return brightness, contrast, sharpness, minimum and maximum of pictures, each of shape ``(n,)``.

    Brightness and contrast are mean and standard deviation, sharpness the mean step between neighbours, over all
    channels but that of transparency. Infinite where these are no pictures.
    """
    found = as_channels(values)
    return {name: np.full(len(values), np.inf) for name in IMAGE} if found is None else of_channels(found)


def of_channels(found: Array) -> dict[str, Floats]:
    """Return what `of_pictures` does of pictures ``(n, channels, height, width)``, or of parts of them as channels."""
    pixels = found.astype(np.float32 if found.dtype.itemsize <= 4 else np.float64, copy=False)
    with np.errstate(invalid="ignore", over="ignore"):
        edges = [_step(pixels, axis) for axis in (2, 3) if pixels.shape[axis] > 1]
        moments = of_arrays(pixels)
        return {
            "brightness": moments["mean"],
            "contrast": moments["sd"],
            "sharpness": sum(edges, np.zeros(len(pixels))) / max(len(edges), 1),
            "minimum": pixels.min(axis=(1, 2, 3)).astype(np.float64),
            "maximum": pixels.max(axis=(1, 2, 3)).astype(np.float64),
        }


def as_channels(values: Array) -> Array | None:
    """Return pictures as ``(n, channels, height, width)``, whatever the order of their axes; None for no pictures.

    Axes of one are nothing. Of pixels that are whole numbers, with a sign as JSON has them or without, a second and a
    fourth channel are transparency, and left out.

    Examples
    --------
    >>> [as_channels(np.zeros((5, *shape), "u1")).shape for shape in ((3, 8, 9), (8, 9, 4), (1, 8, 9), (1, 3, 8, 9))]
    [(5, 3, 8, 9), (5, 3, 8, 9), (5, 1, 8, 9), (5, 3, 8, 9)]
    """
    if values.ndim < 3 or not values.size:
        return None
    shape = _long(values.shape[1:])
    found = values.reshape(len(values), *shape)
    if len(shape) <= 2:
        return found.reshape(len(values), 1, *(1,) * (2 - len(shape)), *shape)
    if len(shape) > 3:
        return found.reshape(len(values), prod(shape[:-2]), *shape[-2:])
    if channel_axis(shape) == 2:
        found = np.moveaxis(found, 3, 1)
    clear = found.dtype.kind in "iu" and found.shape[1] in {2, 4}
    return found[:, :-1] if clear else found


def blocks(picture: Array, most_bytes: int) -> Array:
    """Return blocks of two by two pixels on a regular grid over a picture: a view of so many bytes, with five axes.

    They are ``(channels, grid rows, 2, grid columns, 2)``. Neighbours stay neighbours: so the blocks of a picture are
    as bright, as rich in contrast and as sharp as the picture.
    """
    found = as_channels(picture[None])
    planes = np.empty((1, 1, 1)) if found is None else found[0]
    channels, *sides = planes.shape
    step = int(np.ceil(max(1.0, planes.nbytes / max(most_bytes, 1)) ** 0.5))
    whole = [max(1, side // 2) for side in sides]
    pixels = [min(2, side) for side in sides]
    cut = planes[:, : whole[0] * pixels[0], : whole[1] * pixels[1]]
    grid = cut.reshape(channels, whole[0], pixels[0], whole[1], pixels[1])
    # As far from one edge as the last one is from the other.
    rows, columns = (slice((count - 1) % step // 2, None, step) for count in whole)
    return grid[:, rows, :, columns]


def of_blocks(part: Array) -> dict[str, Floats]:
    """Return what `of_pictures` does of one picture, of its `blocks`."""
    channels, rows, height, columns, width = part.shape
    apart = part.transpose(0, 1, 3, 2, 4).reshape(1, channels * rows * columns, height, width)
    return of_channels(apart)


def channel_axis(shape: tuple[int, ...]) -> int:
    """Return which of three axes is that of the channels, 0 or 2: the short one, else the one that is not a side.

    Examples
    --------
    >>> channel_axis((3, 8, 8)), channel_axis((8, 8, 3)), channel_axis((64, 32, 32)), channel_axis((32, 32, 64))
    (0, 2, 0, 2)
    """
    first, second, third = shape
    if first <= _CHANNELS or third <= _CHANNELS:
        return 0 if first <= _CHANNELS < third else 2
    if second == third or first == second:
        return 0 if second == third else 2
    return 0 if first <= third else 2


def is_picture(shape: tuple[int, ...]) -> bool:
    """Return whether an array of this shape is watched as a picture: two axes, or three, but for axes of one."""
    return len(_long(shape)) in {2, 3}


def of_rows(rows: list[Array], width: int) -> Floats:
    """Return, of matrices with rows of `width` numbers, none of them empty, the means of the columns.

    Rows of four have two more: the mean square root of the area of a box, told by two corners, and by a corner, a width
    and a height. Shape ``(n, width)`` or ``(n, width + 2)``.
    """
    joined = np.concatenate(rows).astype(np.float64, copy=False)
    if width == BOX:
        sides = [sizes(joined, corners=corners) for corners in (True, False)]
        joined = np.column_stack([joined, *sides])
    counts = np.array([len(row) for row in rows])
    means: Floats = np.add.reduceat(joined, np.cumsum(counts) - counts, axis=0) / counts[:, None]
    return means


def sizes(boxes: Floats, *, corners: bool) -> Floats:
    """Return the square root of the area of each box, shape ``(n,)``."""
    sides = boxes[:, 2:] - boxes[:, :2] if corners else boxes[:, 2:]
    with np.errstate(invalid="ignore"):
        roots: Floats = np.sqrt(np.abs(sides[:, 0] * sides[:, 1]))
    return roots


def of_one(array: Array, *, parts: bool = True) -> dict[str, Any]:
    """Return what is said of one array that is stored apart: shape, dtype and all that may be monitored of it.

    What the field's other values are decides later which of these are watched. With `parts`, also the numbers of a
    short vector, which a summary does not tell.

    Examples
    --------
    >>> found = of_one(np.zeros((2, 3), np.uint8) + 4)
    >>> found["shape"], found["mean"], found["brightness"], found["rows"]
    ([2, 3], 4.0, 4.0, [4.0, 4.0, 4.0])
    """
    found: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype), "length": array.size}
    if array.dtype.kind not in "biuf":
        return found
    whole = array[None]
    found |= {name: float(values[0]) for name, values in of_arrays(whole).items()}
    if is_picture(array.shape) and array.size:
        found |= {name: float(values[0]) for name, values in of_pictures(whole).items()}
    if array.ndim == 2 and array.size and array.shape[1] <= WIDE_ROWS:
        found |= {"count": len(array), "rows": of_rows([array], array.shape[1])[0].tolist()}
    if parts and 0 < array.size == max(array.shape, default=0) <= COMPONENTS:
        found["parts"] = array.reshape(-1).astype(np.float64).tolist()
    return found


def distinct(values: Array) -> Array:
    """Return the numbers that occur, in order, as ``np.unique`` does, which imports masked arrays.

    An import on the sender's thread, at the moment of a fork, leaves the child without that module for good.
    """
    found = np.sort(values, axis=None)
    first = np.ones(found.shape, bool)
    np.not_equal(found[1:], found[:-1], out=first[1:])
    return np.asarray(found[first])


def about_of(value: Any) -> Mapping[str, Any] | None:
    """Return what is said of a value that was stored apart or summarised; None for any other value."""
    if isinstance(value, BlobRef):
        return value.about or None
    return value if isinstance(value, Summary) else None


def like(about: Mapping[str, Any]) -> Array | None:
    """Return an array of the shape and dtype of a value that is not here, of zeros and without memory of its own."""
    shape, dtype = about.get("shape"), about.get("dtype")
    if not isinstance(shape, (list, tuple, np.ndarray)) or not isinstance(dtype, str):
        return None
    return np.broadcast_to(np.zeros((), dtype), tuple(map(int, shape)))


def _step(pixels: Array, axis: int) -> Floats:
    found: Floats = np.abs(np.diff(pixels, axis=axis)).mean(axis=(1, 2, 3), dtype=np.float64)
    return found


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
