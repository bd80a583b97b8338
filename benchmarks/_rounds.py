"""Runs tests that strike rounds of faults, whose checks decide, and reads what each round showed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

ROUNDS: Final = int(os.environ.get("DAVY_FAULT_ROUNDS", "20"))
_ROOT: Final = Path(__file__).parents[1]


def struck(test: str, *, processes: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Return, by fault, what was seen in each round in which every check held.

    ``DAVY_FAULTS`` names some of the faults, separated by commas, ``DAVY_FAULT_ROUNDS`` another number of rounds than
    twenty.

    Parameters
    ----------
    test
        The file under ``tests/faults``.
    processes
        How many rounds run beside each other; 0 for one after the other, in one process.
    """
    chosen = [name.strip() for name in os.environ.get("DAVY_FAULTS", "").split(",") if name.strip()]
    wanted = " or ".join(f"({' and '.join(name.split())})" for name in chosen)
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl"
        env = {**os.environ, "DAVY_FAULT_ROUNDS": str(ROUNDS), "DAVY_FAULT_RESULTS": str(results)}
        beside = ["-n", str(processes), "--dist", "load"] if processes else []
        command = [sys.executable, "-m", "pytest", str(_ROOT / "tests" / "faults" / test), "-k", wanted]
        subprocess.run([*command, *beside], env=env, check=False)
        lines = results.read_text().splitlines() if results.exists() else []
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        seen = json.loads(line)
        found.setdefault(seen.pop("fault"), []).append(seen)
    return found


def kept(name: str) -> dict[str, Any]:
    """Return the figures of an earlier run, which stay where only some faults were asked for."""
    path = _ROOT / "benchmarks" / "results" / f"{name}.json"
    if not os.environ.get("DAVY_FAULTS") or not path.exists():
        return {}
    figures: dict[str, Any] = json.loads(path.read_text())["figures"]
    return figures
