"""The whole path at scale: SDK, Kafka, detectors, flags and store, on the cores of this machine, beside its peers.

Everything is real: one Kafka broker on the JVM, ``redis-server`` with its append-only file, ``davy run detect`` in
processes of its own, a serving app with the SDK in another. Every part has fresh topics and state, and its figures are
refused when what the store has counted is not what was sent.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks.scale.latency import by_load
from benchmarks.scale.memory import by_size
from benchmarks.scale.partitions import scaling
from benchmarks.scale.peers import PYTHON, compare
from benchmarks.scale.throughput import LIBRARIES, backlog, call_by_call, end_to_end
from benchmarks.scale.traffic import FEATURES, ROWS, SEED
from benchmarks.scale.world import World, world

NAME: Final = "scale"
LIBRARY: Final = "kafka"
"""The client library of parts that are measured with one: Davy's default."""
CONFLUENT: Final = "kafka+librdkafka"
TARGETS: Final = {
    "consumed_per_second_a_process_kafka-python": 300_000,
    "consumed_per_second_a_process_confluent-kafka": 300_000,
    "produced_per_second": 150_000,
    "times_quix_streams_confluent-kafka": 10,
    "p99_seconds_at_50_%": 1.0,
}


def run() -> dict[str, Any]:
    """Measure everything; return figures, targets and what was reached."""
    if not PYTHON.exists():
        raise SystemExit("the peers are not installed: make bench-scale installs them")
    found: dict[str, Any] = {
        "features": FEATURES, "inferences_a_call": ROWS, "seed": SEED, "cores": os.cpu_count(),
    }  # fmt: skip
    with world() as services:
        parts: dict[str, Callable[[], Any]] = {
            "sdk_call_by_call": lambda: call_by_call(services),
            "backlog": lambda: _backlogs(services),
            "end_to_end": lambda: end_to_end(services, LIBRARY),
            "peers": lambda: compare(services),
            "partitions": lambda: scaling(services, LIBRARY),
            "latency": lambda: by_load(services, LIBRARY, found["end_to_end"]["median"]),
            "memory": lambda: by_size(services, LIBRARY),
        }
        for name, measure in parts.items():
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {name}\n")
            found[name] = measure()
    return {**found, "targets": TARGETS, "reached": reached(found)}


def _backlogs(services: World) -> dict[str, Any]:
    return {
        name: {
            answer: backlog(services, library, probabilities=answer == "two probabilities")
            for answer in ("one number", "two probabilities")
        }
        for library, name in LIBRARIES.items()
    }


def reached(found: dict[str, Any]) -> dict[str, float]:
    """Return the figure of each target; Quix Streams is met in its quickest form, with the library it uses itself."""
    consumed = {name: each["one number"]["consumed"]["median"] for name, each in found["backlog"].items()}
    theirs, ours = LIBRARIES[CONFLUENT], f"davy, {LIBRARIES[CONFLUENT]}"
    times = [each[ours] for peer, each in found["peers"]["times"].items() if peer.startswith("quix-streams")]
    return {
        **{f"consumed_per_second_a_process_{name}": each for name, each in consumed.items()},
        "produced_per_second": found["backlog"][LIBRARIES[LIBRARY]]["one number"]["produced"]["median"],
        f"times_quix_streams_{theirs}": min(times),
        "p99_seconds_at_50_%": found["latency"]["50%"]["p99_seconds"],
    }
