"""Run the benchmark: ``python -m benchmarks.app [--quick] [--life] [MODEL …]``; writes ``results/app.json``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from benchmarks.__main__ import RESULTS, calibration, machine
from benchmarks.app import LIFE, NAME, WATCHES, life, run


def main(arguments: list[str]) -> int:
    """Measure, and replace in the file what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.app")
    parser.add_argument("models", nargs="*", choices=[*WATCHES, []], help="all by default")
    parser.add_argument("--quick", action="store_true", help="print figures of short rounds, write none")
    parser.add_argument("--life", action="store_true", help="follow the memory over 300,000 requests instead")
    options = parser.parse_args(arguments)
    models, before, begun = options.models or list(WATCHES), calibration(), time.perf_counter()
    if options.life:
        figures: dict[str, Any] = {LIFE: life()}
    elif options.quick:
        figures = run(models, rounds=3, seconds=0.8, paced_rounds=1)
    else:
        figures = run(models)
    if options.quick:
        print(json.dumps(figures, indent=1))
        return 0
    path = RESULTS / f"{NAME}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    timed = {
        "seconds": round(time.perf_counter() - begun, 1),
        "machine": machine(),
        "calibration_ms": {"before": before, "after": calibration()},
    }
    if options.life and found:  # memory says nothing of how fast the machine was for the other figures
        timed = {key: found[key] for key in timed}
    figures = {**found.get("figures", {}), **figures}
    found = {"benchmark": NAME, "command": "make bench-app", "figures": figures, **timed}
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
