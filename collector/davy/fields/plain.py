"""One value as it travels: numbers, booleans, text, bytes, arrays, and plain containers of these.

A converter is found once for every type and remembered. Types of other libraries are known by the name of the module
that defines them, so nothing is imported that the app has not imported.
"""

from __future__ import annotations

from array import array as packed
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice
from os import PathLike
from typing import Any, Final, TypeAlias, TypeVar
from uuid import UUID

import numpy as np

from davy.errors import InvalidInference
from davy.event import Array, BlobRef, Summary
from davy.fields.arrays import TENSORS, foreign_array, library_of, numeric, unmasked
from davy.fields.missing import is_marker, is_missing
from davy.fields.plumbing import is_plumbing, is_response
from davy.fields.times import moment_text, moment_texts, seconds, spans

T = TypeVar("T")
DEPTH: Final = 16
ITEMS: Final = 20_000
"""The most values that are looked at one by one within a single field, on the caller's thread."""
_LONGEST_RANGE: Final = 100_000
_SMALLEST, _LARGEST = -(2**63), 2**64


class Unfit(InvalidInference):
    """A value cannot travel; `reason` is the word under which that is counted."""

    def __init__(self, value: object, reason: str, remedy: str) -> None:
        super().__init__("value", type(value).__name__, remedy)
        self.reason = reason


class Budget:
    """How many values may still be looked at one by one, so that one field never holds the caller."""

    __slots__ = ("left",)

    def __init__(self, left: int = ITEMS) -> None:
        self.left = left


Converter: TypeAlias = Callable[[Any, int, Budget], Any]


def plain(value: Any, depth: int = 0, budget: Budget | None = None) -> Any:
    """Return what travels of a value: a scalar, text, bytes, an array, or a list or mapping of these.

    Raises
    ------
    Unfit
        The value is of a kind that does not travel, is nested too deeply, or is too large to look at.

    Examples
    --------
    >>> plain(Decimal("12.50")), plain(date(2026, 1, 2)), plain((1, "a")), plain(np.float32(0.5))
    (12.5, '2026-01-02', [1, 'a'], 0.5)
    """
    convert = _CONVERTERS.get(type(value))
    if convert is _same:
        return value
    if convert is None:
        convert = _converter(value)
    return convert(value, depth, Budget() if budget is None else budget)


def is_plain(value: Any) -> bool:
    """Whether a value travels as it is, by its type alone: a scalar, text, bytes or an array of a usual dtype."""
    return _CONVERTERS.get(type(value)) is _same or (type(value) is np.ndarray and value.dtype in TENSORS)


def is_named(value: Any) -> bool:
    """Whether a value is a named tuple: a tuple for Python, a record for everybody else."""
    return isinstance(value, tuple) and hasattr(type(value), "_fields")


def _same(value: Any, _depth: int, _budget: Budget) -> Any:
    return value


def _text(value: Any, _depth: int, _budget: Budget) -> str:
    return str.__str__(value)


def _whole(value: int, _depth: int, _budget: Budget) -> int | float:
    return int(value) if _SMALLEST <= value < _LARGEST else _float(value)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _number(value: Any, _depth: int, _budget: Budget) -> float | None:
    return None if is_missing(value) else _float(value)


def _spelt(value: Any, _depth: int, _budget: Budget) -> str:
    return str(value)


def _array(value: Array, depth: int, budget: Budget) -> Any:
    value = unmasked(value)
    if value.ndim == 0 and value.dtype.names is None:
        return plain(value[()], depth, budget)
    found = numeric(value)
    if found is not None:
        return found
    match value.dtype.kind:
        case "M":
            return _items(moment_texts(value.ravel()).reshape(value.shape).tolist(), depth, budget)
        case "m":
            return spans(value.ravel()).reshape(value.shape)
        case "c":
            raise Unfit(value, "complex", "send the real and the imaginary part, or the magnitude, as fields")
        case "O" | "U" | "S" | "T":
            return _items(value.tolist(), depth, budget)
    if value.dtype.names is not None:
        return _items([_row(row) for row in value.ravel()], depth, budget)
    raise Unfit(value, "type", f"arrays of {value.dtype} do not travel; send numbers or text")


def _row(value: Any) -> dict[str, Any]:
    return {name: value[name] for name in value.dtype.names}


def _generic(value: np.generic, depth: int, budget: Budget) -> Any:
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else moment_text(value)
    if isinstance(value, np.timedelta64):
        return None if np.isnat(value) else seconds(value)
    if isinstance(value, np.void):
        return _mapping(_row(value), depth, budget) if value.dtype.names else value.tobytes()
    if isinstance(value, np.longdouble):
        return float(value)
    return plain(value.item(), depth, budget)


