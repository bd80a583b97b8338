"""Single values of outputs, whatever they travelled as: plain Python, NumPy, lists of MessagePack or JSON."""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Scalar: TypeAlias = bool | int | float | str
Vector: TypeAlias = NDArray[np.float64]

_DECIMAL: Final = re.compile(r"-?(0|[1-9]\d*)\.\d+")
_TRUTHS: Final = frozenset({"true", "false"})
_BITS: Final = 4096
"""Of the largest whole number that is looked at: Python refuses to write much larger ones."""
_LONGEST: Final = 100_000
"""Elements of the largest array that is looked at value by value."""


def scalar(value: Any) -> Scalar | None:
    """Return a single value as plain Python; None for what is missing and for anything that is not one value.

    Arrays and lists of exactly one element count as that element.

    Examples
    --------
    >>> scalar(np.array([3])), scalar([["cat"]]), scalar(b"dog"), scalar(float("nan")), scalar([1, 2])
    (3, 'cat', 'dog', None, None)
    """
    for _ in range(4):
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.reshape(-1)[0]
        elif isinstance(value, (list, tuple)) and len(value) == 1:
            value = value[0]
        else:
            break
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bytes, bytearray)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _BITS else None
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    return str(value) if isinstance(value, str) else None


def number(value: Any) -> float | int | None:
    """Return a single number that a double can hold; None for booleans, text and anything else."""
    found = scalar(value)
    if found is None or isinstance(found, (bool, str)) or not abs(found) <= sys.float_info.max:
        return None
    return found


def whole(value: Any) -> int | None:
    """Return a single whole number, ``3`` or ``3.0``; None for booleans, text and anything else."""
    found = number(value)
    if isinstance(found, float):
        return int(found) if found.is_integer() else None
    return found


def missing(value: Any) -> bool:
    """Return whether there is no value: None, NaN or NaT."""
    if value is None:
        return True
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def items(value: Any) -> list[Scalar] | None:
    """Return a list of single values; None when it is no list, or holds something else.

    Axes of length one around the list are dropped.
    """
    elements = elements_of(value)
    if elements is None:
        return None
    while len(elements) == 1 and (inner := elements_of(elements[0])) is not None:
        elements = inner
    found = [scalar(element) for element in elements]
    return None if any(one is None for one in found) else [one for one in found if one is not None]


def elements_of(value: Any) -> list[Any] | None:
    """Return the elements along the first axis of a list or an array; None for anything else."""
    if isinstance(value, np.ndarray):
        return None if value.ndim == 0 or value.size > _LONGEST else value.tolist()
    if isinstance(value, (list, tuple)) and len(value) <= _LONGEST:
        return list(value)
    return None


def vector(value: Any) -> Vector | None:
    """Return numbers in a row, without axes of length one; None for anything else. NaN stays.

    Examples
    --------
    >>> vector([[0.1, 0.9]]), vector(["a", "b"]) is None
    (array([0.1, 0.9]), True)
    """
    found = array(value)
    if found is None or found.size == 0:
        return None
    squeezed = found.reshape(-1) if max(found.shape, default=1) == found.size else found
    return squeezed.astype(np.float64) if squeezed.ndim == 1 else None


def array(value: Any) -> NDArray[Any] | None:
    """Return an array of real numbers or booleans; None when the value is none, or ragged."""
    if isinstance(value, (list, tuple)):
        try:
            value = np.array(value)
        except (ValueError, TypeError, OverflowError):
            return None
        if value.dtype == object:
            return _of_objects(value)
    if isinstance(value, (bool, int, float, np.generic)):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        return None
    if value.dtype == object:
        return _of_objects(value)
    return value if value.dtype.kind in "biuf" else None


def _of_objects(value: NDArray[Any]) -> NDArray[Any] | None:
    """Numbers beside gaps: None becomes NaN."""
    if value.size > _LONGEST or not all(
        one is None or isinstance(one, (bool, int, float, np.number)) for one in value.reshape(-1)
    ):
        return None
    try:
        return value.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        return None


