"""Davy on one machine, broken in ways that only what it does can tell: how soon what it says of itself is right.

It runs tests/faults/test_embedded.py, whose checks decide; here only what they saw is put together. ``DAVY_FAULTS``
names some of the faults, separated by commas: those are measured anew and the others stay as they were.
``DAVY_FAULT_ROUNDS`` says how often each strikes, twenty times by default.
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

NAME: Final = "embedded"
ROUNDS: Final = int(os.environ.get("DAVY_FAULT_ROUNDS", "20"))
_ROOT: Final = Path(__file__).parents[1]
_TESTS: Final = _ROOT / "tests" / "faults" / "test_embedded.py"
_RESULT: Final = _ROOT / "benchmarks" / "results" / f"{NAME}.json"
_TIMES: Final = ("readyz_seconds", "doctor_seconds", "readyz_well_seconds", "doctor_well_seconds")


def run() -> dict[str, Any]:
    """Run the tests; give for every fault in how many rounds every check held, and how long what is said was wrong."""
    chosen = [name.strip() for name in os.environ.get("DAVY_FAULTS", "").split(",") if name.strip()]
    before = json.loads(_RESULT.read_text())["figures"] if chosen and _RESULT.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        env = {**os.environ, "DAVY_FAULT_ROUNDS": str(ROUNDS), "DAVY_EMBEDDED_RESULTS": str(results)}
        wanted = " or ".join(f"({' and '.join(name.split())})" for name in chosen)
        subprocess.run([sys.executable, "-m", "pytest", str(_TESTS), "-k", wanted], env=env, check=False)
        found = json.loads(results.read_text()) if results.exists() else {}
    return {**before, **{name: _summary(rounds) for name, rounds in found.items()}}


def _summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    times = {name: [one[name] for one in rounds] for name in _TIMES}
    return {
        "rounds": ROUNDS,
        "rounds_in_which_every_check_held": len(rounds),
        "captured": sum(one["captured"] for one in rounds),
        "counted": sum(one["counted"] for one in rounds),
        "dropped": sum(one["dropped"] for one in rounds),
        **{name: {"median": median(seen), "worst": max(seen)} for name, seen in times.items()},
    }
