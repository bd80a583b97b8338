"""`davy up` and an app on one directory, with clocks that jump and files that go away: what was counted, and how soon.

It runs tests/faults/test_clocks_and_logs.py, whose checks decide; here only what they saw is put together.
``DAVY_FAULT_ROUNDS`` sets another number of rounds than twenty.
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

NAME: Final = "faults-embedded"
_TESTS: Final = Path(__file__).parents[1] / "tests" / "faults" / "test_clocks_and_logs.py"


def run() -> dict[str, Any]:
    """Run the tests; give for every fault in how many rounds every check held, and what was seen by then."""
    rounds = int(os.environ.get("DAVY_FAULT_ROUNDS", "20"))
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        env = {**os.environ, "DAVY_FAULT_ROUNDS": str(rounds), "DAVY_FAULT_RESULTS": str(results)}
        subprocess.run([sys.executable, "-m", "pytest", str(_TESTS)], env=env, check=False)
        found = json.loads(results.read_text()) if results.exists() else {}
    return {name: _summary(rounds, seen) for name, seen in found.items()}


def _summary(rounds: int, seen: list[dict[str, float]]) -> dict[str, Any]:
    seconds = [one["seconds_to_incident"] for one in seen if "seconds_to_incident" in one]
    return {
        "rounds": rounds,
        "rounds_in_which_every_check_held": len(seen),
        "captured": sum(one["captured"] for one in seen),
        "counted": sum(one["counted"] for one in seen),
        "told_to_be_gone": sum(one.get("told_to_be_gone", 0) for one in seen),
        "seconds_to_incident": {"median": round(median(seconds), 1), "worst": round(max(seconds), 1)}
        if seconds
        else None,
    }