def _items(value: Any, depth: int, budget: Budget) -> Any:
    if not len(value):
        return np.empty(0)
    if type(value) is list or type(value) is tuple:
        array = _numbers(value)
        if array is not None:
            return array
    if depth >= DEPTH:
        raise Unfit(value, "nesting", f"nested deeper than {DEPTH}, or cyclic")
    budget.left -= len(value)
    if budget.left < 0:
        raise _too_many(value)
    found = [plain(item, depth + 1, budget) for item in value]
    array = _numbers(found)  # of decimals or sets, say: what they became may be even
    return found if array is None else array


def _listed(value: Any, depth: int, budget: Budget) -> Any:
    return _object(value, depth, budget) if is_named(value) else _items(list(value), depth, budget)


def _counted(value: range, depth: int, budget: Budget) -> Any:
    """Convert a range, whose numbers are nowhere yet and may be more than there is room for."""
    if value[_LONGEST_RANGE : _LONGEST_RANGE + 1]:  # its length may be more than `len` can tell
        remedy = f"a range of more than {_LONGEST_RANGE} numbers; send its start, stop and step"
        raise Unfit(value, "size", remedy)
    return _items(list(value), depth, budget)


def _unordered(value: Any, depth: int, budget: Budget) -> Any:
    """Convert a set: its items in order, for their own differs from process to process."""
    try:
        return _items(sorted(value), depth, budget)
    except TypeError:  # items that do not compare
        return _items(sorted(value, key=repr), depth, budget)


def _numbers(value: list[Any] | tuple[Any, ...]) -> Array | None:
    """Return a list of numbers, nested evenly and with gaps as NaN, as an array; None when it is something else."""
    first: Any = value
    for _ in range(DEPTH):
        if type(first) not in {list, tuple}:
            break
        first = first[0] if first else 0.0
    if first is not None and not isinstance(first, (bool, int, float, np.ndarray, np.number, np.bool_)):
        return None
    try:
        array = np.asarray(value)
        if array.dtype == object:
            array = np.array(value, np.float64) if _only_gaps(array) else array
    except (ValueError, TypeError, OverflowError):  # rows of different lengths, or other values among them
        return None
    return array if array.dtype in TENSORS else None


def _only_gaps(array: Array) -> bool:
    """Whether numbers and gaps are all that is in an array of objects, and at least one number is."""
    kinds = set(map(type, array.ravel().tolist()))
    return (kinds <= {float, int, type(None)} and kinds != {type(None)} and int not in kinds) or kinds == {
        int,
        type(None),
    }


def _mapping(value: Mapping[Any, Any], depth: int, budget: Budget) -> dict[str, Any]:
    if depth >= DEPTH:
        raise Unfit(value, "nesting", f"nested deeper than {DEPTH}, or cyclic")
    if len(value) > budget.left:
        raise _too_many(value)
    items = list(islice(value.items(), budget.left + 1))  # a mapping need not be as short as it says
    budget.left -= len(items)
    if budget.left < 0:
        raise _too_many(value)
    return named((key, plain(item, depth + 1, budget)) for key, item in items)


def _too_many(value: Any) -> Unfit:
    remedy = f"more than {ITEMS} values that are no numbers; send an array, text or bytes"
    return Unfit(value, "size", remedy)


def named(items: Iterable[tuple[Any, T]]) -> dict[str, T]:
    """Return items by names that are text; a name that is taken already has a number behind it, so that none is lost.

    Examples
    --------
    >>> named([("a", 1), (1, 2), ("1", 3), ("a", 4)])
    {'a': 1, '1': 2, '1.2': 3, 'a.2': 4}
    """
    found: dict[str, T] = {}
    for key, item in items:
        name = key_text(key)
        if name in found:
            number = 2
            while f"{name}.{number}" in found:
                number += 1
            name = f"{name}.{number}"
        found[name] = item
    return found


def key_text(key: Any) -> str:
    """Return a key of a mapping as text: names of fields are text."""
    if type(key) is str:
        return key
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, Enum):
        return key_text(key.value)
    if isinstance(key, tuple):
        return ".".join(map(key_text, key))
    return str(key)


def _object(value: Any, depth: int, budget: Budget) -> Any:
    from davy.fields.records import record

    found = record(value)
    if found is None:
        raise Unfit(
            value, "type", f"{type(value).__name__} does not travel; send numbers, text, bytes or arrays"
        )
    return _mapping(found, depth, budget)


def _arraylike(value: Any, depth: int, budget: Budget) -> Any:
    array = foreign_array(value)
    if array is None:
        return _object(value, depth, budget)
    return _array(array, depth, budget)


