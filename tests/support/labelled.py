"""Pairs of an inference and what became known about it: a monitor that watches them, and streams of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from davy.codec import dump, dump_any, load_any
from davy.config import DetectSettings
from davy.errors import DecodeError
from davy.event import FEEDBACK, Evidence, Feedback
from davy.log import Message
from davy.store import Batch, Store
from davy_detectors import plugins
from davy_detectors.aggregates import Counts
from davy_detectors.base import Alarm, Reading
from davy_detectors.labelled import Join, LabelledBatch
from davy_detectors.labelled.columns import Columns
from davy_detectors.labelled.rows import pack_rows
from davy_detectors.labelled.values import Vocabulary, digest_of
from davy_detectors.reference import Reference
from support.partitions import Cluster
from support.streams import MODEL, SECOND, pass_time

LENGTH = SECOND // 20
"""Of a window, as the settings have it."""


class Accuracy:
    """Counts right and wrong answers, and alarms once after a hundred wrong ones."""

    name = "accuracy"
    watches = "labelled"
    aggregate_type = Counts

    def __init__(self, reference: Reference, settings: DetectSettings) -> None:
        del settings
        self.reference, self.counts, self.alarmed = reference, np.zeros(2, np.int64), False

    def aggregate(self, labelled: LabelledBatch, windows: NDArray[np.int64], total: int) -> list[Counts]:
        known = ~np.isnan(labelled.right)
        cells = windows[known] * 2 + labelled.right[known].astype(np.int64)
        return [Counts(one) for one in np.bincount(cells, minlength=2 * total).reshape(total, 2)]

    def test(self, aggregates: Sequence[Counts], sizes: Sequence[int]) -> list[Alarm]:
        alarms, done = [], int(self.counts.sum())
        for one, size in zip(aggregates, sizes, strict=True):
            self.counts = self.counts + one.values
            done += size
            if self.counts[0] >= 100 and not self.alarmed:
                self.alarmed = True
                found = [Evidence("accuracy", "smaller", 1.0, 0.5, 1.0)]
                alarms.append(Alarm("accuracy", done - 1, max(0, done - 100), 100.0, 100.0, found))
        return alarms

    def reading(self) -> Reading:
        return Reading(float(self.counts[0]) / 100, {})

    def sample_scores(self, scored: Any, alarm: Alarm) -> NDArray[np.float64]:
        del alarm
        return np.full(len(scored), np.nan)

    def to_bytes(self) -> bytes:
        return dump_any([self.reference.version, self.counts, self.alarmed])

    def restore(self, data: bytes) -> None:
        version, counts, self.alarmed = load_any(data)
        if version != self.reference.version:
            raise DecodeError("accuracy", version, "start anew")
        self.counts = np.array(counts)


class _Point:
    """An entry point of a distribution that is not installed."""

    dist = None

    def __init__(self, kind: type) -> None:
        self.name, self._kind = str(kind.__dict__["name"]), kind

    def load(self) -> type:
        return self._kind

    def __lt__(self, other: Any) -> bool:
        return bool(self.name < other.name)


def install(monkeypatch: pytest.MonkeyPatch, *kinds: type) -> None:
    """Add monitors to those that are installed."""
    installed = plugins.entry_points

    def found(group: str) -> list[Any]:
        mine = [_Point(kind) for kind in kinds] if group == "davy.monitors" else []
        return [*installed(group=group), *mine]

    monkeypatch.setattr(plugins, "entry_points", found)


def feed(cluster: Cluster, at: int, *said: Feedback, key: str | None = None) -> None:
    """Append feedback at this time, keyed by its model."""
    pass_time(cluster.runtime, until=at)
    cluster.log.producer().append(
        [Message(FEEDBACK, one.model if key is None else key, dump(one)) for one in said]
    )


def pairs_by_window(store: Store, monitor: str = "accuracy") -> dict[int, tuple[int, bytes]]:
    """Return the size and the bytes of a monitor's aggregate of every window that is kept."""
    found = {}
    for _, data in store.items(f"windows/{MODEL}"):
        start, _, _, aggregates = load_any(data)
        if monitor in aggregates:
            found[start] = tuple(aggregates[monitor])
    return found


