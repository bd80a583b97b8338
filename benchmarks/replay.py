"""Replaying a log: how much faster than real time at 1,000 inferences a second with 30 features."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from statistics import median
from typing import Any, Final

import numpy as np

from davy.codec import Encoder, pack
from davy.config import Settings
from davy.event import INFERENCES
from davy.log import Message
from davy.log.sqlite import SqliteLog
from davy.runner import open_runtime
from davy_detectors.batch import Batch
from davy_detectors.reference import Reference
from davy_detectors.reference.active import put_fitted
from davy_detectors.stream.replay import replay

NAME: Final = "replay"
SECONDS: Final = 300
RATE: Final = 1_000
ROWS: Final = 200
FEATURES: Final = 30
BEGIN: Final = 1_700_000_000 * 10**9
TARGETS: Final = {"times_real_time": 50.0}


def run() -> dict[str, Any]:
    rng, names = np.random.default_rng(0), [f"f{i}" for i in range(FEATURES)]
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(url=f"sqlite:///{directory}")
        _write(settings.url, rng, names)
        with open_runtime(settings) as runtime:
            normal = {f"inputs.{name}": rng.normal(size=10_000) for name in names}
            fitted = Reference.fit("m:1", Batch.from_columns("m:1", normal), settings=settings.detect)
            put_fitted(runtime, fitted)
            found = [replay(runtime) for _ in range(3)]
            other = replay(runtime, settings=replace(settings.detect, tolerance=0.1))
    took = median(one.seconds for one in found)
    return {
        "inferences": found[0].models[0].inferences,
        "seconds_of_log": round(found[0].log_seconds, 1),
        "seconds": round(took, 2),
        "times_real_time": round(found[0].log_seconds / took, 1),
        "inferences_per_second": round(found[0].models[0].inferences / took),
        "incidents": [len(one.incidents) for one in [*found, other]],
        "targets": TARGETS,
    }


def _write(url: str, rng: np.random.Generator, names: list[str]) -> None:
    now = BEGIN
    log, encoder = SqliteLog(url, clock=lambda: now), Encoder()
    producer = log.producer()
    for first in range(0, SECONDS * RATE, ROWS):
        ids = b"".join((first + row + 1).to_bytes(16, "big") for row in range(ROWS))
        at = BEGIN + first * 10**9 // RATE
        now = at + ROWS * 10**9 // RATE
        columns = {name: rng.normal(size=ROWS) for name in names}
        chunk = encoder.encode_batch("m:1", ids, at, columns, {"value": np.zeros(ROWS)})
        producer.append([Message(INFERENCES, "m:1", pack([chunk]))])
    log.close()
