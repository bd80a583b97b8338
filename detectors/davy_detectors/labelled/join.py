"""Where what became known about an inference meets it: a function of what was said, whenever and how often it comes.

A pair is of an inference and a kind of truth. It counts in the window in which it became known: the time of its label,
or that of the inference where that is later. A sequential test books a pair when its label arrives and takes nothing
back (`docs/detectors.md`), so that labels may come weeks later without any window having been kept open for them. Of
several labels of a kind the earliest counts, for the same reason; others are counted as repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from davy.codec import dump_any, load_any
from davy_detectors.labelled import table
from davy_detectors.labelled.batch import LabelledBatch
from davy_detectors.labelled.columns import Columns, concat, joined_halves, nothing, size_of, take
from davy_detectors.labelled.rows import INFERENCE_COLUMNS, read_rows
from davy_detectors.labelled.table import Table, match
from davy_detectors.labelled.values import Vocabulary

if TYPE_CHECKING:
    from davy.event import Array
    from davy.store import Batch as Changes
    from davy.store import Store

Place: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Gives the start of the window in which something counts that became known at each of these times."""

COLLECTION: Final = "joins"
"""Collection with what a model's join knows beside its rows."""
TEXTS: Final = "join_texts"
_WAITING: Final = -3
_TOO_LATE: Final = -2
FINAL: Final = -1
"""Stands for the window of a pair that is tested for good, or that no monitor was there to test."""
_SLACK: Final = 1.25
"""Rows are dropped some at a time: so much above what is to be kept."""
_MOST: Final = 2
_LABEL: Final = ("kind", "label_time", "truth_number", "truth_text", "verdict", "offered")
_ORDER: Final = ("label_time", "truth_text", "truth_number", "verdict")
"""By which the label that counts is told."""


def collections(model: str) -> tuple[str, str]:
    """Return the collections that hold a model's inferences, and its labels with what they met."""
    return f"join/{model}/inferences", f"join/{model}/labels"


def forget(store: Store, model: str, changes: Changes) -> None:
    """Keep nothing of a model."""
    for collection in collections(model):
        table.forget(store, collection, changes)
    changes.delete(COLLECTION, model).delete(TEXTS, model)


@dataclass(slots=True)
class JoinCounts:
    """What became of feedback and labels: they `joined` an inference, `repeated` what was said, or came `too_late`."""

    joined: int = 0
    repeated: int = 0
    too_late: int = 0


@dataclass(frozen=True, slots=True)
class Beyond:
    """Labels of inferences that are older than the index reaches, by their `places`; `times` are told by the ids."""

    places: NDArray[np.int64]
    ids: Array
    times: NDArray[np.int64]


