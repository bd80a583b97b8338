"""Columns of the log or of a file as numbers, categories, times and texts: the reading half of what a value is.

A field is kept as what it happened to be: text in one envelope, plain containers in the next, an array of objects in
a file. Whoever compares such columns asks here, so that 1, 1.0, "1" and true are told apart or not by the field's kind
and never by the way it came. Missing is one thing: None, NaN, NA, NaT, null, an empty cell. What is of another kind
than the field counts as not finite: it is a value, but none that can be compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import inf, nan, prod
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from davy.event import Array, BlobRef, Column
from davy.fields.missing import is_missing
from davy.fields.times import seconds, since_epoch, spans

Floats: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = Literal["", "number", "truth"]
"""What the categories of a field are: names, whole numbers, or true and false."""

_TRUTH: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_TRUTHS: Final = (
    _TRUTH,
    *(
        {word: word == yes for yes, no in pairs for word in (yes, no)}
        for pairs in (
            (("yes", "no"), ("Yes", "No"), ("YES", "NO")),
            (("y", "n"), ("Y", "N")),
            (("t", "f"), ("T", "F")),
        )
    ),
)
_SPELT_TRUTH: Final = {text: meant for spelling in _TRUTHS for text, meant in spelling.items()}
_DAY: Final = 86_400.0
_CLOCK: Final = re.compile(r"(?:(-?\d+) days?(?:,? \+?|$))?(?:(\d{1,2}):(\d{2})(?::(\d{2}(?:[.,]\d+)?))?)?")
_HEADER: Final = re.compile(
    r"([A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}(:\d{2})? ([+-]\d{4}|GMT|UTC?|Z|[ECMP][SD]T)"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ORDINAL: Final = date(1970, 1, 1).toordinal()
_UNITS: Final = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (inf, 1e9))
"""Up to which size a number that means a moment counts seconds, milliseconds, microseconds, nanoseconds."""


def is_absent(value: Any) -> bool:
    """Whether a value of a column is missing; empty text is, as a file has no other way to say it."""
    return not value if type(value) is str else is_missing(value)


def rows_of(column: Column) -> list[Any]:
    """Return the values as Python objects, None where one is marked missing."""
    values = column.values
    rows = list(values) if values.ndim > 1 else values.tolist()
    if values.dtype.kind in "mM":
        rows = list(values)
    if column.missing is None or not column.missing.any():
        return rows
    return [None if absent else row for row, absent in zip(rows, column.missing.tolist(), strict=True)]


def numbers(column: Column) -> Floats:
    """Return a column as numbers, shape ``(n,)``, float64: NaN where missing, infinite where a value is none.

    Text that spells a number is that number; a span of time is its seconds; an array of one is what it holds.

    Examples
    --------
    >>> numbers(Column(np.array([1, None, "2.5", "deep", float("nan")], object)))
    array([1. , nan, 2.5, inf, nan])
    """
    values = column.values
    if values.ndim > 1 and prod(values.shape[1:]) == 1:
        values = values.reshape(len(values))
    if values.dtype.kind == "m":
        values = spans(values)
    if values.ndim > 1 or values.dtype.kind == "M":
        return _masked(np.full(len(values), inf), column.missing)
    if values.dtype.kind in "biuf":
        return _masked(values, column.missing)
    return _each(_number, rows_of(Column(values, column.missing)))


def times(column: Column) -> Floats:
    """Return a column as moments, seconds since the epoch: NaN where missing, infinite where a value is no moment.

    Moments without a zone are read as UTC. A number counts seconds, or what smaller unit its size says.

    Examples
    --------
    >>> times(Column(np.array(["1970-01-02", "1970-01-01T01:00+01:00", None, "soon", 86400], object)))
    array([86400.,     0.,    nan,    inf, 86400.])
    """
    values = column.values
    if values.ndim == 1 and values.dtype.kind == "M":
        return _masked(since_epoch(values), column.missing)
    if values.ndim == 1 and values.dtype.kind in "iuf":
        return _masked(_from_epoch(values.astype(np.float64)), column.missing)
    if values.ndim > 1 or values.dtype.kind in "biuf":
        return _masked(np.full(len(values), inf), column.missing)
    return _each(_moment, rows_of(column))


def clocks(column: Column) -> Floats:
    """Return a column as times of day or spans, in seconds: NaN where missing, infinite where a value is none.

    Examples
    --------
    >>> clocks(Column(np.array(["00:01", "00:00:02.5", None, "noon"], object)))
    array([60. ,  2.5,  nan,  inf])
    """
    values = column.values
    if values.ndim == 1 and values.dtype == object:
        return _each(_clock, rows_of(column))
    return numbers(column)


def header_moment(text: str) -> datetime | None:
    """Return the moment that text means in the manner of headers of HTTP and mail, RFC 2822; None where it means none.

    Examples
    --------
    >>> header_moment("Sat, 28 Nov 2026 10:00:00 GMT").isoformat(), header_moment("Sat, 31 Nov 2026 10:00:00 GMT")
    ('2026-11-28T10:00:00+00:00', None)
    """
    if not _HEADER.fullmatch(text):
        return None
    from email.utils import parsedate_to_datetime  # its package is large, and hardly any field is spelt so

    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None


def truths(texts: Iterable[str]) -> list[bool] | None:
    """Return what texts that spell truth mean, all in one manner of spelling; None where they do not.

    Examples
    --------
    >>> truths(["yes", "No"]), truths(["T", "F"]), truths(["yes", "f"]), truths(["F", "M"])
    ([True, False], [True, False], None, None)
    """
    given = list(texts)
    spelling = next((each for each in _TRUTHS if each.keys() >= set(given)), None)
    return None if spelling is None else [spelling[text] for text in given]


def spells_clock(text: str) -> bool:
    """Whether text is a time of day or a span of time, as Python, pandas and ISO 8601 write them.

    Examples
    --------
    >>> [spells_clock(text) for text in ("12:30", "0:00:01.5", "2 days 01:00:00", "1 day, 0:00:00", "noon", "")]
    [True, True, True, True, False, False]
    """
    return bool(text) and _CLOCK.fullmatch(text) is not None


def categories(column: Column, codes: Codes = "") -> Array:
    """Return a column as names of categories: an object array of text, None where missing.

    Parameters
    ----------
    column
        Anything the log or a file holds.
    codes
        What the field's categories are, where they are more than names: of whole numbers 1, 1.0, "1" and true are one;
        of truth values true, "True", "yes", 1 and "1" are.

    Examples
    --------
    >>> categories(Column(np.array([1, 1.0, "1", True, None], object)), "number").tolist()
    ['1', '1', '1', '1', None]
    >>> categories(Column(np.array([2.0, np.nan]))).tolist()
    ['2', None]
    """
    values = column.values
    if values.ndim > 1 and prod(values.shape[1:]) == 1:
        values = values.reshape(len(values))
    if values.ndim == 1 and values.dtype.kind in "biufM":
        distinct, places = np.unique(values, return_inverse=True)
        found = _objects([_key(value, codes) for value in distinct.tolist()])[places]
        if column.missing is not None and column.missing.any():
            found[column.missing] = None
        return found
    rows = rows_of(Column(values, column.missing))
    if codes == "" and set(map(type, rows)) <= {str, type(None)}:
        return _objects([row or None for row in rows])
    return _objects([_key(row, codes) for row in rows])


def texts(column: Column, *, empty: bool = False) -> list[str | None]:
    """Return a column as texts, None where missing: a list of texts is joined, other containers become JSON.

    `empty` says that empty text is a text, as an answer may be.

    Examples
    --------
    >>> texts(Column(np.array(["why?", None, {"role": "user"}, 3.0, ""], object)))
    ['why?', None, '{"role": "user"}', '3', None]
    """
    rows = rows_of(column)
    if empty:
        return [row if type(row) is str else _text(row) for row in rows]
    return [row or None if type(row) is str else _text(row) for row in rows]


def vectors(column: Column, width: int | None = None) -> NDArray[np.floating[Any]] | None:
    """Return a column as vectors of one width, shape ``(n, width)``: NaN in rows that have none of this width.

    Axes of one are nothing, so a row of shape (1, d) is of shape (d,). Without `width` the one that most rows have is
    taken; None when these are fewer than half of what is there. Single and double precision are kept.

    Examples
    --------
    >>> ragged = np.empty(3, object)
    >>> ragged[:] = [np.ones(2), np.ones((1, 2)), np.ones(3)]
    >>> vectors(Column(ragged))
    array([[ 1.,  1.],
           [ 1.,  1.],
           [nan, nan]])
    """
    values, missing = column.values, column.missing
    if values.dtype != object:
        return _matrix(values, width, missing)
    rows = [vector(row) for row in rows_of(column)]
    widths = [len(row) for row in rows if row is not None]
    if width is None:
        if not widths:
            return None
        width = max(set(widths), key=widths.count)
        present = sum(not is_absent(row) for row in rows_of(column))
        if width == 0 or widths.count(width) * 2 < present:
            return None
    single = all(row.dtype.itemsize < np.dtype(np.float64).itemsize for row in rows if row is not None)
    found: NDArray[np.floating[Any]] = np.full((len(rows), width), nan, np.float32 if single else np.float64)
    for place, row in enumerate(rows):
        if row is not None and len(row) == width:
            found[place] = row
    return found


def vector(value: Any) -> Array | None:
    """Return one value as a vector of numbers, None when it is not one."""
    found = array_of(value)
    if found is None:
        return None
    longest = max(found.shape, default=0)
    return found.reshape(-1) if found.ndim and found.size == longest else None


def array_of(value: Any) -> Array | None:
    """Return an array or a list of numbers, gaps as NaN, as an array of numbers; None when it is something else."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biuf":
            return value
        value = value.tolist() if value.dtype == object else None
    if not isinstance(value, (list, tuple)):
        return None
    if not value:
        return np.empty(0)
    try:
        found = np.asarray(value)
        if found.dtype == object and not any(isinstance(item, (str, bytes)) for item in _leaves(value)):
            found = np.asarray(value, np.float64)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.dtype.kind in "biuf" else None


