"""Rows looked up by the id of their inference: in memory by column, in the store in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from davy_detectors.labelled.columns import Columns, concat, keys_of, nothing, pack, take, unpack

if TYPE_CHECKING:
    from davy.event import Array
    from davy.store import Batch as Changes
    from davy.store import Store

_Run: TypeAlias = tuple[NDArray[np.uint64], NDArray[np.int64]]
"""Keys that rise, and where the row of each is."""
_CHUNK: Final = 512
"""Rows of a record in the store: a model of which little comes rewrites at most so many at a time."""
_LEAST: Final = 1_024
_MERGED: Final = 2


class Table:
    """Rows in the order they were added. What was changed is put into a transaction by `write`.

    Parameters
    ----------
    store, collection
        Where the rows are kept.

    Examples
    --------
    >>> from davy.store.memory import MemoryStore
    >>> table = Table(MemoryStore(), "rows")
    >>> table.append({"high": np.zeros(2, np.uint64), "low": np.array([7, 5], np.uint64)})
    >>> table.find({"high": np.zeros(2, np.uint64), "low": np.array([5, 6], np.uint64)})
    array([ 1, -1])
    """

    def __init__(self, store: Store, collection: str) -> None:
        self._collection = collection
        self._first = 0
        self._size = 0
        self._columns: Columns = {}
        self._changed: set[int] = set()
        self._gone: set[int] = set()
        self._runs: list[_Run] = []
        stored = [(int(key), unpack(data)) for key, data in store.items(collection)]
        if stored:
            self._first = stored[0][0]
            self.append(concat([rows for _, rows in stored]))
            self._changed.clear()

    def __len__(self) -> int:
        return self._size

    @property
    def columns(self) -> Columns:
        """Every row."""
        return {name: column[: self._size] for name, column in self._columns.items()}

    @property
    def nbytes(self) -> int:
        """The memory the rows and their order take, bytes."""
        runs = sum(keys.nbytes + places.nbytes for keys, places in self._runs)
        return runs + sum(column.nbytes for column in self._columns.values())

    def append(self, rows: Columns) -> None:
        """Add rows; a column the others have not got has nothing in them, and the other way round."""
        count = len(rows["high"])
        if not count:
            return
        start, stop = self._size, self._size + count
        for name in sorted(rows.keys() | self._columns.keys()):
            column = self._columns.get(name)
            if column is None or len(column) < stop:
                dtype = rows[name].dtype if column is None else column.dtype
                grown = nothing(max(_LEAST, stop + stop // 4), dtype)
                if column is not None:
                    grown[:start] = column[:start]
                column = self._columns[name] = grown
            column[start:stop] = rows[name] if name in rows else nothing(count, column.dtype)
        self._size = stop
        self._change(np.arange(start, stop))
        self._add_run(keys_of(rows), np.arange(start, stop))

    def assign(self, places: NDArray[np.int64], rows: Columns) -> None:
        """Replace some columns of some rows."""
        if not len(places):
            return
        for name, values in rows.items():
            if name not in self._columns:
                self._columns[name] = nothing(len(self._columns["high"]), values.dtype)
            self._columns[name][places] = values
        self._change(places)

    def find(self, wanted: Columns, *by: str) -> NDArray[np.int64]:
        """Return where the row with the id of each wanted row is, -1 where there is none; shape ``(n,)``.

        `by` names columns that must be equal, too.
        """
        return _find(self._columns, self._runs, wanted, ("high", "low", *by))

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Drop the rows that are not `kept`, shape ``(len(self),)``; whole chunks at the start cost nothing."""
        if kept.all():
            return
        whole = int(np.argmax(kept)) // _CHUNK if kept.any() else -(-self._size // _CHUNK)
        rest = kept[whole * _CHUNK :]
        everything = bool(rest.all())
        rows = take(self.columns, np.flatnonzero(kept))
        last = self._first + -(-self._size // _CHUNK)
        self._gone.update(range(self._first, self._first + whole if everything else last))
        changed = {chunk for chunk in self._changed if chunk >= self._first + whole} if everything else set()
        self._first += whole
        self._columns, self._runs, self._size = {}, [], 0
        self._changed = set()
        self.append(rows)
        if everything:
            self._changed = changed

    def write(self, changes: Changes) -> None:
        """Put what changed since the last time into a transaction."""
        for chunk in sorted(self._gone):
            changes.delete(self._collection, _key(chunk))
        rows = self.columns
        for chunk in sorted(self._changed):
            start = (chunk - self._first) * _CHUNK
            part = {name: column[start : start + _CHUNK] for name, column in rows.items()}
            changes.put(self._collection, _key(chunk), pack(part))
        self._gone.clear()
        self._changed.clear()

    def _change(self, places: Array) -> None:
        self._changed.update((np.unique(places // _CHUNK) + self._first).tolist())

    def _add_run(self, keys: NDArray[np.uint64], places: NDArray[Any]) -> None:
        """Add to the sorted runs, of which each is much longer than the next: so they are few, and merged rarely."""
        self._runs.append(_sorted(keys, places))
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= _MERGED * len(self._runs[-1][0]):
            (keys, places), (more, others) = self._runs[-2:]
            self._runs[-2:] = [_sorted(np.concatenate([keys, more]), np.concatenate([places, others]))]


def match(rows: Columns, wanted: Columns) -> NDArray[np.int64]:
    """Return which of `rows` has the id of each wanted row, -1 where none has; shape ``(n,)``."""
    return _find(rows, [_sorted(keys_of(rows), np.arange(len(rows["high"])))], wanted, ("high", "low"))


def forget(store: Store, collection: str, changes: Changes) -> None:
    """Remove every row."""
    for key, _ in store.items(collection):
        changes.delete(collection, key)


def _sorted(keys: NDArray[np.uint64], places: NDArray[np.int64]) -> _Run:
    order = np.argsort(keys, kind="stable")
    return keys[order], places[order]


def _find(rows: Columns, runs: Sequence[_Run], wanted: Columns, names: Sequence[str]) -> NDArray[np.int64]:
    keys = keys_of(wanted)
    found = np.full(len(keys), -1, np.int64)
    for known, places in runs:
        at = np.searchsorted(known, keys)
        asks = np.flatnonzero(found < 0)
        while len(asks):  # twice where an id has several rows, of which the first is not the one
            asks = asks[at[asks] < len(known)]
            asks = asks[known[at[asks]] == keys[asks]]
            candidates = places[at[asks]]
            same = np.ones(len(asks), bool)
            for name in names:
                same &= rows[name][candidates] == wanted[name][asks]
            found[asks[same]] = candidates[same]
            asks = asks[~same]
            at[asks] += 1
    return found


def _key(chunk: int) -> str:
    return f"{chunk:012}"
