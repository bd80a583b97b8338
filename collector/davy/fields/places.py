"""Dense answers: scores of classes at every place of a picture or a text, or the number of a class at each.

Of such an answer the class of each place is kept, and in few numbers how much of it each class has and how sure the
model was over all places. As in `davy.fields.measures`, everything is the same for whoever works it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from davy.event import Array, Column, Path
from davy.fields.measures import about_of, channel_axis, distinct
from davy.fields.reading import array_of, rows_of

_SECTIONS: Final = frozenset({"outputs", "alternatives"})
_SCORES: Final = ("logit", "prob", "score", "mask", "seg", "sem")
_MAPS: Final = ("label", "class", "mask", "seg", "sem", "pred")
_LEAST: Final = 8
"""A map of classes has at least so many places a side."""
_COARSEST: Final = 16
"""So many places along the longest side are taken of it, however much waits."""
_CLASSES: Final = 256
"""So many classes of a map of numbers are told by their areas; with more it is no map of classes."""
_PLACES: Final = 2**14
"""How sure a model was is worked out at so many places of a regular grid at least, if there are as many."""
_LIKE_A_PICTURE: Final = frozenset({1, 3, 4})
_ORDINARY: Final = (-1.001, 1.001), (0.0, 255.5)
SURE: Final = ("entropy", "entropy_high", "confidence", "confidence_low", "margin")


class PlaceAxes(NamedTuple):
    """How an array of one inference says something at every place: `axis` is that of the classes, None for a map."""

    axis: int | None


def places_of(path: Path, array: Array) -> PlaceAxes | None:
    """Return how an array is a dense answer; None for any other value.

    Floats of three axes are scores at the places of a picture, of two axes at those of a text. Of one, three or four
    channels, and of two axes, the name or the values must say so. Whole numbers of two axes are the classes themselves.

    Examples
    --------
    >>> places_of(("outputs", "value"), np.zeros((21, 64, 64), np.float32)).axis
    0
    >>> places_of(("outputs", "value"), np.zeros((64, 64), np.int64))
    PlaceAxes(axis=None)
    >>> places_of(("outputs", "value"), np.zeros((3, 64, 64), np.float32)) is None
    True
    """
    if path[0] not in _SECTIONS or not array.size:
        return None
    array, name = _squeezed(array), path[-1].lower()
    if "attention" in name:  # sums to one as well, and is no answer
        return None
    if array.dtype.kind in "bui":
        return PlaceAxes(None) if _is_map(array, name) else None
    if array.dtype.kind != "f" or array.ndim not in {2, 3}:
        return None
    if array.ndim == 2:
        named = any(part in name for part in _SCORES[:3])
        return PlaceAxes(1) if min(array.shape) > 1 and (named or _distributed(array, 1)) else None
    axis = channel_axis(array.shape) if _distribution_axis(array) is None else _distribution_axis(array)
    classes = array.shape[axis or 0]
    if array.size < _LEAST**2 * classes:
        return None
    if classes in _LIKE_A_PICTURE and not _says_so(array, name, axis or 0):
        return None
    return PlaceAxes(axis)


def class_map(array: Array, places: PlaceAxes) -> Array:
    """Return the number of the class of each place, in the smallest integers that hold all of them."""
    array = _squeezed(array)
    if places.axis is None:
        return _narrow(array)
    scores = np.moveaxis(array, places.axis, 0)
    if len(scores) == 1:
        return np.asarray(scores[0] > _threshold(scores[0]), np.uint8)
    if len(scores) > _CLASSES:
        return np.asarray(scores.argmax(axis=0).astype(np.min_scalar_type(len(scores) - 1)))
    best: Array = scores[0].copy()  # three times as fast as `argmax` across planes
    classes = np.zeros(best.shape, np.min_scalar_type(len(scores) - 1))
    for number in range(1, len(scores)):
        np.copyto(classes, number, where=scores[number] > best, casting="unsafe")
        np.maximum(best, scores[number], out=best)
    return classes


def of_places(array: Array, places: PlaceAxes, classes: Array | None = None) -> dict[str, Any]:
    """Return what is said of a dense answer.

    ``areas`` are the classes with their share of the places. Of scores also, over the places, ``confidence`` and
    ``entropy`` (nats) as means, ``confidence_low`` and ``entropy_high`` as the worst twentieth begins, and ``margin``,
    the mean distance between the two likeliest classes.
    """
    classes = class_map(array, places) if classes is None else classes
    found: dict[str, Any] = {"map": list(classes.shape), "areas": areas(classes)}
    if places.axis is not None:
        found |= _sureness(np.moveaxis(_squeezed(array), places.axis, 0))
    return found


def areas(classes: Array) -> dict[int, float]:
    """Return the share of the places that each class has, of those that are there.

    Examples
    --------
    >>> areas(np.array([[0, 0], [0, 7]]))
    {0: 0.75, 7: 0.25}
    """
    if classes.dtype == np.uint8:  # sorting takes ten times as long
        every = np.bincount(classes.reshape(-1))
        found = np.flatnonzero(every)
        counts = every[found]
    else:
        ordered = np.sort(classes, axis=None)
        found = distinct(ordered)
        counts = np.diff(np.searchsorted(ordered, found), append=classes.size)
    return dict(zip(found.tolist(), (counts / max(classes.size, 1)).tolist(), strict=True))


def coarse(array: Array, places: PlaceAxes, most_bytes: int) -> tuple[Array, int]:
    """Return every n-th place along each side, so that at most so many bytes are left, and n; a view."""
    array = _squeezed(array)
    sides = [axis for axis in range(array.ndim) if axis != places.axis]
    step, most = 1, max(most_bytes, 1)
    while array.nbytes / step ** len(sides) > most and step * _LEAST < max(
        array.shape[axis] for axis in sides
    ):
        step += 1
    return array[
        tuple(slice(None, None, step) if axis in sides else slice(None) for axis in range(array.ndim))
    ], step


def of_dense(path: Path, column: Column) -> list[Mapping[str, Any] | None]:
    """Return what is said of every dense answer of a column, None where there is none."""
    found: list[Mapping[str, Any] | None] = []
    for value in rows_of(column):
        about = about_of(value)
        if about is None:
            array = array_of(value)
            places = None if array is None else places_of(path, array)
            about = None if array is None or places is None else of_places(array, places)
        found.append(about if about is not None and is_about_places(about) else None)
    return found


def is_about_places(about: Mapping[str, Any]) -> bool:
    """Return whether what is said of a value is that of a dense answer."""
    return "areas" in about


def _sureness(scores: Array) -> dict[str, float]:
    """Work out how sure a model was, at the places of a grid; `scores` have the classes first."""
    sides = scores.shape[1:]
    step = max(1, int((np.prod(sides) / _PLACES) ** (1 / len(sides))))
    grid = scores[(slice(None), *[slice(None, None, step)] * len(sides))]
    with np.errstate(all="ignore"):
        probs = _probabilities(grid.reshape(len(grid), -1))
        entropy = -np.einsum("ij,ij->j", probs, np.log(np.maximum(probs, np.finfo(np.float32).tiny)))
        top, likeliest = probs.max(axis=0), probs.argmax(axis=0)
        probs[likeliest, np.arange(probs.shape[1])] = -1.0
        margin = top - probs.max(axis=0)
    return {
        "entropy": float(entropy.mean(dtype=np.float64)),
        "entropy_high": float(np.quantile(entropy, 0.95)),
        "confidence": float(top.mean(dtype=np.float64)),
        "confidence_low": float(np.quantile(top, 0.05)),
        "margin": float(margin.mean(dtype=np.float64)),
    }


def _probabilities(scores: Array) -> NDArray[np.float32]:
    """Return the probabilities of classes, ``(classes, places)``, in memory of their own: as they are or by softmax."""
    values = scores.astype(np.float32, copy=False)
    if len(values) == 1:
        inside = _within(values, 0.0, 1.0)
        yes = values[0] if inside else 1 / (1 + np.exp(-np.clip(values[0], -60, 60)))
        return np.stack([1 - yes, yes])
    if _within(values, 0.0, 1.001):
        total = values.sum(axis=0)
        if np.abs(total - 1).max() < 0.05:
            return np.asarray(values / np.maximum(total, np.finfo(np.float32).tiny))
    exponent: NDArray[np.float32] = np.exp(values - values.max(axis=0))
    exponent /= exponent.sum(axis=0)
    return exponent


def _is_map(array: Array, name: str) -> bool:
    if array.ndim != 2 or min(array.shape) < _LEAST:
        return False
    if array.dtype.kind == "b":
        return True
    some = _some(array, 64)
    least, most = int(some.min()), int(some.max())
    if least < -1 or most >= _CLASSES * _CLASSES:
        return False
    named = any(part in name for part in _MAPS)
    few = _CLASSES if named or array.dtype.itemsize > 1 else _CLASSES // 4  # pixels of a picture are bytes
    return len(distinct(some)) <= few


def _says_so(array: Array, name: str, axis: int) -> bool:
    """Return whether the name or the values of one, three or four channels say that these are scores of classes."""
    if any(part in name for part in _SCORES) or _distributed(array, axis):
        return True
    if array.shape[axis] == 1:
        return False
    some = _some(array, 64)
    least, most = float(some.min()), float(some.max())
    return not any(low <= least and most <= high for low, high in _ORDINARY)


def _distribution_axis(array: Array) -> int | None:
    if array.ndim != 3:
        return None
    return next((axis for axis in (0, 2) if _distributed(array, axis)), None)


def _distributed(array: Array, axis: int) -> bool:
    """Return whether the numbers along an axis are probabilities that sum to one, at some places of a grid."""
    if array.shape[axis] < 2:
        return False
    some = _some(array, 16, but=axis).astype(np.float64)
    return _within(some, 0.0, 1.001) and bool(np.abs(some.sum(axis=axis) - 1).max() < 0.02)


def _some(array: Array, most: int, but: int = -1) -> Array:
    """Return at most so many places a side: callers wait for what is decided by them."""
    steps = [1 if axis == but else -(-size // most) for axis, size in enumerate(array.shape)]
    return array[tuple(slice(None, None, step) for step in steps)]


def _within(values: Array, low: float, high: float) -> bool:
    return bool((values >= low).all() and (values <= high).all())


def _threshold(scores: Array) -> float:
    return 0.5 if _within(scores, 0.0, 1.0) else 0.0


def _squeezed(array: Array) -> Array:
    """Return an array without leading axes of one, but that of a single channel."""
    least = 2 if array.dtype.kind in "bui" else 3
    while array.ndim > least and array.shape[0] == 1:
        array = array[0]
    return array


def _narrow(array: Array) -> Array:
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    least, most = int(array.min()), int(array.max())
    kind = np.min_scalar_type(
        most if least >= 0 else -1 - max(most, -1 - least)
    )  # of a sign, what holds both ends
    return np.asarray(array.astype(kind, copy=False))
