"""A deployment on three brokers and Redis, broken in ten ways, twenty times each: what was lost and how soon it rested.

It runs tests/faults/test_cluster.py, whose checks decide; here only what they saw is put together. ``DAVY_FAULTS``
names some of the faults, separated by commas: those are measured anew and the others stay as they were.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Final

NAME: Final = "faults"
ROUNDS: Final = 20
_ROOT: Final = Path(__file__).parents[1]
_TESTS: Final = _ROOT / "tests" / "faults" / "test_cluster.py"


def run() -> dict[str, Any]:
    """Run the tests; give for every fault in how many rounds every check held, and what was seen by then."""
    chosen = [name.strip() for name in os.environ.get("DAVY_FAULTS", "").split(",") if name.strip()]
    before = (
        json.loads((_ROOT / "benchmarks" / "results" / "faults.json").read_text())["figures"]
        if chosen
        else {}
    )
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        env = {**os.environ, "DAVY_FAULT_ROUNDS": str(ROUNDS), "DAVY_FAULT_RESULTS": str(results)}
        wanted = " or ".join(f"({' and '.join(name.split())})" for name in chosen)
        subprocess.run([sys.executable, "-m", "pytest", str(_TESTS), "-k", wanted], env=env, check=False)
        found = json.loads(results.read_text()) if results.exists() else {}
    return {**before, **{name: _summary(rounds) for name, rounds in found.items()}}


def _summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    last, seconds = rounds[-1], [one["seconds_to_rest"] for one in rounds]
    return {
        "rounds": ROUNDS,
        "rounds_in_which_every_check_held": len(rounds),
        "captured": last["captured"],
        "stored_and_counted": last["captured"] - last["dropped"],
        "dropped": last["dropped"],
        "sent_again": last["sent_again"],
        "late": last["late"],
        "incidents": last["incidents"],
        "tasks": last["tasks"],
        "seconds_to_rest": {"median": median(seconds), "worst": max(seconds)},
    }
