"""What is sent: standard normal features, and the answer of a model that is one number or two probabilities."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from davy.codec import dump_any, load_any
from davy.config import DetectSettings
from davy_detectors.batch import Batch
from davy_detectors.reference import Reference

SEED: Final = 7
MODEL: Final = "bench:1"
FEATURES: Final = 30
ROWS: Final = 200
"""Inferences of one call of the model; they fill an envelope."""
_REFERENCE_ROWS: Final = 10_000

Matrix = NDArray[np.float32]


class Rows(NamedTuple):
    """Inferences: `features` of shape ``(n, features)``, `probs` of shape ``(n, 2)``."""

    features: Matrix
    probs: Matrix


def rows(count: int, features: int = FEATURES, *, seed: int = SEED) -> Rows:
    """Draw inferences; the first feature decides the class."""
    found = np.random.default_rng(seed).standard_normal((count, features), dtype=np.float32)
    risk = 1 / (1 + np.exp(-found[:, 0]))
    return Rows(found, np.stack([risk, 1 - risk], axis=1))


def names(features: int = FEATURES) -> list[str]:
    """Return the names of the features."""
    return [f"feature_{i}" for i in range(features)]


def reference(features: int = FEATURES, *, probabilities: bool) -> Reference:
    """Fit a reference on ten thousand inferences of another seed."""
    drawn = rows(_REFERENCE_ROWS, features, seed=SEED + 1)
    columns = dict(zip(names(features), drawn.features.T, strict=True))
    columns |= {"outputs.probs": drawn.probs} if probabilities else {"outputs.value": drawn.probs[:, 0]}
    return Reference.fit(MODEL, Batch.from_columns(MODEL, columns), settings=DetectSettings())


def renamed(data: bytes, model: str) -> bytes:
    """Return the bytes of a reference as those of another model."""
    return dump_any({**load_any(data), "model": model})
