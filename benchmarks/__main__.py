"""Run benchmarks and write one JSON file each under ``benchmarks/results/``: ``python -m benchmarks [NAME …]``."""

from __future__ import annotations

import importlib
import json
import os
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

MODULES = ("codec", "log", "detectors", "replay", "sdk", "gateway")
ON_REQUEST = {
    "sdk-peers": "benchmarks.peers",
    "kafka": "benchmarks.kafka",
    "scale": "benchmarks.scale",
    "faults": "benchmarks.faults",
    "faults-embedded": "benchmarks.faults_embedded",
    "soak": "benchmarks.soak",
    "nulls": "benchmarks.nulls",
    "names": "benchmarks.names",
    "keys": "benchmarks.keys",
    "space": "benchmarks.space",
    "age": "benchmarks.age",
    "archive": "benchmarks.archive",
    "installs": "benchmarks.installs",
    "labelled": "benchmarks.labelled",
}
"""Only run when named: they need an environment of their own, brokers, or minutes to half an hour."""
COMMANDS = {
    "sdk-peers": "make bench-sdk",
    "scale": "make bench-scale",
    "faults": "make bench-faults",
    "faults-embedded": "make bench-faults",
    "soak": "make soak",
    "nulls": "make bench-nulls",
    "age": "make bench-age",
    "installs": "make test-installs WRITE=1",
}
"""How to run those that make has a target of their own for."""
RESULTS = Path(__file__).parent / "results"


def main(names: list[str]) -> int:
    for name in names or MODULES:
        if name not in (*MODULES, *ON_REQUEST):
            sys.stderr.write(f"no benchmark {name!r}; there are {', '.join([*MODULES, *ON_REQUEST])}\n")
            return 2
        module = importlib.import_module(ON_REQUEST.get(name, f"benchmarks.{name}"))
        before, begun = calibration(), time.perf_counter()
        figures = module.run()
        found = {
            "benchmark": module.NAME,
            "command": COMMANDS.get(name, f"make bench ARGS={module.NAME}"),
            "figures": figures,
            "seconds": round(time.perf_counter() - begun, 1),
            "machine": machine(),
            "calibration_ms": {"before": before, "after": calibration()},
        }
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{module.NAME}.json"
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(json.dumps(found, indent=2))
    return 0


def machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "davy": version("davy"),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }


def calibration() -> dict[str, float]:
    """Time a fixed piece of work ten times: how noisy the machine is while the benchmark runs."""
    times = []
    for _ in range(10):
        begun = time.perf_counter()
        sum(i * i for i in range(200_000))
        times.append((time.perf_counter() - begun) * 1000)
    return {"median": round(statistics.median(times), 2), "worst": round(max(times), 2)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
