"""Nested mappings and records to fields with dotted names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, KeysView, Mapping
from itertools import islice
from typing import Any, Final

import numpy as np

from davy.fields.missing import is_missing
from davy.fields.plain import key_text, named
from davy.fields.plumbing import is_plumbing
from davy.fields.records import FIELDS, record

DEPTH: Final = 8
ROWS: Final = 64
"""So many rows of a batch tell whether its names vary."""
NAMES: Final = 256
"""The most fields that one mapping becomes; with more it stays one value."""


def flatten(fields: Mapping[Any, Any]) -> dict[str, Any]:
    """Return fields without mappings and records among them: their items have dotted names.

    A mapping nested deeper than eight levels, or of more than 256 items in all, stays one value. An empty mapping gives
    no field, and neither does what belongs to the server, as a request does.

    Examples
    --------
    >>> flatten({"customer": {"age": 4, "home": {"city": "Graz"}}, "x": 1.0})
    {'customer.age': 4, 'customer.home.city': 'Graz', 'x': 1.0}
    """
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if is_plumbing(value):
            continue
        name = key_text(name)
        leaves = _leaves(name, value)
        _add(found, {name: value} if leaves is None else leaves)
    return found


class Varying:
    """Finds out when the names of the fields of a model vary: then those that seldom come are one mapping.

    An answer or an argument that is a mapping from ids to values has other names every time. Once it has given 256 more
    than the widest inference has, they vary; a table of 1,000 columns has never more than these. What half of the sets
    of names had stays a field of its own.

    Attributes
    ----------
    usual
        The names that stay fields; None while names do not vary.

    Examples
    --------
    >>> names = Varying()
    >>> any(names.see(["label", f"item{i}", f"item{i + 1}"]) for i in range(0, 200, 2)), sorted(names.usual or ())
    (False, [])
    >>> any(names.see(["label", f"item{i}", f"item{i + 1}"]) for i in range(200, 600, 2)), sorted(names.usual or ())
    (True, ['label'])
    """

    __slots__ = ("_counts", "_last", "_sets", "_widest", "usual")

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._last: KeysView[Any] | None = None
        self._sets = self._widest = 0
        self.usual: frozenset[str] | None = None

    def see(self, names: Iterable[str]) -> bool:
        """Take the names of some inferences; return whether names vary."""
        if self.usual is None:
            found = dict.fromkeys(names).keys()
            if found != self._last:
                self._last = found
                self._counts.update(found)
                self._sets += 1
                self._widest = max(self._widest, len(found))
                if len(self._counts) - self._widest > NAMES:
                    self._decide()
        return self.usual is not None

    def see_columns(self, columns: Mapping[str, Any]) -> bool:
        """Take the names of a batch, by column: those of a row are of the columns where it has a value."""
        if self.usual is None and columns.keys() != self._last:
            gapped = {
                name: list(islice(values, ROWS)) for name, values in columns.items() if _may_lack(values)
            }
            whole = columns.keys() - gapped.keys()
            for place in range(max(map(len, gapped.values()), default=1)):
                held = (
                    name for name, rows in gapped.items() if place < len(rows) and not is_missing(rows[place])
                )
                self.see([*whole, *held])
            self._last = columns.keys()
        return self.usual is not None

    def _decide(self) -> None:
        self.usual = frozenset(name for name, count in self._counts.items() if 2 * count >= self._sets)
        self._counts, self._last = Counter(), None

    @property
    def name(self) -> str:
        """What the mapping is called: ``value``, if that is free."""
        return "value.2" if self.usual and "value" in self.usual else "value"

    def parted(self, fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the fields that stay, and those that are one mapping."""
        usual = self.usual or frozenset()
        kept = {name: item for name, item in fields.items() if name in usual}
        return kept, {name: item for name, item in fields.items() if name not in usual}


class Flattener:
    """Flattens the fields of many inferences, and bounds how many names they may have in the course of time.

    A mapping from ids to values has other keys every time. Once it has given more than 256 names, it stays one value,
    so that the fields of a model do not grow without bound; `varying` says so of all fields together.
    """

    __slots__ = ("_names", "_whole", "varying")

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}
        self._whole: set[str] = set()
        self.varying = Varying()

    def flatten(self, fields: Mapping[Any, Any]) -> dict[str, Any]:
        """Return fields without mappings and records among them, as `flatten` does."""
        found: dict[str, Any] = {}
        if self.varying.see(map(key_text, fields)):
            fields, others = self.varying.parted({key_text(name): item for name, item in fields.items()})
            if others:
                mapping = self.varying.name
                found[mapping] = others[mapping] if others.keys() == {mapping} else others
        for name, value in fields.items():
            name = key_text(name)
            if is_plumbing(value):
                continue
            if name in self._whole or len(found) >= FIELDS:
                found[name] = value
                continue
            leaves = _leaves(name, value)
            if leaves is not None:
                names = self._names.setdefault(name, set())
                names.update(leaves)
                if len(names) > NAMES:
                    self._whole.add(name)
                    del self._names[name]
                    leaves = None
            _add(found, {name: value} if leaves is None else leaves)
        return found


def _may_lack(values: Any) -> bool:
    """Whether rows of a column may be without a value, as those of records with other names are."""
    return type(values) is list or (isinstance(values, np.ndarray) and values.dtype == object)


def _add(found: dict[str, Any], more: dict[str, Any]) -> None:
    """Add fields; one whose name is taken gets another name."""
    if found.keys().isdisjoint(more):
        found.update(more)
    else:
        found.update(dict(list(named([*found.items(), *more.items()]).items())[len(found) :]))


def _leaves(name: str, value: Any) -> dict[str, Any] | None:
    """Return what a mapping or record becomes; None for what stays one value."""
    parts = _parts(value)
    leaves: dict[str, Any] = {}
    return None if parts is None or not _collect(leaves, name, parts, 1) else leaves


def _collect(leaves: dict[str, Any], prefix: str, parts: Mapping[str, Any], depth: int) -> bool:
    """Add the leaves of a mapping; false when there are too many, or they lie too deep."""
    if depth > DEPTH or len(parts) > NAMES:
        return False
    for key, value in parts.items():
        if is_plumbing(value):
            continue
        name = f"{prefix}.{key}"
        inner = _parts(value)
        if inner is None:
            leaves[name] = value
        elif not _collect(leaves, name, inner, depth + 1):
            return False
    return len(leaves) <= NAMES


def frame(value: Any) -> dict[str, Any] | None:
    """Return a frame that is one value as sequences, a column each; what is no frame as the record it may be.

    An index of pandas that has a name, or that is of moments, is a column too: by its name, or ``index``.
    """
    from davy.fields.tables import column, columns_of

    library = type(value).__module__.partition(".")[0]
    columns = columns_of(value) if library in {"pandas", "polars", "pyarrow"} else None
    if columns is None:
        return record(value)
    index: Any = getattr(value, "index", None)
    name = getattr(index, "name", None)
    if library == "pandas" and (name is not None or getattr(index.dtype, "kind", "") == "M"):
        columns = {key_text("index" if name is None else name): index.to_series(), **columns}
    return {key: column(values, {}) for key, values in columns.items()}


def _parts(value: Any) -> Mapping[str, Any] | None:
    try:
        return frame(value) if hasattr(type(value), "columns") else record(value)
    except Exception:  # noqa: BLE001 - an object that cannot be read is one value, which is then left out by name
        return None
