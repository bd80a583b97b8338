"""A deployment on three brokers and Redis, broken in ten ways, twenty times each: what was lost and how soon it rested.

It runs tests/faults/test_cluster.py, whose checks decide.
"""

from __future__ import annotations

from statistics import median
from typing import Any, Final

from benchmarks._rounds import ROUNDS, kept, struck

NAME: Final = "faults"


def run() -> dict[str, Any]:
    """Run the tests; return for every fault in how many rounds every check held, and what was seen by then."""
    return {**kept(NAME), **{name: _summary(rounds) for name, rounds in struck("test_cluster.py").items()}}


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