class Join:
    """The inferences of a model that labels may still be about, and the labels that came.

    Parameters
    ----------
    store, model
        Where they are kept, and whose.
    limit
        So many inferences are kept, and so many labels; of either up to a quarter more, and of labels whose windows may
        still change up to twice as many.

    Attributes
    ----------
    counts
        What became of the labels.
    """

    def __init__(self, store: Store, model: str, limit: int) -> None:
        self._model, self._limit = model, limit
        inferences, labels = collections(model)
        self._inferences, self._labels = Table(store, inferences), Table(store, labels)
        stored, texts = store.get(COLLECTION, model), store.get(TEXTS, model)
        found: dict[str, Any] = load_any(stored) if stored is not None else {}
        self.counts = JoinCounts(**found.get("counts", {}))
        self._complete_since: int = found.get("complete_since", 0)
        self._forgotten: int = found.get("forgotten", 0)
        self._vocabulary = Vocabulary(load_any(texts) if texts is not None else ())
        self._changed = False

    @property
    def nbytes(self) -> int:
        """The memory the rows take, bytes."""
        return self._inferences.nbytes + self._labels.nbytes

    def take_in(
        self, inferences: Sequence[bytes], labels: Sequence[bytes], place: Place, *, final: int = 0
    ) -> NDArray[np.int64]:
        """Take in what `inference_rows` and `label_rows` gave; return the windows whose pairs are others now.

        Pairs of windows that start up to `final` will never be asked for again.
        """
        changed: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        if inferences:
            rows = _earliest(self._read(inferences), ("inference_time",), ())
            self._index(rows)
            changed.append(self._meet(rows, place))
        if labels:
            changed += self._hear(self._read(labels), place, final)
        self._trim(final)
        return _open(np.concatenate(changed))

    def pairs(self, windows: NDArray[np.int64]) -> tuple[LabelledBatch, NDArray[np.int64]]:
        """Return the pairs of some windows, given in order, and in which of them each is, shape ``(n,)``."""
        rows = self._labels.columns
        places = np.flatnonzero(np.isin(rows["window"], windows)) if len(self._labels) else np.empty(0, int)
        found = take(rows, places)
        if not len(places):
            return LabelledBatch(self._model, {"high": np.empty(0, np.uint64)}, self._vocabulary), places
        found = take(found, np.lexsort((found["kind"], found["low"], found["high"])))
        return LabelledBatch(self._model, found, self._vocabulary), np.searchsorted(windows, found["window"])

    def beyond(self, most: int) -> Beyond:
        """Return at most `most` of the labels that wait for inferences older than all that are kept.

        How old one is, its id tells where Davy made it (UUID version 7); others wait until there is no room for them.
        """
        none = np.empty(0, np.int64)
        if not len(self._labels) or not self._complete_since:
            return Beyond(none, np.empty(0, "V16"), none)
        rows = self._labels.columns
        made = (rows["high"] >> np.uint64(16)).astype(np.int64) * 1_000_000
        timed = ((rows["high"] >> np.uint64(12)) & np.uint64(15) == 7) & (rows["low"] >> np.uint64(62) == 2)
        waits = (rows["window"] == _WAITING) & ~rows["offered"]
        places = np.flatnonzero(waits & timed & (made <= self._complete_since))[:most]
        return Beyond(places, joined_halves(rows["high"][places], rows["low"][places]), made[places])

    def found(self, beyond: Beyond, inferences: Sequence[bytes], place: Place) -> NDArray[np.int64]:
        """Take in what was found of those in the log; the others came too late. Return the windows that changed."""
        changed: NDArray[np.int64] = np.empty(0, np.int64)
        if inferences:
            changed = self._meet(_earliest(self._read(inferences), ("inference_time",), ()), place)
        left = beyond.places[self._labels.columns["window"][beyond.places] == _WAITING]
        self._labels.assign(left, {"window": np.full(len(left), _TOO_LATE)})
        self.counts.too_late += len(left)
        self._changed = True
        return _open(changed)

    def bring_back(self, latest: int, present: int, tested: int) -> None:
        """Let pairs of windows after `latest`, which have not come yet, count in `present`, but for those tested."""
        if not len(self._labels):
            return
        windows = self._labels.columns["window"]
        later = np.flatnonzero(windows > latest)
        self._labels.assign(later, {"window": np.where(windows[later] <= tested, FINAL, present)})

    def finish(self) -> None:
        """Take every pair for tested: from now on others are, against another reference."""
        if len(self._labels):
            places = np.flatnonzero(self._labels.columns["window"] > FINAL)
            self._labels.assign(places, {"window": np.full(len(places), FINAL)})

    def write(self, changes: Changes) -> None:
        """Put what changed since the last time into a transaction."""
        self._inferences.write(changes)
        self._labels.write(changes)
        if self._vocabulary.grown:
            changes.put(TEXTS, self._model, dump_any(self._vocabulary.texts()))
            self._vocabulary.grown = False
        if self._changed:
            state = {"complete_since": self._complete_since, "forgotten": self._forgotten}
            changes.put(COLLECTION, self._model, dump_any({**state, "counts": asdict(self.counts)}))
            self._changed = False

    def _read(self, messages: Sequence[bytes]) -> Columns:
        parts = []
        for rows, texts in map(read_rows, messages):
            parts.append(rows)
            self._vocabulary.learn(texts)
        return concat(parts)

    def _index(self, rows: Columns) -> None:
        if not self._complete_since and not len(self._inferences):
            self._complete_since = int(rows["inference_time"].min()) - 1
            self._changed = True
        known = self._inferences.find(rows)
        self._inferences.append(take(rows, np.flatnonzero(known < 0)))
        again = np.flatnonzero(known >= 0)
        times = self._inferences.columns["inference_time"][known[again]]
        earlier = again[rows["inference_time"][again] < times]
        self._inferences.assign(known[earlier], take(rows, earlier))

    def _meet(self, inferences: Columns, place: Place) -> NDArray[np.int64]:
        """Give labels that wait the inferences they are about; return the windows in which these pairs count."""
        if not len(self._labels):
            return np.empty(0, np.int64)
        rows = self._labels.columns
        waiting = np.flatnonzero(rows["window"] == _WAITING)
        waiting = waiting[np.isin(rows["low"][waiting], inferences["low"])]
        which = match(inferences, {name: rows[name][waiting] for name in ("high", "low")})
        places, which = waiting[which >= 0], which[which >= 0]
        met = take(inferences, which)
        windows = place(np.maximum(rows["label_time"][places], met["inference_time"]))
        self._labels.assign(places, {**met, "window": windows})
        self._count(joined=len(places))
        return windows

    def _hear(self, said: Columns, place: Place, final: int) -> list[NDArray[np.int64]]:
        """Take in labels; return the windows whose pairs are others now."""
        labels = _earliest(said, _ORDER, ("kind",))
        known = self._labels.find(labels, "kind") if len(self._labels) else np.full(size_of(labels), -1)
        again, new = np.flatnonzero(known >= 0), np.flatnonzero(known < 0)
        self._count(repeated=size_of(said) - len(new))
        return [
            *self._replace(known[again], take(labels, again), place, final),
            self._add(take(labels, new), place),
        ]

    def _replace(
        self, places: NDArray[np.int64], labels: Columns, place: Place, final: int
    ) -> list[NDArray[np.int64]]:
        """Let labels count instead of those that are there where they are earlier, and nothing was tested for good."""
        if not len(places):
            return []
        rows = {name: column[places] for name, column in self._labels.columns.items()}
        done = (rows["window"] >= FINAL) & (rows["window"] <= final)
        changes = np.flatnonzero(_before(labels, rows) & ~done)
        places, labels, rows = places[changes], take(labels, changes), take(rows, changes)
        met, windows = rows["window"] > final, rows["window"].copy()
        windows[met] = place(np.maximum(labels["label_time"], rows["inference_time"])[met])
        self._labels.assign(places, {**{name: labels[name] for name in _LABEL}, "window": windows})
        return [rows["window"][met], windows[met]]

    def _add(self, labels: Columns, place: Place) -> NDArray[np.int64]:
        """Add labels of which none of their kind is there; return the windows in which those that met count."""
        room = _MOST * self._limit - len(self._labels)
        known = self._inferences.find(labels) if len(self._inferences) else np.full(size_of(labels), -1)
        met = known >= 0
        columns: Columns = {
            name: nothing(len(met), np.dtype(dtype)) for name, dtype in INFERENCE_COLUMNS.items()
        }
        for name, column in self._inferences.columns.items():
            if name not in {"high", "low"}:
                columns[name] = nothing(len(met), column.dtype)
                columns[name][met] = column[known[met]]
        windows = np.full(len(met), _WAITING)
        times = columns["inference_time"]
        windows[met] = place(np.maximum(labels["label_time"], times)[met])
        taken = ~(met & (times <= self._forgotten)) & (np.cumsum(np.ones(len(met), int)) <= room)
        self._labels.append(take({**labels, **columns, "window": windows}, np.flatnonzero(taken)))
        self._count(joined=int((taken & met).sum()), too_late=int((~taken).sum()))
        return windows[taken & met]

    def _count(self, *, joined: int = 0, repeated: int = 0, too_late: int = 0) -> None:
        counts = self.counts
        self.counts = JoinCounts(
            counts.joined + joined, counts.repeated + repeated, counts.too_late + too_late
        )
        self._changed = self._changed or bool(joined or repeated or too_late)

    def _trim(self, final: int) -> None:
        """Drop the oldest inferences, and the labels of the oldest, when there are too many."""
        excess = len(self._inferences) - self._limit
        if excess > (_SLACK - 1) * self._limit:
            times = self._inferences.columns["inference_time"]
            self._complete_since = max(self._complete_since, int(times[:excess].max()))
            self._inferences.keep(np.arange(len(times)) >= excess)
            self._changed = True
        excess = len(self._labels) - self._limit
        if excess <= (_SLACK - 1) * self._limit:
            return
        rows = self._labels.columns
        waits = rows["window"] == _WAITING
        ages = np.where(rows["window"] < FINAL, rows["label_time"], rows["inference_time"])
        ages[waits & rows["offered"]] = -1
        droppable = np.flatnonzero(rows["window"] <= final)
        dropped = droppable[np.lexsort((rows["low"][droppable], ages[droppable]))][:excess]
        met = dropped[rows["window"][dropped] >= FINAL]
        if len(met):  # a label of one as old, said again, can no longer be told from the first
            self._forgotten = max(self._forgotten, int(rows["inference_time"][met].max()))
        self._count(too_late=int((waits & ~rows["offered"])[dropped].sum()))
        kept = np.ones(len(self._labels), bool)
        kept[dropped] = False
        self._labels.keep(kept)
        self._changed = True


def _earliest(rows: Columns, order: Sequence[str], by: Sequence[str]) -> Columns:
    """Return one row an id, and whatever else it is told apart `by`: the first in `order`."""
    names = ("high", "low", *by)
    sorted_rows = take(rows, np.lexsort([rows[name] for name in (*reversed(order), *reversed(names))]))
    first = np.ones(size_of(rows), bool)
    first[1:] = np.any([sorted_rows[name][1:] != sorted_rows[name][:-1] for name in names], axis=0)
    return take(sorted_rows, np.flatnonzero(first))


def _before(one: Columns, other: Columns) -> NDArray[np.bool_]:
    """Return where one label counts before the other, shape ``(n,)``."""
    before, same = np.zeros(size_of(one), bool), np.ones(size_of(one), bool)
    for name in _ORDER:
        first, second = one[name], other[name]
        if first.dtype.kind == "f":  # NaN comes last, as in a sort
            first, second = np.nan_to_num(first, nan=np.inf), np.nan_to_num(second, nan=np.inf)
        before |= same & (first < second)
        same &= first == second
    return before


def _open(windows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the windows that may still be tested, each once, in order."""
    return np.unique(windows[windows > FINAL])