def _scalar_or_array(value: Any, depth: int, budget: Budget) -> Any:
    """Convert what pandas, polars and pyarrow hold: their scalars, series and arrays."""
    if is_marker(value):
        return None
    if hasattr(value, "as_py"):  # a scalar of pyarrow
        return plain(value.as_py(), depth, budget)
    if type(value).__name__ == "Period":
        return moment_text(value.start_time.to_pydatetime(warn=False))
    from davy.fields.records import record

    parts = record(value)  # of a row or an interval
    if parts is not None:
        return _mapping(parts, depth, budget)
    if hasattr(value, "tolist") or hasattr(value, "to_list") or hasattr(value, "to_pylist"):
        array = foreign_array(value)
        found = None if array is None else numeric(array)
        if found is not None:
            return found
        listed = getattr(value, "to_pylist", None) or getattr(value, "to_list", None) or value.tolist
        return _items(listed(), depth, budget)
    from davy.fields.tables import columns_of

    columns = columns_of(value)
    if columns is not None:
        return _mapping(columns, depth, budget)
    return _arraylike(value, depth, budget)


def _converter(value: Any) -> Converter:
    """Find the converter of a type and remember it."""
    exact = type(value)
    # By the type, never by the value: `isinstance` asks for `__class__`, which a proxy may refuse to tell.
    served = is_plumbing(value) or is_response(value)
    found = (
        _refuse if served else next((convert for kind, convert in _BASES if issubclass(exact, kind)), None)
    )
    if found is None:
        found = _NAMED.get(known_name(exact))
    if found is None:
        library = library_of(value)
        if library in {"pandas", "polars", "pyarrow"}:
            found = _scalar_or_array
        elif isinstance(value, type) or (callable(value) and not hasattr(value, "__array__")):
            found = _refuse
        else:
            found = _arraylike
    if len(_CONVERTERS) < _REMEMBERED:
        _CONVERTERS[exact] = found
    return found


def known_name(kind: type) -> str:
    """Return the name under which a type, or the base of a subclass, is known; empty for others."""
    names = (f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__)
    return next((name for name in names if name in _NAMED), "")


def _refuse(value: Any, _depth: int, _budget: Budget) -> Any:
    raise Unfit(value, "type", f"{type(value).__name__} does not travel; send numbers, text, bytes or arrays")


def _path(value: Any, _depth: int, _budget: Budget) -> Any:
    raise Unfit(
        value, "path", "a file travels as a payload: say in blob_url where payloads go, or send its bytes"
    )


def _complex(value: Any, _depth: int, _budget: Budget) -> Any:
    raise Unfit(value, "complex", "send the real and the imaginary part, or the magnitude, as fields")


def _moment(value: Any, _depth: int, _budget: Budget) -> str | None:
    return None if is_marker(value) else moment_text(value)


def _span(value: Any, _depth: int, _budget: Budget) -> float | None:
    return None if is_marker(value) else seconds(value)


def _bytes(value: Any, _depth: int, _budget: Budget) -> bytes:
    return bytes(value)


def _value(value: Enum, depth: int, budget: Budget) -> Any:
    return plain(value.value, depth, budget)


_REMEMBERED: Final = 4096
_BASES: Final[tuple[tuple[Any, Converter], ...]] = (  # subclasses before their bases
    (Enum, _value),
    (bool, lambda value, _depth, _budget: bool(value)),
    (np.bool_, lambda value, _depth, _budget: bool(value)),
    (np.complexfloating, _complex),
    (np.timedelta64, _generic),  # NumPy counts spans among its integers
    (np.longdouble, _generic),
    (np.generic, _generic),
    (float, lambda value, _depth, _budget: float(value)),
    (str, _text),
    (bytes, _bytes),
    (bytearray, _bytes),
    (memoryview, _bytes),
    (int, _whole),
    (complex, _complex),
    (np.ndarray, _array),
    ((BlobRef, Summary), _same),
    (Mapping, _mapping),
    ((date, time), _moment),
    (timedelta, _span),
    (Decimal, _number),
    (UUID, _spelt),
    (PathLike, _path),
    (tuple, _listed),
    ((set, frozenset), _unordered),
    (range, _counted),
    ((list, deque), _listed),
    (packed, lambda value, depth, budget: _array(np.asarray(value), depth, budget)),
)
_NAMED: Final[Mapping[str, Converter]] = {
    "fractions.Fraction": _number,
    "ipaddress.IPv4Address": _spelt,
    "ipaddress.IPv6Address": _spelt,
    "ipaddress.IPv4Network": _spelt,
    "ipaddress.IPv6Network": _spelt,
}
"""Types of the standard library that few apps use: importing them would cost every app."""
VALUES: Final = tuple(
    kind
    for kinds, _ in _BASES
    for kind in (kinds if isinstance(kinds, tuple) else (kinds,))
    if kind not in {Mapping, tuple, np.generic}
)
"""Types whose values are one value each, whatever attributes a subclass of an app adds."""
_CONVERTERS: Final[dict[type, Converter]] = {
    type(None): _same,
    bool: _same,
    float: _same,
    str: _same,
    bytes: _same,
    int: _whole,
    list: _items,
    tuple: _items,
    set: _unordered,
    frozenset: _unordered,
    dict: _mapping,
    np.ndarray: _array,
    np.float64: _generic,
    np.bool_: _generic,
    BlobRef: _same,
    Summary: _same,
    datetime: _moment,
    date: _moment,
    complex: _complex,
}