def inferences(count: int, begin: int, classes: int = 5) -> Columns:
    """Return the rows of inferences with random ids, one a millisecond, and what the model answered."""
    rng = np.random.default_rng(1)
    names = np.array([digest_of(f"class {number}") for number in range(classes)], np.uint64)
    at = begin + np.arange(count) * 1_000_000
    chosen = rng.random(count) < 0.02
    return {
        "high": rng.integers(0, 2**63, count).astype(np.uint64),
        "low": rng.integers(0, 2**63, count).astype(np.uint64),
        "inference_at": at,
        "inference_time": at,
        "answer_number": np.full(count, np.nan),
        "answer_text": names[rng.integers(0, classes, count)],
        "arm": np.where(chosen, digest_of("control"), 0).astype(np.uint64),
        "probability": np.where(chosen, 0.02, np.nan),
        "rate": np.ones(count),
        "score:msp": rng.random(count).astype(np.float32),
    }


def labels(rows: Columns, count: int, classes: int = 5) -> Columns:
    """Return feedback about some of the inferences, within a minute of each; a third of it is said again later."""
    rng = np.random.default_rng(2)
    which = rng.choice(len(rows["high"]), count, replace=False)
    which = np.concatenate([which, which[: count // 3]])
    total = len(which)
    names = np.array([digest_of(f"class {number}") for number in range(classes)], np.uint64)
    right = rng.random(total) < 0.8
    truth = np.where(right, rows["answer_text"][which], names[rng.integers(0, classes, total)])
    return {
        "high": rows["high"][which],
        "low": rows["low"][which],
        "kind": np.full(total, digest_of("truth"), np.uint64),
        "label_time": rows["inference_time"][which] + rng.integers(0, 60 * SECOND, total),
        "truth_number": np.full(total, np.nan),
        "truth_text": truth.astype(np.uint64),
        "verdict": np.full(total, np.nan),
        "offered": np.zeros(total, bool),
    }


def place(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the windows of times."""
    return times - times % LENGTH


def packed(rows: Columns, classes: int = 5) -> bytes:
    """Return rows as they travel."""
    return pack_rows(rows, Vocabulary(["truth", "control", *(f"class {n}" for n in range(classes))]))


def expected(rows: Columns, said: Columns) -> dict[int, list[int]]:
    """Return, worked out row by row, how many were wrong and right in each window."""
    answers = {
        (high, low): (time, text)
        for high, low, time, text in zip(
            *(rows[name].tolist() for name in ("high", "low", "inference_time", "answer_text")), strict=True
        )
    }
    first: dict[tuple[int, int], tuple[int, int]] = {}
    for high, low, time, text in zip(
        *(said[name].tolist() for name in ("high", "low", "label_time", "truth_text")), strict=True
    ):
        first[high, low] = min(first.get((high, low), (time, text)), (time, text))
    found: dict[int, list[int]] = {}
    for name, (time, text) in first.items():
        inference_time, answer = answers[name]
        moment = max(time, inference_time)
        found.setdefault(moment - moment % LENGTH, [0, 0])[text == answer] += 1
    return found


class Joining:
    """A join whose process may die between taking rows in and the transaction that keeps what became of them."""

    def __init__(self, store: Store, limit: int) -> None:
        self.store, self._limit = store, limit
        self.aggregates: dict[int, bytes] = {}
        self._join = Join(store, MODEL, limit)
        self._monitor = Accuracy(None, DetectSettings())  # type: ignore[arg-type]

    @property
    def join(self) -> Join:
        """The one of the process that lives."""
        return self._join

    def turn(self, inferences: Sequence[bytes], labels: Sequence[bytes], *, dies: bool = False) -> None:
        """Take rows in, as a turn of the role does; one that dies begins again from what is stored."""
        changed = self._join.take_in(inferences, labels, place)
        if dies:
            self._join = Join(self.store, MODEL, self._limit)
            changed = self._join.take_in(inferences, labels, place)
        pairs, cells = self._join.pairs(changed)
        if len(pairs):
            made = self._monitor.aggregate(pairs, cells, len(changed))
            for start, one in zip(changed.tolist(), made, strict=True):
                self.aggregates[start] = one.to_bytes()
        changes = Batch()
        self._join.write(changes)
        self.store.apply(changes)

    def counts(self) -> dict[int, list[int]]:
        """Return how many were wrong and right in each window that has any."""
        found = {start: Counts.from_bytes(data).values.tolist() for start, data in self.aggregates.items()}
        return {start: counts for start, counts in found.items() if any(counts)}