def text(value: Any) -> str:
    """Return a value as a person reads it, and as a class is named: ``3.0`` is ``3``, True is ``True``.

    Examples
    --------
    >>> text(3.0), text(np.int64(3)), text(True), text(["b", "a"])
    ('3', '3', 'True', 'b, a')
    """
    found = scalar(value) if not isinstance(value, (list, tuple)) else None
    if isinstance(found, float) and found.is_integer() and abs(found) < 2**53:
        return str(int(found))
    if found is not None:
        return str(found)
    if isinstance(value, (list, tuple)):
        return ", ".join(text(one) for one in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{text(name)}: {text(one)}" for name, one in value.items())
    return "" if value is None else str(value)


def key(value: Any) -> str:
    """Return the text by which two names of a class are compared: ``3``, ``3.0`` and ``"3"`` are one class.

    Zeros in front stay ("007" is another class than 7), space around does not, and True is "true".

    Examples
    --------
    >>> key(3.0) == key("3") == key(" 3.00 "), key("007") == key(7), key(True) == key("True")
    (True, False, True)
    """
    found = unicodedata.normalize("NFC", text(value)).strip()
    if found.lower() in _TRUTHS:
        return found.lower()
    if _DECIMAL.fullmatch(found):
        return text(float(found))
    return found


def equal(one: Any, other: Any) -> bool | None:
    """Return whether two answers of an unknown task are the same; None when they are not of one kind.

    Examples
    --------
    >>> equal("3", 3.0), equal(["a", "b"], ["a"]), equal({"x": 1}, {"x": 1.0}), equal("a", ["a", "b"])
    (True, False, True, None)
    """
    if scalar(one) is not None and scalar(other) is not None:
        return key(one) == key(other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return {text(name) for name in one} == {text(name) for name in other} and all(
            _nested(value, {text(name): item for name, item in other.items()}[text(name)])
            for name, value in one.items()
        )
    first, second = elements_of(one), elements_of(other)
    if first is not None and second is not None:
        return len(first) == len(second) and all(map(_nested, first, second))
    return None


def _nested(one: Any, other: Any) -> bool:
    return (one is None and other is None) or equal(one, other) is True


def close(one: float, other: float) -> bool:
    """Return whether two numbers are the same but for rounding in the last digits."""
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def kind(value: Any) -> str:
    """Return of what kind a value is, for people.

    Examples
    --------
    >>> kind(np.zeros((3, 4))), kind([]), kind([1, "a"]), kind({"a": {}})
    ('an array of float64 of shape (3, 4)', 'an empty list', 'a list of int, str', 'a mapping of a')
    """
    if isinstance(value, np.ndarray) and value.size:
        return f"an array of {value.dtype} of shape {value.shape}"
    if isinstance(value, Mapping):
        return f"a mapping of {', '.join(map(str, value))[:100]}" if value else "an empty mapping"
    elements = elements_of(value)
    if elements is not None:
        kinds = sorted({type(one).__name__ for one in elements})
        return f"a list of {', '.join(kinds)[:100]}" if kinds else "an empty list"
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value)} bytes"
    return f"one {type(value).__name__}"


def plain(value: Any, depth: int = 8) -> Any:
    """Return a value as JSON holds it; what JSON cannot hold becomes its text, what is not finite None."""
    found = scalar(value) if not isinstance(value, (list, tuple, np.ndarray)) else None
    if found is not None:
        return found if not isinstance(found, float) or math.isfinite(found) else None
    if value is None or missing(value) or depth == 0:
        return None
    if isinstance(value, Mapping):
        return {text(name): plain(one, depth - 1) for name, one in value.items()}
    elements = elements_of(value)
    return [plain(one, depth - 1) for one in elements] if elements is not None else str(value)


def names(value: Any) -> tuple[str, ...]:
    """Return class names from a field of outputs; empty when it holds none.

    A mapping from numbers to names (``id2label``) or from names to numbers is put in the order of its numbers.

    Examples
    --------
    >>> names(np.array([1, 2, 3])), names({"1": "cat", "0": "dog"}), names({"cat": 1, "dog": 0}), names(5)
    (('1', '2', '3'), ('dog', 'cat'), ('dog', 'cat'), ())
    """
    if isinstance(value, Mapping):
        return _mapped(value)
    found = items(value)
    return () if found is None else tuple(map(text, found))


def _mapped(value: Mapping[Any, Any]) -> tuple[str, ...]:
    for pairs in (list(value.items()), [(number_, name) for name, number_ in value.items()]):
        numbers = [_whole(number_) for number_, _ in pairs]
        if (
            pairs
            and all(one is not None for one in numbers)
            and all(scalar(name) is not None for _, name in pairs)
        ):
            order = sorted(range(len(pairs)), key=lambda at: numbers[at] or 0)
            return tuple(text(pairs[at][1]) for at in order)
    return ()


def _whole(value: Any) -> int | None:
    found = scalar(value)
    if isinstance(found, str) and re.fullmatch(r"-?\d{1,18}", found):
        return int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) else None