def nested_numbers(value: Any) -> Floats | None:
    """Return all numbers of lists in lists, of whatever lengths, as one vector, gaps as NaN; None where there is other.

    Examples
    --------
    >>> nested_numbers([[1, None], [2.5]]), nested_numbers([["a"], [1, 2]]), nested_numbers(3)
    (array([1. , nan, 2.5]), None, None)
    """
    if not isinstance(value, (list, tuple, np.ndarray)):
        return None
    leaves = list(_leaves(value))
    parts = [array_of(leaf if isinstance(leaf, np.ndarray) else [leaf]) for leaf in leaves]
    if any(part is None for part in parts):
        return None
    found: Floats = np.concatenate([np.empty(0), *(part.reshape(-1) for part in parts if part is not None)])
    return found


def _leaves(value: Iterable[Any]) -> Iterable[Any]:
    for item in value:
        if isinstance(item, (list, tuple)):
            yield from _leaves(item)
        else:
            yield item


def _matrix(
    values: Array, width: int | None, missing: NDArray[np.bool_] | None
) -> NDArray[np.floating[Any]] | None:
    long = [size for size in values.shape[1:] if size != 1]
    if values.dtype.kind not in "biuf" or values.ndim < 2 or len(long) > 1:
        return None if width is None else np.full((len(values), width), nan)
    found: NDArray[np.floating[Any]] = values.reshape(len(values), prod(values.shape[1:]))
    if found.shape[1] == 0 or (width is not None and found.shape[1] != width):
        return None if width is None else np.full((len(values), width), nan)
    if found.dtype not in (np.float32, np.float64):
        found = found.astype(np.float64)
    if missing is not None and missing.any():
        found = np.where(missing[:, None], found.dtype.type(nan), found)
    return found


