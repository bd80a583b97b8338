"""Davy beside Quix Streams and a plain consumer of kafka-python: the same inferences, features and bins, in one run.

Davy reads envelopes as its SDK wrote them; the others read one JSON message an inference, as is usual with them. Davy
does what it does in production: flags, state with position in Redis, tests; the others count into histograms in memory.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.scale.throughput import LIBRARIES, REPEATS, backlog, spread
from benchmarks.scale.traffic import FEATURES, rows
from benchmarks.scale.world import ROOT, World
from davy_detectors.reference.binning import QUANTILES

PYTHON: Final = ROOT / ".streams" / "bin" / "python"
SCRIPT: Final = Path(__file__).with_name("streams.py")
INFERENCES: Final = 300_000
PEERS: Final = (
    "quix-streams, row by row",
    "quix-streams, blocks",
    "kafka-python, json, blocks",
    "kafka-python, msgspec, blocks",
)
_PATIENCE_SECONDS: Final = 180


def compare(world: World, count: int = INFERENCES, repeats: int = REPEATS) -> dict[str, Any]:
    """Measure inferences a second, read and binned by one process; Davy by both client libraries."""
    found = {
        f"davy, {name}": backlog(world, library, probabilities=False, count=count, repeats=repeats)[
            "consumed"
        ]
        for library, name in LIBRARIES.items()
    }
    ours = list(found)
    with tempfile.NamedTemporaryFile(suffix=".npy") as edges:
        np.save(edges.name, np.quantile(rows(10_000, seed=8).features, QUANTILES, axis=0).T)
        topic = f"json{world.place().namespace}"
        written = _run("write", world.servers, topic, count, edges.name)
        for peer in PEERS:
            times = [_read(peer, world.servers, topic, count, edges.name) for _ in range(repeats)]
            found[peer] = spread([count / seconds for seconds in times])
    over = {
        peer: {name: round(found[name]["median"] / found[peer]["median"], 1) for name in ours}
        for peer in PEERS
    }
    return {"inferences": count, "per_second": found, "times": over, "versions": written["versions"]}


def _read(task: str, servers: str, topic: str, count: int, edges: str) -> float:
    found = _run(task, servers, topic, count, edges)
    if found["binned"] != count * FEATURES:
        raise RuntimeError(f"{task} binned {found['binned']} values of {count * FEATURES}")
    return float(found["seconds"])


def _run(task: str, servers: str, topic: str, count: int, edges: str) -> dict[str, Any]:
    command = [str(PYTHON), str(SCRIPT), task, servers, topic, str(count), edges]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{task} ended with code {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
