"""Arrays of a field in a few numbers an inference: vectors, matrices with any number of rows, images, dense answers.

What is worked out of an array is said in `davy.fields.measures` and `davy.fields.places`; here it is for columns, whose
values may be arrays, references to arrays that lie elsewhere, or summaries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from davy.event import Array, BlobRef, Column
from davy.fields.encoded import is_encoded, of_encoded
from davy.fields.measures import BOX, IMAGE, VECTOR, about_of, is_picture, of_arrays, of_pictures
from davy.fields.measures import of_rows as means_of_rows
from davy.fields.places import SURE
from davy.fields.reading import array_of, is_absent, nested_numbers, rows_of
from davy_detectors.batch import Floats

RAGGED: Final = (*VECTOR, "length")
AREAS: Final = 256
"""The most classes of a dense answer whose areas are watched one by one."""
OTHER: Final = "other"


def of_vectors(column: Column) -> dict[str, Floats]:
    """Return mean, standard deviation and norm of arrays of one shape, over all axes but the first."""
    values = column.values
    if values.dtype == object:
        ragged = of_ragged(column)
        return {name: ragged[name] for name in VECTOR}
    return _marked(of_arrays(values), column.missing)


def of_ragged(column: Column) -> dict[str, Floats]:
    """Return mean, standard deviation, norm and length of vectors of any width; gaps inside one do not count."""
    if column.values.dtype != object:
        size = int(np.prod(column.values.shape[1:]))
        lengths = {"length": np.full(len(column.values), float(size))}
        return of_vectors(column) | _marked(lengths, column.missing)
    rows = [_flat(value) for value in rows_of(column)]
    sums = _Sums(rows)
    mean = sums.mean(lambda values: values)
    spread = sums.mean(lambda values: (values - np.repeat(mean, sums.sizes)) ** 2)
    square = sums.mean(np.square)
    with np.errstate(invalid="ignore"):
        norm = np.sqrt(square * sums.counts)
    found = {"mean": mean, "sd": np.sqrt(spread), "norm": norm, "length": sums.sizes.astype(np.float64)}
    return _told(_odd(found, rows, rows_of(column)), rows_of(column))


def of_nested(column: Column) -> dict[str, Floats]:
    """Return what `of_ragged` does of all numbers of lists in lists, and how many lists there are."""
    values = rows_of(column)
    flat = [value if about_of(value) is not None else nested_numbers(value) for value in values]
    given = np.empty(len(values), object)
    given[:] = [value if numbers is None else numbers for value, numbers in zip(values, flat, strict=True)]
    counts = np.fromiter(map(_count, values, flat), np.float64, len(values))
    return of_ragged(Column(given)) | {"count": counts}


def _count(value: Any, numbers: Any) -> float:
    if numbers is None:
        return np.nan if is_absent(value) else np.inf
    about = about_of(value)
    return float(len(value) if about is None else next(iter(about.get("shape", ())), 1))


def of_rows(column: Column, width: int, *, corners: bool) -> dict[str, Floats]:
    """Return, of matrices with any number of rows, how many there are and the mean of each of `width` columns.

    Rows of four also have a size, the mean square root of the area of a box: of two corners, or of a corner, a width
    and a height. Without rows there is a count and nothing else.
    """
    rows = [_matrix(value, width) for value in rows_of(column)]
    filled = [row for row in rows if row is not None and len(row)]
    counts = np.fromiter((np.nan if row is None else len(row) for row in rows), np.float64, len(rows))
    names = [f"[{j}]" for j in range(width)] + ([".size"] if width == BOX else [])
    means = np.full((len(rows), len(names)), np.nan)
    chosen = [*range(width), *([width if corners else width + 1] if width == BOX else [])]
    if filled:
        means[counts > 0] = means_of_rows(filled, width)[:, chosen]
    found = _odd({".count": counts, **dict(zip(names, means.T, strict=True))}, rows, rows_of(column))
    for place, about in _abouts(rows_of(column)):
        told = about.get("rows", ())
        fits = len(told) > max(chosen)
        found[".count"][place] = about.get("count", np.inf) if fits else np.inf
        for name, which in zip(names, chosen, strict=True):
            found[name][place] = told[which] if fits else np.inf
    return found


def has_corners(column: Column) -> bool:
    """Whether rows of four are two corners: of nearly all, the second lies beyond the first."""
    filled = [
        row for row in (_matrix(value, BOX) for value in rows_of(column)) if row is not None and len(row)
    ]
    if not filled:
        return True
    boxes = np.concatenate(filled)
    return bool(((boxes[:, 2] >= boxes[:, 0]) & (boxes[:, 3] >= boxes[:, 1])).mean() >= 0.99)


def of_images(column: Column) -> dict[str, Floats]:
    """Return brightness, contrast, sharpness, minimum and maximum of pictures, of one size or of any."""
    values = column.values
    if values.dtype != object:
        return _marked(of_pictures(values), column.missing)
    rows = [_picture(value) for value in rows_of(column)]
    found = np.full((len(rows), len(IMAGE)), np.nan)
    for shape in {row.shape for row in rows if row is not None}:
        places = [place for place, row in enumerate(rows) if row is not None and row.shape == shape]
        summaries = of_pictures(np.stack([rows[place] for place in places]))  # type: ignore[misc]
        found[places] = np.stack([summaries[name] for name in IMAGE], axis=1)
    given = rows_of(column)
    return _told(_odd(dict(zip(IMAGE, found.T, strict=True)), rows, given), given)


def of_encoded_images(column: Column) -> dict[str, Floats]:
    """Return the length of pictures' files and what is monitored of pictures; of one that cannot be read the length."""
    rows = rows_of(column)
    read = [of_encoded(bytes(row), load=True) if is_encoded(row) else about_of(row) for row in rows]
    found = {"length": lengths(column)}
    for name in IMAGE:
        found[name] = np.array([np.nan if each is None else each.get(name, np.nan) for each in read])
        other = [place for place, row in enumerate(rows) if read[place] is None and not is_absent(row)]
        found[name][other] = np.inf
    return found