def _masked(values: Array, missing: NDArray[np.bool_] | None) -> Floats:
    if missing is None or not missing.any():
        return values.astype(np.float64, copy=False)
    masked = values.astype(np.float64)
    masked[missing] = nan
    return masked


def _each(read: Callable[[Any], float], rows: list[Any]) -> Floats:
    return np.fromiter(map(read, rows), np.float64, len(rows))


def _objects(rows: list[Any]) -> Array:
    found = np.empty(len(rows), object)
    found[:] = rows
    return found


def _number(value: Any) -> float:
    kind = type(value)
    if kind is float:
        return value  # type: ignore[no-any-return]
    if kind is str:
        return _spelt(value)
    if is_absent(value):
        return nan
    if isinstance(value, (int, float, np.number, np.bool_, Decimal)):
        try:
            return float(value)
        except OverflowError:
            return inf
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, np.timedelta64):
        return seconds(value)
    single = array_of(value)
    return float(single.reshape(-1)[0]) if single is not None and single.size == 1 else inf


def _spelt(text: str) -> float:
    if not text or text.isspace():
        return nan
    truth = _TRUTH.get(text)
    if truth is not None:
        return float(truth)
    try:
        return float(text)
    except ValueError:
        found = _CLOCK.fullmatch(text)
        return inf if found is None else _spelt_clock(found)


