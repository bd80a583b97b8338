"""A serving app: captures what standard input asks for, and writes the SDK's account once it is sent.

A line is a JSON object: ``count`` inferences over ``seconds``, `shifted` or not; 0 seconds is as fast as it can.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

import davy
from support.streams import MODEL, rows

BURSTS_A_SECOND = 100


def serve(first: int, count: int, seconds: float, shifted: bool) -> None:
    """Capture inferences numbered from `first` on, a few at a time, at even times."""
    columns = rows(count, first, shifted=np.full(count, shifted))
    inputs = {
        name.removeprefix("inputs."): values.tolist() for name, values in columns.items() if "inputs" in name
    }
    probs = columns["outputs.probs"]
    begun, burst = time.monotonic(), max(1, round(count / seconds / BURSTS_A_SECOND)) if seconds else count
    for row in range(count):
        if row % burst == 0:
            time.sleep(max(0.0, begun + row / count * seconds - time.monotonic()))
        features = {name: values[row] for name, values in inputs.items()}
        davy.capture(MODEL, features, {"probs": probs[row]}, tags={"n": str(first + row)})


def main() -> None:
    first = 0
    for line in sys.stdin:
        asked = json.loads(line)
        serve(first, asked["count"], asked["seconds"], asked["shifted"])
        first += asked["count"]
        davy.flush(120)
        sys.stdout.write(json.dumps(davy.stats()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
