"""Davy and an app, on files or on Kafka and Redis, broken: what was counted, and how soon what Davy says was right.

It runs tests/faults/test_clocks_and_logs.py and tests/faults/test_truth.py, two deployments beside each other. A
fault of the second strikes a deployment five times, and what was captured is counted after the last.
"""

from __future__ import annotations

from statistics import median
from typing import Any, Final

from benchmarks._rounds import ROUNDS, kept, struck

NAME: Final = "faults-embedded"
PROCESSES: Final = 2
_SUMS: Final = ("captured", "counted", "dropped", "told_to_be_gone")
_TIMES: Final = (
    "seconds_to_incident",
    "readyz_seconds",
    "doctor_seconds",
    "readyz_well_seconds",
    "doctor_well_seconds",
)


def run() -> dict[str, Any]:
    """Run the tests; return for every fault in how many rounds every check held, and what was seen in these."""
    before = kept(NAME)
    suites = {"counts": "test_clocks_and_logs.py", "truth": "test_truth.py"}
    return {
        suite: {
            **before.get(suite, {}),
            **{name: _summary(rounds) for name, rounds in struck(file, processes=PROCESSES).items()},
        }
        for suite, file in suites.items()
    }


def _summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    times = {key: [one[key] for one in rounds if key in one] for key in _TIMES}
    return {
        "rounds": ROUNDS,
        "rounds_in_which_every_check_held": len(rounds),
        **{key: sum(one.get(key, 0) for one in rounds) for key in _SUMS if key in rounds[-1]},
        **{
            key: {"median": round(median(seen), 1), "worst": round(max(seen), 1)}
            for key, seen in times.items()
            if seen
        },
    }
