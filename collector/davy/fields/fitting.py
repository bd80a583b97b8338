"""What a field is, decided once from many of its values: the kinds that reading, watching and showing go by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from math import prod
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from davy.event import Array, BlobRef, Column, Path
from davy.fields.encoded import is_encoded, of_encoded
from davy.fields.measures import WIDE_ROWS, about_of, is_picture, like
from davy.fields.places import is_about_places, places_of
from davy.fields.reading import (
    Codes,
    array_of,
    categories,
    header_moment,
    is_absent,
    nested_numbers,
    rows_of,
    spells_clock,
    truths,
    vector,
)

Form: TypeAlias = Literal[
    "number",
    "category",
    "time",
    "clock",
    "text",
    "identifier",
    "vector",
    "rows",
    "ragged",
    "nested",
    "image",
    "tensor",
    "bytes",
    "encoded",
    "places",
]
"""``identifier`` is text that names one thing: it says when that was made, or nothing. ``rows`` are matrices with any
number of rows of one width, such as boxes; ``ragged`` vectors of any width; ``nested`` lists of numbers in lists, of
several lengths, such as polygons, or pictures of several sizes; ``encoded`` the bytes of a picture's file;
``places`` dense answers, as `davy.fields.places` reads them."""

DISTINCT_NUMBERS: Final = 20
OFTEN: Final = 30
_MOSTLY: Final = 0.95
_IDENTIFIERS: Final = 200
"""Values from which on it is known that hardly any comes twice."""
_DISTINCT: Final = 0.98
_NUMBERED: Final = 0.8
_TOKEN: Final = re.compile(r"[!#-&*-;=?-Z\\^-z|~]+")
"""Visible ASCII but quotes and brackets, which are the signs of prose and of JSON."""
_NARROW: Final = 4
_SMALL: Final = 8
_PIXELS: Final = ((-5.0, 5.0), (0.0, 255.5))
_BOXES: Final = frozenset(
    {"boxes", "box", "bbox", "bboxes", "pred_boxes", "xyxy", "xywh", "rois", "bounding_boxes"}
)
_LOOKED_AT: Final = 32
_MATRIX: Final = 2
_NUMBER: Final = re.compile(r"[+-]?(0|[1-9]\d{0,14})?(\.\d*)?([eE][+-]?\d{1,3})?")
_CODE: Final = re.compile(r"[+-]?(0\d+|\d{16,})")
_DATE: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}(:?\d{2}){0,2}([.,]\d+)?)?\s?(Z|[+-]\d{2}(:?\d{2}){0,2})?"
)


@dataclass(frozen=True, slots=True)
class FieldKind:
    """What a field is.

    Attributes
    ----------
    form
        How its values are read.
    codes
        Of a category: whether its names are whole numbers, or true and false.
    width
        Of a vector, and of each of the rows of a matrix, how many numbers.
    listed
        Whether a value is a list of texts or of records, whose length is a number of its own.
    """

    form: Form
    codes: Codes = ""
    width: int = 0
    listed: bool = False


def kind_of(column: Column, path: Path = (), *, label: bool = False, rows: bool = False) -> FieldKind:
    """Decide what a field is.

    `path` says where it sits, for an answer may say something at every place, and boxes go by their name; `label` that
    whole numbers are names of classes however many there are; `rows` that what stands beside the field has a value for
    each row of its matrices.

    Examples
    --------
    >>> kind_of(Column(np.array(["2024-01-31", None, "2024-02-01T12:00Z"], object))).form
    'time'
    >>> kind_of(Column(np.array(["00123", "12345"] * 9, object))).form
    'category'
    >>> kind_of(Column(np.array(["12.5", "3"], object))).form
    'number'
    """
    if is_dense(path, column):
        return FieldKind("places")
    values, rows = column.values, rows or _is_called_boxes(path)
    if values.dtype != object:
        if values.ndim > 1:
            return _of_shape(column, label=label, rows=rows)
        return _of_array(values[column.present], label=label)
    present = [value for value in rows_of(column) if not is_absent(value)]
    return _of_objects(present, label=label, rows=rows)


def _is_called_boxes(path: Path) -> bool:
    return bool(path) and path[-1].rpartition(".")[2].lower() in _BOXES


def spells_numbers(texts: Sequence[str]) -> bool:
    """Whether texts are numbers written down, and none of them a code: zero-padded, or longer than a number holds.

    Examples
    --------
    >>> spells_numbers(["1", "2.5e3"]), spells_numbers(["007", "1"]), spells_numbers(["1234567890123456"])
    (True, False, False)
    """
    if any(_CODE.fullmatch(text) for text in texts):
        return False
    return _share(texts, lambda text: text not in {"", "+", "-", "."} and _NUMBER.fullmatch(text)) >= _MOSTLY


def spells_identifiers(texts: Sequence[str]) -> bool:
    """Whether texts are identifiers: hardly any comes twice, and nearly all are one token, with digits in most.

    Hashes, UUIDs, ULIDs, order numbers, signed tokens. What is in them says when they were made, or nothing.

    Examples
    --------
    >>> spells_identifiers([f"order-{number}" for number in range(200)]), spells_identifiers(["order-1"] * 200)
    (True, False)
    >>> spells_identifiers([f"order {number}" for number in range(200)])
    False
    """
    if len(texts) < _IDENTIFIERS or len(set(texts)) < _DISTINCT * len(texts):
        return False
    if _share(texts, _TOKEN.fullmatch) < _MOSTLY:
        return False
    return _share(texts, lambda text: any(map(str.isdigit, text))) >= _NUMBERED


def spells_moments(texts: Sequence[str]) -> bool:
    """Whether texts are dates or moments of ISO 8601, or moments as headers of HTTP and mail spell them."""
    return _share(texts, _is_moment) >= _MOSTLY


def is_dense(path: Path, column: Column) -> bool:
    """Return whether a field is a dense answer: most of its first values are, or are said to have been."""
    if (
        not path
        or path[0] != "outputs"
        or (column.values.dtype != object and column.values.ndim < _MATRIX + 1)
    ):
        return False
    first = Column(column.values[column.present][:_LOOKED_AT])
    rows = [value for value in rows_of(first) if not is_absent(value)]
    return sum(map(partial(_is_dense, path), rows)) > len(rows) / 2


def _is_dense(path: Path, value: Any) -> bool:
    about = about_of(value)
    if about is not None:
        return is_about_places(about)
    array = array_of(value)
    return array is not None and places_of(path, array) is not None


def _of_array(values: Array, *, label: bool) -> FieldKind:
    match values.dtype.kind:
        case "b":
            return FieldKind("category", "truth")
        case "M":
            return FieldKind("time")
        case "U" | "S":
            return _of_objects(values.tolist(), label=label)
        case "i" | "u":
            few = label or len(np.unique(values)) <= DISTINCT_NUMBERS
            return FieldKind("category", "number") if few else FieldKind("number")
    whole = (
        label and bool((values[np.isfinite(values)] % 1 == 0).all()) if values.dtype.kind == "f" else False
    )
    return FieldKind("category", "number") if whole and len(values) else FieldKind("number")


def _of_shape(column: Column, *, label: bool, rows: bool = False) -> FieldKind:
    """Decide what an array with a shape is: axes of one are nothing.

    As many rows as columns are rows all the same where something says so; a few numbers that are no pixels are none.
    """
    values, shape = column.values, column.values.shape[1:]
    if values.dtype.kind not in "biuf":
        return FieldKind("text")
    size = prod(shape)
    if size == 1:
        return _of_array(values.reshape(len(values))[column.present], label=label)
    if size == 0:
        return FieldKind("tensor")
    if max(shape) == size:
        return FieldKind("vector", width=size)
    narrow = len(shape) == _MATRIX and shape[1] <= _NARROW
    small = max(shape) <= _SMALL and values.dtype.kind == "f" and not _may_be_pixels(values[column.present])
    if narrow and (shape[0] != shape[1] or rows or small):
        return FieldKind("rows", width=shape[1])
    return FieldKind("image" if is_picture(shape) and not small else "tensor")


def _may_be_pixels(values: Array) -> bool:
    """Whether numbers lie from -1 to 1, from 0 to 255, or around 0 as of pictures that were standardised."""
    if not values.size or not np.isfinite(values).all():
        return True
    least, most = float(values.min()), float(values.max())
    return any(low <= least and most <= high for low, high in _PIXELS)


def _of_objects(present: list[Any], *, label: bool, rows: bool = False) -> FieldKind:
    families = Counter(map(_family, present))
    empty = families.pop("empty", 0)
    if not families:
        return FieldKind("ragged") if empty else FieldKind("category")
    family, count = families.most_common(1)[0]
    if count < _MOSTLY * families.total():
        alike = set(families) <= {"number", "text", "moment", "clock"}
        family = "text" if alike else "nested" if set(families) <= {"tensor", "nested"} else "records"
    match family:
        case "number":
            return _of_numbers([value for value in present if _family(value) == "number"], label=label)
        case "text":
            return _of_texts(present)
        case "moment":
            return FieldKind("time")
        case "clock":
            return FieldKind("clock")
        case "bytes":
            pictures = sum(map(_is_file_of_a_picture, present))
            return FieldKind("encoded" if pictures >= _MOSTLY * len(present) else "bytes")
        case "nested":
            return FieldKind("nested")
        case "tensor":
            even = _even(present)
            if even is not None:
                return _of_shape(Column(even), label=label, rows=rows)
            return _of_arrays([array for array in map(_array_like, present) if array is not None])
    found = _words(Column(_objects(present)))
    return FieldKind(found.form, listed=True)


def _array_like(value: Any) -> Array | None:
    """Return an array, or one like the array that a reference or a summary stands for."""
    about = about_of(value)
    return array_of(value) if about is None else like(about)


def _even(present: list[Any]) -> Array | None:
    """Return what arrays of one shape, some of them stored elsewhere, would be as one array; None for others."""
    arrays = [each for each in map(_array_like, present) if each is not None]
    if not any(about_of(value) is not None for value in present) or len(arrays) < len(present):
        return None
    shapes = {array.shape for array in arrays}
    dtype = np.result_type(*{array.dtype for array in arrays})
    return np.broadcast_to(np.zeros((), dtype), (len(arrays), *shapes.pop())) if len(shapes) == 1 else None


def _is_file_of_a_picture(value: Any) -> bool:
    """Return whether a value is a picture's file whose pixels can be read, or could."""
    if isinstance(value, BlobRef):
        return value.media_type.startswith("image/") and "brightness" in value.about
    return is_encoded(value) and "brightness" in of_encoded(bytes(value), load=True)


