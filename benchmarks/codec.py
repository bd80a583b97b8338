"""The codec: inferences to bytes on the caller's thread, and an envelope to columns on the reader's.

Times are medians over repeats of the mean of one repeat, so that a busy machine moves them little.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import numpy as np

from davy.codec import Encoder, decode, pack

NAME: Final = "codec"
ROWS: Final = 200
FEATURES: Final = 30
BATCH: Final = 256
REPEATS: Final = 15
TARGETS: Final = {"encode_30_floats_us": 2.0, "decode_rows_per_second": 3_000_000}
ID: Final = bytes(range(16))


def microseconds(work: Callable[[], Any], number: int) -> float:
    return median(timeit.repeat(work, number=number, repeat=REPEATS)) / number * 1e6


def cases(generator: np.random.Generator) -> dict[str, dict[str, Any]]:
    return {
        "30_floats": {f"feature_{i}": float(i) * 1.1 for i in range(FEATURES)},
        "30_float32": {"x": generator.standard_normal(FEATURES, dtype=np.float32)},
        "768_float32": {"x": generator.standard_normal(768, dtype=np.float32)},
        "150_kb_image": {"image": np.zeros((224, 224, 3), np.uint8)},
    }


def encode_times(generator: np.random.Generator) -> dict[str, float]:
    encoder, found = Encoder(), {}
    for name, inputs in cases(generator).items():
        number = 500 if "image" in name else 5_000

        def work(model: str = f"{name}:1", inputs: dict[str, Any] = inputs) -> None:
            encoder.encode(model, ID, 7, inputs, {"score": 0.5}, latency_ms=1.0, rate=1.0)

        found[f"encode_{name}_us"] = microseconds(work, number)
    return found


def run() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    found: dict[str, Any] = encode_times(generator)
    encoder = Encoder()
    ids, x = generator.bytes(16 * BATCH), generator.standard_normal((BATCH, FEATURES), dtype=np.float32)
    score = generator.random(BATCH)

    def batch() -> None:
        encoder.encode_batch("bench:1", ids, 7, {"x": x}, {"score": score})

    rows = [encoder.encode("bench:1", ID, 7, {"x": x[i]}, {"score": 0.5}) for i in range(ROWS)]
    envelope = pack(rows)

    def read() -> None:
        decode(envelope)["inputs", "x"].values.sum()

    decoded = microseconds(read, 200)
    found |= {
        "batch_us_per_row": microseconds(batch, 200) / BATCH,
        "pack_us_per_row": microseconds(lambda: pack(rows), 100) / ROWS,
        "decode_rows_per_second": round(ROWS / decoded * 1e6),
        "envelope_bytes_per_row": len(envelope) / ROWS,
    }
    return {**{name: round(value, 3) for name, value in found.items()}, "targets": TARGETS}
