"""How often clean streams of every kind raise an alarm, beside how often is accepted: a million inferences each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from davy.config import DetectSettings
from davy_detectors.checks import watch
from davy_detectors.drift import ScoreDictionaryDetector
from davy_detectors.nulls import NULLS, null, null_reference

NAME = "nulls"
EVENTS = 1_000_000
PART = 50_000
STEP = 50
CASES = {"references of 1000": (1_000, 20_000.0, 20), "references of 10000": (10_000, 1_000_000.0, 5)}
"""Inferences in a reference, accepted inferences between alarms, and how many references share the million."""


def run() -> dict[str, Any]:
    """Count the alarms of every null in both cases."""
    return {
        case: {
            "events each": EVENTS,
            "accepted each": EVENTS / every,
            "alarms": {name: alarms(name, size, every, references) for name in NULLS},
        }
        for case, (size, every, references) in CASES.items()
    }


def alarms(name: str, size: int, every: float, references: int) -> int:
    """Count the alarms in a million clean inferences, watched against several references."""
    settings, found = replace(DetectSettings(), false_alarm_every=every), 0
    for seed in range(references):
        rng = np.random.default_rng(seed)
        detector = ScoreDictionaryDetector(null_reference(name, rng, size, settings), settings)
        for start in range(0, EVENTS // references, PART):
            count = min(PART, EVENTS // references - start)
            found += len(watch(detector, null(name, rng, count), [STEP]))
    return found