def _family(value: Any) -> str:
    if about_of(value) is not None and _array_like(value) is not None:
        return "tensor"
    if isinstance(value, str):
        return "text"
    if isinstance(value, (bool, int, float, np.number, np.bool_, Decimal, timedelta, np.timedelta64)):
        return "number"
    if isinstance(value, (bytes, bytearray, BlobRef)):
        return "bytes"
    if isinstance(value, (datetime, date, np.datetime64)):
        return "moment"
    if isinstance(value, time):
        return "clock"
    array = array_of(value)
    if array is not None:
        return "tensor" if array.size else "empty"
    return "nested" if nested_numbers(value) is not None else "records"


def _of_numbers(present: list[Any], *, label: bool) -> FieldKind:
    if all(isinstance(value, (bool, np.bool_)) for value in present):
        return FieldKind("category", "truth")
    whole = all(isinstance(value, (int, np.integer, np.bool_)) for value in present)
    if whole and (label or len(set(map(int, present))) <= DISTINCT_NUMBERS):
        return FieldKind("category", "number")
    return FieldKind("number")


def _of_texts(present: list[Any]) -> FieldKind:
    texts = [value if isinstance(value, str) else str(value) for value in present]
    if truths(texts) is not None:
        return FieldKind("category", "truth")
    if spells_numbers(texts):
        numbers = [text for text in texts if _NUMBER.fullmatch(text)]
        whole = all(text.lstrip("+-").isdigit() for text in numbers)
        few = whole and len(set(texts)) <= DISTINCT_NUMBERS
        return FieldKind("category", "number") if few else FieldKind("number")
    if spells_moments(texts):
        return FieldKind("time")
    if _share(texts, spells_clock) >= _MOSTLY:
        return FieldKind("clock")
    found = _words(Column(_objects(present)))
    return FieldKind("identifier") if found.form == "text" and spells_identifiers(texts) else found


