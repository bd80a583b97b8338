"""The archive: rows a second of one core from the log to Parquet files, and their bytes an inference.

The log is in memory, the files are on a disk; rows come in envelopes of 200, are taken note of, read again and written,
as `davy run archive` does to a model that it knows. Medians over repeats, each with an archive of its own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from davy.archive.places import open_place
from davy.archive.role import Archive
from davy.codec import Encoder, pack
from davy.config import Settings
from davy.consume import Loop
from davy.event import INFERENCES
from davy.log import Message
from davy.runner import open_runtime
from davy.runtime import Runtime

NAME: Final = "archive"
REPEATS: Final = 5
ENVELOPE: Final = 200
DAY: Final = 86_400 * 10**9
Row = Callable[[np.random.Generator, int], dict[str, Any]]


def tabular(generator: np.random.Generator, place: int) -> dict[str, Any]:
    inputs: dict[str, Any] = {f"feature_{i}": float(x) for i, x in enumerate(generator.normal(size=30))}
    return {**inputs, "channel": ("web", "app", "shop")[place % 3]}


def embedding(generator: np.random.Generator, place: int) -> dict[str, Any]:
    return {"vector": generator.standard_normal(768, dtype=np.float32), "query": f"what is {place}?"}


def picture(generator: np.random.Generator, place: int) -> dict[str, Any]:
    return {"image": generator.integers(0, 40, (28, 28), np.uint8) + np.uint8(place % 200)}


def mixed(generator: np.random.Generator, place: int) -> dict[str, Any]:
    """Return a row of which a tenth has another kind."""
    odd = place % 10 == 0
    return {f"x{i}": "n/a" if odd else float(x) for i, x in enumerate(generator.normal(size=10))}


CASES: Final[dict[str, tuple[Row, int]]] = {
    "30_floats_and_a_text": (tabular, 50_000),
    "768_float32_and_a_text": (embedding, 8_000),
    "28x28_uint8": (picture, 20_000),
    "10_of_two_kinds": (mixed, 20_000),
}


BEFORE: Final[dict[str, dict[str, Any]]] = {
    "30_floats_and_a_text": {
        "rows_per_second": 169_417,
        "bytes_per_inference": 324.6,
        "now_over_before": [1.22, 1.46, 1.19, 1.3, 1.1],
    },
    "768_float32_and_a_text": {
        "rows_per_second": 47_653,
        "bytes_per_inference": 2955.1,
        "now_over_before": [0.9, 1.05, 0.92, 1.07, 0.99],
    },
    "28x28_uint8": {
        "rows_per_second": 58_974,
        "bytes_per_inference": 728.8,
        "now_over_before": [0.93, 0.9, 0.88, 0.87, 0.82],
    },
    "10_of_two_kinds": {
        "rows_per_second": 33_175,
        "bytes_per_inference": 136.3,
        "now_over_before": [1.72, 1.68, 1.52, 1.62, 1.6],
    },
}
"""Of the commit before there were schemas, 863c974: this program ran on it and on the one after in turns, five times
each; medians, and the five ratios of rows a second, which the noise of the machine moves least."""


def envelopes(make: Row, count: int) -> list[bytes]:
    generator, encoder = np.random.default_rng(0), Encoder()
    found = []
    for first in range(0, count, ENVELOPE):
        chunks = [
            encoder.encode(
                "bench:1",
                place.to_bytes(16, "big"),
                20_000 * DAY + place * 10**6,
                make(generator, place),
                {"probs": generator.dirichlet([1, 1])},
                tags={"shop": f"shop-{place % 50}"},
                latency_ms=float(generator.exponential()),
            )
            for place in range(first, min(first + ENVELOPE, count))
        ]
        groups: dict[int, list[Any]] = {}
        for chunk in chunks:  # a layout that widens begins an envelope
            groups.setdefault(id(chunk.layout), []).append(chunk)
        found += [pack(group) for group in groups.values()]
    return found


def once(values: list[bytes], count: int) -> tuple[float, float]:
    """Return seconds of a core, and bytes an inference, of archiving all of these but the first at once, after it."""
    with (
        tempfile.TemporaryDirectory() as directory,
        open_runtime(Settings(url=f"memory://{directory}")) as runtime,
    ):
        root = Path(directory) / "archive"
        first, *others = values
        archive(runtime, root, [first], rows=1)
        before = sum(path.stat().st_size for path in (root / "inferences").rglob("*.parquet"))
        seconds = archive(runtime, root, others, rows=count - ENVELOPE)
        size = sum(path.stat().st_size for path in (root / "inferences").rglob("*.parquet"))
        return seconds, (size - before) / (count - ENVELOPE)


def archive(runtime: Runtime, root: Path, values: list[bytes], *, rows: int) -> float:
    """Archive records in one file; return the seconds of a core that it took."""
    producer = runtime.log.producer()
    producer.append([Message(INFERENCES, "bench:1", value) for value in values])
    producer.close()
    settings = replace(runtime.settings, archive=replace(runtime.settings.archive, rows=rows))
    there = len(list((root / "inferences").rglob("*.parquet")))
    loop = Loop(runtime, Archive(replace(runtime, settings=settings), open_place(f"file:///{root}")))
    begun = time.process_time()
    while len(list((root / "inferences").rglob("*.parquet"))) == there:
        loop.step()
    seconds = time.process_time() - begun
    loop.close()
    return seconds


def run() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (make, count) in CASES.items():
        values = envelopes(make, count)
        runs = [once(values, count) for _ in range(REPEATS)]
        now = {
            "rows_per_second": round((count - ENVELOPE) / median(seconds for seconds, _ in runs)),
            "bytes_per_inference": round(runs[0][1], 1),
        }
        found[name] = {"now": now, "before": BEFORE[name]}
    return found