def classes_of(read: Iterable[Mapping[str, Any] | None]) -> tuple[int, ...]:
    """Return the classes that dense answers have, in order; none where there are more than `AREAS`, as of words."""
    found = {int(number) for about in read if about is not None for number in about["areas"]}
    return tuple(sorted(found)) if len(found) <= AREAS else ()


def of_places_read(
    read: Sequence[Mapping[str, Any] | None], column: Column, classes: Sequence[int]
) -> dict[str, Floats]:
    """Return the area of each of some classes, that of all others, and how sure the model was, as columns."""
    given = rows_of(column)
    blank = np.array([np.nan if is_absent(value) else np.inf for value in given])
    areas = np.repeat(blank[:, None], len(classes) + 1, axis=1)
    index = {number: place for place, number in enumerate(classes)}
    sure = {name: blank.copy() for name in SURE if any(each and name in each for each in read)}
    for row, about in enumerate(read):
        if about is None:
            continue
        areas[row] = 0.0
        for number, share in about["areas"].items():
            areas[row, index.get(int(number), -1)] += share
        for name, values in sure.items():
            values[row] = about.get(name, np.nan)
    names = [*(f"area[{number}]" for number in classes), f"area[{OTHER}]"]
    return {**dict(zip(names, areas.T, strict=True)), **sure}


def lengths(column: Column) -> Floats:
    """Return how long values are: the bytes of a payload, the items of a list."""
    return np.fromiter(map(_length, rows_of(column)), np.float64, len(column.values))


def _length(value: Any) -> float:
    if value is None:
        return np.nan
    if isinstance(value, BlobRef):
        return float(value.length)
    if isinstance(value, (bytes, list, tuple, dict, np.ndarray)):
        return float(len(value))
    return np.nan if is_absent(value) else 1.0


class _Sums:
    """Vectors of any width side by side, and means over each."""

    def __init__(self, rows: list[Floats | None]) -> None:
        filled = [row for row in rows if row is not None]
        self.sizes = np.fromiter((0 if row is None else len(row) for row in rows), np.int64, len(rows))
        self._values = np.concatenate([*filled, np.empty(0)])
        self._known = ~np.isnan(self._values)
        self._filled = np.flatnonzero(self.sizes)
        self._starts = (np.cumsum(self.sizes) - self.sizes)[self._filled]
        self.counts = self._sum(self._known.astype(np.float64))

    def mean(self, of: Callable[[Floats], Floats]) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            found: Floats = self._sum(np.where(self._known, of(self._values), 0.0)) / self.counts
        return found

    def _sum(self, values: Floats) -> Floats:
        found = np.zeros(len(self.sizes))
        if len(self._filled):
            found[self._filled] = np.add.reduceat(values, self._starts)
        return found


def _flat(value: Any) -> Floats | None:
    found = array_of(value)
    return None if found is None else found.reshape(-1).astype(np.float64, copy=False)


def _matrix(value: Any, width: int) -> Array | None:
    found = array_of(value)
    if found is None:
        return None
    if found.size == 0:
        return np.empty((0, width))
    if found.ndim == 1 and len(found) == width:
        found = found[None, :]
    return found if found.ndim == 2 and found.shape[1] == width else None


def _picture(value: Any) -> Array | None:
    found = array_of(value)
    return found if found is not None and is_picture(found.shape) and found.size else None


def _marked(found: Mapping[str, Floats], missing: NDArray[np.bool_] | None) -> dict[str, Floats]:
    if missing is None or not missing.any():
        return dict(found)
    return {name: np.where(missing, np.nan, values) for name, values in found.items()}


def _odd(found: dict[str, Floats], rows: list[Any], values: list[Any] | None = None) -> dict[str, Floats]:
    """Mark what could not be read: missing where there was nothing, not finite where there was something else."""
    odd = [place for place, row in enumerate(rows) if row is None]
    if not odd:
        return found
    given = rows if values is None else values
    marks = [np.nan if is_absent(given[place]) else np.inf for place in odd]
    for summary in found.values():
        summary[odd] = marks
    return found


def _abouts(values: Sequence[Any]) -> Iterable[tuple[int, Mapping[str, Any]]]:
    return ((row, about) for row, value in enumerate(values) if (about := about_of(value)) is not None)


def _told(found: dict[str, Floats], values: Sequence[Any]) -> dict[str, Floats]:
    """Fill in what references and summaries say."""
    for row, about in _abouts(values):
        for name, column in found.items():
            column[row] = about.get(name, np.inf)
    return found
