"""What detection costs an inference, how much state it keeps, how late and how often it raises an alarm."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any

import numpy as np

from davy.config import DetectSettings
from davy_detectors.batch import Batch
from davy_detectors.checks import sample, watch
from davy_detectors.drift import ScoreDictionaryDetector
from davy_detectors.nulls import NULLS
from davy_detectors.reference import Reference
from davy_detectors.reference.text import TextModel
from davy_detectors.stream.partial_aggregate import PartialAggregate
from davy_detectors.stream.partition_counter import aggregated

NAME = "detectors"
BATCH = 1_024
SEEDS = 40
CLEAN = 20_000
WIDE = ((400, 4_096), (5_000, 1_536), (10_000, 768))
SHIFTS: dict[str, tuple[int, Callable[[np.random.Generator, int], Any]]] = {
    "mean +.25 sd": (700, lambda rng, n: rng.normal(0.25, 1, n)),
    "mean +.5 sd": (190, lambda rng, n: rng.normal(0.5, 1, n)),
    "scale x1.5": (220, lambda rng, n: rng.normal(0, 1.5, n)),
    "5 % at +4 sd": (
        500,
        lambda rng, n: np.where(rng.random(n) < 0.05, rng.normal(4, 1, n), rng.normal(size=n)),
    ),
}


def run() -> dict[str, Any]:
    """Measure costs, delays, false alarms and scorers."""
    return {
        "cost": {
            f"{features} features, steps of {size}": cost(features, size)
            for features in (20, 100)
            for size in (5, 50, BATCH)
        },
        "partial_aggregate_bytes_per_window": {
            f"{features} features": partial_bytes(features) for features in (30, 100)
        },
        "delay_events": {f"steps of {size}": delays(size) for size in (5, 20, 50, 65)},
        "clean": clean(),
        "scorers_us_per_sample": scorers(),
        "text_us_per_300_characters": texts(),
        "embeddings": {f"{count} of {width}": embeddings(count, width) for count, width in WIDE},
    }


def cost(features: int, size: int) -> dict[str, float]:
    """Time counting and testing, microseconds an inference, and weigh the state, bytes a feature."""
    rng = np.random.default_rng(0)
    settings = replace(DetectSettings(), false_alarm_every=1e12)
    detector = fitted(rng.normal(size=(10_000, features)), settings)
    reference = Reference.fit("m:1", batch(rng.normal(size=(10_000, features))), settings=DetectSettings())
    given = batch(rng.normal(size=(BATCH, features)))
    return {
        "binning_us_per_event": microseconds(lambda: reference.scored(given).bins, BATCH),
        "counting_and_testing_us_per_event": microseconds(lambda: watch(detector, given, [size]), BATCH),
        "state_bytes_per_feature": round(len(detector.to_bytes()) / features, 1),
    }


def partial_bytes(features: int) -> int:
    """Weigh the counts of one window of 65 inferences, as they travel from those who count to the one who tests."""
    rng = np.random.default_rng(0)
    detector = fitted(rng.normal(size=(10_000, features)), DetectSettings())
    steps = np.arange(650) // 65
    scored = detector.reference.scored(batch(rng.normal(size=(650, features))))
    aggregates = {detector.name: aggregated(detector, scored, steps, 10)}
    windows = np.arange(10)
    partial = PartialAggregate(
        events=650,
        windows=windows,
        sizes=np.full(10, 65),
        latest=windows,
        tested=windows,
        aggregates=aggregates,
    )
    return len(partial.to_bytes()) // 10


def delays(step: int) -> dict[str, dict[str, float]]:
    """Median inferences from a change to its alarm, at one false alarm in a million and 10 000 in the reference."""
    found = {}
    for name, (target, shifted) in SHIFTS.items():
        late, onset, missed = [], [], 0
        for seed in range(SEEDS):
            rng = np.random.default_rng(seed)
            detector = fitted(rng.normal(size=(10_000, 1)), DetectSettings())
            watch(detector, batch(rng.normal(size=(CLEAN, 1))), [step])
            alarms = watch(detector, batch(shifted(rng, 20_000)[:, None]), [step])
            missed += not alarms
            late += [alarms[0].event + 1 - CLEAN] if alarms else [20_000]
            onset += [abs(alarms[0].onset_event - CLEAN)] if alarms else []
        found[name] = {
            "median": float(np.median(late)),
            "90 %": float(np.quantile(late, 0.9)),
            "target": target,
            "missed": missed,
            "median onset error": float(np.median(onset)),
        }
    return found


def clean() -> dict[str, float]:
    """Count alarms on clean streams, at one accepted in a million: 10 features, 10 references."""
    alarms, events = 0, 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        detector = fitted(rng.normal(size=(10_000, 10)), DetectSettings())
        for _ in range(4):
            alarms += len(watch(detector, batch(rng.normal(size=(50_000, 10))), [50]))
            events += 50_000
    return {"events": events, "alarms": alarms, "accepted": events / DetectSettings().false_alarm_every}


def scorers() -> dict[str, float]:
    """Time every installed scorer: 10 classes, 128 numbers in the embedding; and the small sample of the kit."""
    rng = np.random.default_rng(0)
    columns = {
        "outputs.probs": rng.dirichlet(np.ones(10), 4_000),
        "embedding": rng.normal(size=(4_000, 128)).astype(np.float32),
    }
    known, found = Batch.from_columns("m:1", columns), {}
    for entry in sorted(entry_points(group="davy.scorers")):
        scorer = entry.load().fit(known)
        if scorer is not None:
            found[entry.name] = microseconds(lambda s=scorer: s.score(known.take(slice(0, BATCH))), BATCH)
    reference = Reference.fit("m:1", sample(rng, 4_000), settings=DetectSettings())
    given = sample(rng, BATCH)
    found["all ranks, 3 classes, 16 dimensions"] = microseconds(lambda: reference.scored(given).ranks, BATCH)
    return found


def texts() -> dict[str, float]:
    """Time what is watched about an answer of 300 characters, in an envelope of 200 and alone."""
    drawn = NULLS["free text"](np.random.default_rng(0), 2_000)
    cut = [
        f"{text} {other} {third}"[:300]
        for text, other, third in zip(drawn, drawn[1:], drawn[2:], strict=False)
    ]
    model = TextModel.fit(cut, answers=True, seed=0)
    return {
        f"batches of {size}": microseconds(lambda n=size: model.features(cut[:n]), size) for size in (200, 1)
    }


def embeddings(count: int, width: int) -> dict[str, float]:
    """Time a fit whose answers all differ and the score of one, and weigh the reference."""
    rng = np.random.default_rng(0)
    points = (
        rng.normal(size=(count, width)).astype(np.float32)
        * np.arange(1.0, width + 1, dtype=np.float32) ** -0.5
    )
    answers = np.array([f"answer {i}" for i in range(count)], object)
    known = Batch.from_columns("m:1", {"embedding": points, "outputs.label": answers})
    begun, used = time.perf_counter(), time.process_time()
    reference = Reference.fit("m:1", known, settings=DetectSettings())
    scorer = reference.scorers["mahalanobis"]
    return {
        "fit_seconds": round(time.perf_counter() - begun, 2),
        "fit_processor_seconds": round(time.process_time() - used, 2),
        "reference_megabytes": round(len(reference.to_bytes()) / 1e6, 2),
        "score_us": microseconds(lambda: scorer.score(known.take(slice(0, 200))), 200),
    }


def batch(values: Any) -> Batch:
    """Make a batch of a matrix: one numeric input a column."""
    return Batch.from_columns("m:1", {f"x{i}": column for i, column in enumerate(values.T)})


def fitted(values: Any, settings: DetectSettings) -> ScoreDictionaryDetector:
    """Make a detector whose reference is this matrix."""
    return ScoreDictionaryDetector(Reference.fit("m:1", batch(values), settings=settings), settings)


def microseconds(work: Callable[[], object], events: int, repeats: int = 31) -> float:
    """Return the median time of one event."""
    work()
    spent = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        spent.append(time.perf_counter() - begun)
    return round(float(np.median(spent)) / events * 1e6, 3)