def _moment(value: Any) -> float:
    if type(value) is str:
        return _spelt_moment(value) if value else nan
    if is_absent(value):
        return nan
    if isinstance(value, datetime):
        return _since_epoch(value)
    if isinstance(value, date):
        return (value.toordinal() - _ORDINAL) * _DAY
    if isinstance(value, np.datetime64):
        return float(since_epoch(np.array([value]))[0])
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return float(_from_epoch(np.array([float(value)]))[0])
    return inf


def _spelt_moment(text: str) -> float:
    try:
        return _since_epoch(datetime.fromisoformat(text))
    except ValueError:
        found = header_moment(text)
    if found is not None:
        return _since_epoch(found)
    number = _spelt(text)
    return number if number != number else float(_from_epoch(np.array([number]))[0])


def _since_epoch(moment: datetime) -> float:
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH).total_seconds()


def _from_epoch(values: Floats) -> Floats:
    size = np.abs(values)
    places = np.searchsorted([most for most, _ in _UNITS[:-1]], size, side="right")
    found: Floats = values / np.array([scale for _, scale in _UNITS])[places]
    return found


def _clock(value: Any) -> float:
    if isinstance(value, time):
        return value.hour * 3600.0 + value.minute * 60.0 + value.second + value.microsecond * 1e-6
    if isinstance(value, timedelta):
        return value.total_seconds()
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    return _number(value) if found is None or not value else _spelt_clock(found)


def _spelt_clock(found: re.Match[str]) -> float:
    days, hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in found.groups())
    return days * _DAY + hours * 3600.0 + minutes * 60.0 + seconds


def _key(value: Any, codes: Codes) -> str | None:
    if is_absent(value):
        return None
    if codes == "truth":
        return _truth(value)
    if codes == "number":
        number = _number(value)
        if number in (inf, -inf) and isinstance(value, str):
            return value
        return _number_key(number)
    return _name(value)


def _truth(value: Any) -> str:
    known = _SPELT_TRUTH.get(value) if isinstance(value, str) else None
    number = _number(value) if known is None else float(known)
    return "true" if number == 1.0 else "false" if number == 0.0 else str(_name(value))


def _name(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating, Decimal)):
        return _number_key(float(value))
    return _text(value) or ""


def _number_key(number: float) -> str:
    """Spell a number alike whether it was kept in single or in double precision."""
    if number in (inf, -inf):
        return "not finite"
    return str(int(number)) if number == int(number) else f"{number:.7g}"


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if is_absent(value):
        return None
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, (bool, int, float, np.generic, Decimal)):
        return _name(value.item() if isinstance(value, np.generic) else value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, BlobRef):
        return value.media_type
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=_jsonable)
    except (TypeError, ValueError):  # keys of several kinds
        return repr(value)


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    return _text(value)
