"""The join of feedback with inferences: pairs a second in one process, with aggregation and the store, and memory.

``DAVY_BENCH_JOIN_INFERENCES`` and ``DAVY_BENCH_JOIN_FEEDBACK`` say how many; a million and 200,000 are the issue's.
"""

from __future__ import annotations

import os
import tempfile
import time
from typing import Any, Final

import numpy as np

from davy.store import Batch
from davy.store.sqlite import SqliteStore
from davy_detectors.aggregates import Counts
from davy_detectors.labelled import Join
from davy_detectors.labelled.columns import Columns, take
from davy_detectors.labelled.rows import pack_rows
from davy_detectors.labelled.values import Vocabulary, digest_of

NAME: Final = "labelled"
INFERENCES: Final = int(os.environ.get("DAVY_BENCH_JOIN_INFERENCES", "50000"))
FEEDBACK: Final = int(os.environ.get("DAVY_BENCH_JOIN_FEEDBACK", "10000"))
SECOND: Final = 10**9
WINDOW: Final = SECOND // 20
TARGETS: Final = {"joined_per_second": 50_000}
_BLOCK, _SPOKEN = 12_800, 4_096
_CLASSES: Final = [f"class {number}" for number in range(5)]


def run() -> dict[str, Any]:
    rng, begin = np.random.default_rng(0), 1_700_000_000 * SECOND
    rows = _inferences(rng, begin)
    said = _feedback(rng, rows, begin)
    names = Vocabulary([*_CLASSES, "truth"])
    seen = [
        pack_rows(take(rows, np.arange(n, min(n + _BLOCK, INFERENCES))), names)
        for n in range(0, INFERENCES, _BLOCK)
    ]
    told = [
        pack_rows(take(said, np.arange(n, min(n + _SPOKEN, FEEDBACK))), names)
        for n in range(0, FEEDBACK, _SPOKEN)
    ]
    with tempfile.TemporaryDirectory() as directory:
        store = SqliteStore(f"sqlite:///{directory}")
        join = Join(store, "m:1", INFERENCES)
        begun = time.perf_counter()
        for message in seen:
            _turn(store, join, [message], [])
        indexed = time.perf_counter() - begun
        begun = time.perf_counter()
        for message in told:
            _turn(store, join, [], [message])
        joined = time.perf_counter() - begun
        disk = sum(
            len(data) for name in ("inferences", "labels") for _, data in store.items(f"join/m:1/{name}")
        )
        store.close()
    return {
        "inferences": INFERENCES,
        "feedback": FEEDBACK,
        "joined": join.counts.joined,
        "indexed_per_second": round(INFERENCES / indexed),
        "joined_per_second": round(join.counts.joined / joined),
        "memory_bytes": join.nbytes,
        "store_bytes": disk,
        "targets": TARGETS,
    }


def _turn(store: SqliteStore, join: Join, inferences: list[bytes], labels: list[bytes]) -> None:
    changed = join.take_in(inferences, labels, lambda times: times - times % WINDOW)
    if len(changed):
        pairs, cells = join.pairs(changed)
        both = np.bincount(cells * 2 + (pairs.right == 1), minlength=2 * len(changed))
        for one in both.reshape(-1, 2):
            Counts(one).to_bytes()
    changes = Batch()
    join.write(changes)
    store.apply(changes)


def _inferences(rng: np.random.Generator, begin: int) -> Columns:
    digests = np.array([digest_of(name) for name in _CLASSES], np.uint64)
    at = begin + np.arange(INFERENCES) * 1_000_000
    return {
        "high": rng.integers(0, 2**63, INFERENCES).astype(np.uint64),
        "low": rng.integers(0, 2**63, INFERENCES).astype(np.uint64),
        "inference_at": at,
        "inference_time": at,
        "answer_number": np.full(INFERENCES, np.nan),
        "answer_text": digests[rng.integers(0, len(digests), INFERENCES)],
        "arm": np.zeros(INFERENCES, np.uint64),
        "probability": np.full(INFERENCES, np.nan),
        "rate": np.ones(INFERENCES),
        "score:msp": rng.random(INFERENCES).astype(np.float32),
    }


def _feedback(rng: np.random.Generator, rows: Columns, begin: int) -> Columns:
    """Make feedback that comes day after day later: about inferences from all over, at 5,000 a second."""
    which = rng.choice(INFERENCES, FEEDBACK, replace=False)
    return {
        "high": rows["high"][which],
        "low": rows["low"][which],
        "kind": np.full(FEEDBACK, digest_of("truth"), np.uint64),
        "label_time": begin + 14 * 86_400 * SECOND + np.arange(FEEDBACK) * (SECOND // 5_000),
        "truth_number": np.full(FEEDBACK, np.nan),
        "truth_text": rows["answer_text"][which],
        "verdict": np.full(FEEDBACK, np.nan),
        "offered": np.zeros(FEEDBACK, bool),
    }
