"""What an inference holds, in words a person can read: nested values by dotted names, long ones in short."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from davy.event import BlobRef

_ROWS: Final = 200
_DEPTH: Final = 8
_VECTOR: Final = 32
_LIST: Final = 32
_TEXT: Final = 20_000
_MISSING: Final = "missing"


def rows(fields: Mapping[str, Any], *, most: int = _ROWS) -> dict[str, Any]:
    """Return names and what to show of each field, nested ones by dotted names; bytes are left out.

    At most `most` rows, then one that says so.

    Examples
    --------
    >>> rows({"customer": {"age": 31, "tags": ["a", "b"]}, "gap": None})
    {'customer.age': 31, 'customer.tags': 'a, b', 'gap': 'missing'}
    """
    leaves = _leaves(fields, "", 0)
    found = {name: in_short(value) for name, value in islice(leaves, most)}
    if next(leaves, None) is not None:
        found["…"] = f"only the first {most} values are shown"
    return {name: value for name, value in found.items() if value is not None}


def leaves(fields: Mapping[str, Any]) -> list[Any]:
    """Return the values `rows` shows, as they are."""
    return [value for _, value in islice(_leaves(fields, "", 0), _ROWS)]


def worth_a_look(fields: Mapping[str, Any]) -> bool:
    """Return whether there is anything to look at: a value that is neither missing nor opaque bytes."""
    return any(not _is_missing(value) and in_short(value) is not None for value in leaves(fields))


def in_short(value: Any) -> Any:
    """Return what a person sees of one value, None for what nobody can read.

    Examples
    --------
    >>> in_short(np.arange(300.0))
    '300 numbers from 0 to 299, mean 149.5: 0, 1, 2, 3, 4, 5, 6, 7, …'
    """
    if _is_missing(value):
        return _MISSING
    if isinstance(value, (bool, int)):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, np.generic):
        return in_short(value.item())
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, BlobRef):
        return f"{value.media_type}, {value.length:,} bytes"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return None
    if isinstance(value, Sequence):
        return cut(", ".join(str(in_short(one)) for one in value))
    return cut(str(value))


def cut(text: str, most: int = _TEXT) -> str:
    """Return a text without what JSON and XML cannot carry, cut to so many characters."""
    clean = text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return clean if len(clean) <= most else f"{clean[:most]} … ({len(clean) - most:,} characters more)"


def _leaves(value: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield names and values that are no mapping; short lists of plain values are one value."""
    if depth < _DEPTH and isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from _leaves(value[key], f"{name}.{key}" if name else str(key), depth + 1)
    elif depth < _DEPTH and isinstance(value, (list, tuple)) and not _is_plain(value):
        for number, one in enumerate(value):
            yield from _leaves(one, f"{name}.{number}", depth + 1)
    elif isinstance(value, (list, tuple)) and len(value) > _LIST and _are_numbers(value):
        yield name, np.array(value, dtype=np.float64)
    else:
        yield name, value


def _is_plain(values: Sequence[Any]) -> bool:
    return not any(isinstance(one, (Mapping, list, tuple, np.ndarray)) for one in values)


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(one is None or isinstance(one, (int, float, np.number)) for one in values)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, (float, np.floating)) and math.isnan(value))


def _array(values: NDArray[Any]) -> str | None:
    if values.dtype.kind not in "biufOUMmc":
        return None
    if values.ndim <= 1 and values.size <= _VECTOR:
        return cut(", ".join(_number(one) for one in values.ravel().tolist()))
    if values.dtype.kind not in "biuf":
        first = ", ".join(map(str, values.ravel()[:8].tolist()))
        return cut(f"{_size(values)}: {first}, …")
    numbers = values.astype(np.float64).ravel()
    finite = numbers[np.isfinite(numbers)]
    if not finite.size:
        return f"{_size(values)}, none of them finite"
    range_ = f"from {finite.min():.6g} to {finite.max():.6g}, mean {finite.mean():.6g}"
    first = ", ".join(f"{one:.4g}" for one in numbers[:8].tolist())
    return f"{_size(values)} {range_}: {first}, …"


def _size(values: NDArray[Any]) -> str:
    count = " × ".join(map(str, values.shape))  # noqa: RUF001
    return f"{count} {'numbers' if values.dtype.kind in 'biuf' else 'values'}"


def _number(one: Any) -> str:
    return f"{one:.4g}" if isinstance(one, float) else str(one)