def _words(column: Column) -> FieldKind:
    """Return the kind of texts, categories or free text: the 30 most frequent of categories are half of all."""
    often = Counter(categories(column).tolist())
    few = sum(count for _, count in often.most_common(OFTEN)) * 2 >= often.total()
    return FieldKind("category" if few else "text")


def _of_arrays(arrays: list[Array]) -> FieldKind:
    filled = [array for array in arrays if array.size]
    shapes = [array.shape for array in filled]
    matrices = [shape for shape in shapes if len(shape) == _MATRIX]
    narrow = {shape[1] for shape in matrices}
    several = any(shape[0] != 1 for shape in matrices) or (matrices and len(filled) < len(arrays))
    if len(matrices) == len(shapes) and several and len(narrow) == 1 and max(narrow) <= WIDE_ROWS:
        return FieldKind("rows", width=max(narrow))
    flat = [row for row in map(vector, filled) if row is not None]
    if len(flat) >= _MOSTLY * len(filled):
        width, count = Counter(map(len, flat)).most_common(1)[0]
        same = count >= _MOSTLY * len(arrays)
        return FieldKind("vector", width=width) if same and width > 1 else FieldKind("ragged")
    return FieldKind("image" if all(map(is_picture, shapes)) else "ragged")


def _is_moment(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return header_moment(text) is not None
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _share(texts: Sequence[str], test: Any) -> float:
    return sum(1 for text in texts if test(text)) / max(len(texts), 1)


def _objects(rows: list[Any]) -> Array:
    found = np.empty(len(rows), object)
    found[:] = rows
    return found
