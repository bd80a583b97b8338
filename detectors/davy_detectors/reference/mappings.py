"""Mappings whose keys vary from one inference to the next: no fields, and no streams."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from davy.event import Column, Path
from davy.fields.flattening import NAMES
from davy.fields.reading import is_absent, rows_of

VARIES: Final = "its keys vary from one inference to the next: send it as text or a fixed set of fields"
EVERY: Final = "*"
_MANY: Final = 32
_SELDOM: Final = 0.1


def varying(fields: Mapping[Path, Column]) -> dict[Path, Path]:
    """Return the fields that lie in mappings whose keys vary, each with what the mapping is called.

    They vary where there are more than 32, half of them in less than a tenth of inferences. Such a mapping, as of
    search terms to counts, is a field a key as long as it is small; the SDK keeps it as one value when its names
    have become too many. So the mapping is meant, in whatever form it is there, and of one with too many names all
    that lies beside it, for that comes in the same value. All inputs or outputs are such a mapping, too, where an
    argument or an answer was one: of these the fields that seldom come, which are called ``outputs.*``.
    """
    shares: dict[Path, float] = {}
    found = {path for path, column in fields.items() if _varies(_shares_of_keys(column))}
    claimed: set[Path] = set()
    names: Counter[Path] = Counter()
    for prefix, paths in _by_prefix(fields):
        mine = [path for path in paths if path not in claimed]
        names[prefix] = len(paths)
        if len(mine) > _MANY:
            shares |= {path: _share(fields[path]) for path in mine if path not in shares}
            if _varies([shares[path] for path in mine]):
                found.add(prefix)
                claimed.update(mine)
    found = {_outermost(prefix) if _is_one_value(prefix, fields, names) else prefix for prefix in found}
    inside = {
        path: mapping
        for path in fields
        for mapping in [path, *prefixes(path)]
        if mapping in found and mapping[-1] != EVERY
    }
    seldom = {
        path: prefixes(path)[-1]
        for path in fields
        if path not in inside and shares.get(path, 1.0) < _SELDOM and found.intersection(prefixes(path)[-1:])
    }
    return inside | seldom


def prefixes(path: Path) -> list[Path]:
    """Return the mappings that a field lies in, the nearest first; the last is its section.

    Examples
    --------
    >>> prefixes(("inputs", "customer.home.city"))
    [('inputs', 'customer.home'), ('inputs', 'customer'), ('inputs', '*')]
    """
    parts = path[-1].split(".")
    nearest = [(*path[:-1], ".".join(parts[:depth])) for depth in range(len(parts) - 1, 0, -1)]
    return [*nearest, (*path[:-1], EVERY)] if len(path) > 1 else nearest


def _by_prefix(fields: Iterable[Path]) -> list[tuple[Path, list[Path]]]:
    """Return the fields of every mapping, of the deepest first."""
    found: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in fields:
        for prefix in prefixes(path):
            found[prefix].append(path)
    return sorted(found.items(), key=lambda each: (each[0][-1] == EVERY, -each[0][-1].count(".")))


def _outermost(prefix: Path) -> Path:
    return (*prefix[:-1], prefix[-1].partition(".")[0])


def _is_one_value(prefix: Path, fields: Mapping[Path, Column], names: Mapping[Path, int]) -> bool:
    if prefix[-1] == EVERY:
        return False
    outermost = _outermost(prefix)
    return outermost in fields or names[outermost] > NAMES


def _varies(shares: Sequence[float]) -> bool:
    return len(shares) > _MANY and float(np.median(shares)) < _SELDOM


def _share(column: Column) -> float:
    """Return in how many of the inferences a field has a value."""
    values = column.values
    if values.dtype.kind == "f" and values.ndim == 1:
        return float((column.present & ~np.isnan(values)).mean())
    if values.dtype == object:
        return sum(not is_absent(row) for row in rows_of(column)) / max(len(values), 1)
    return float(column.present.mean())


def _shares_of_keys(column: Column) -> list[float]:
    """Return in how many of the values of a field, where these are mappings, each key is."""
    if column.values.dtype != object:
        return []
    rows: list[Any] = [row for row in rows_of(column) if not is_absent(row)]
    if not rows or not isinstance(rows[0], dict):
        return []
    counts = Counter(key for row in rows if isinstance(row, dict) for key in _keys(row, ""))
    return [count / len(rows) for count in counts.values()]


def _keys(mapping: Mapping[Any, Any], prefix: str) -> Iterator[str]:
    for key, value in mapping.items():
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
