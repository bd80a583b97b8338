"""The section of docs/performance.md on the application, from ``results/app.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from benchmarks.app import LIFE
from benchmarks.scale.page import grid

NOTE: Final = (
    "FastAPI on uvicorn, one worker, a POST of 30 numbers, one row a request; Davy is two lines, `davy.watch(model)`, "
    "beside none and beside OpenTelemetry with the same payload. Servers take turns, in rounds whose order rotates; "
    "load, gateway and collector share the cores with them, so CPU a request, which counts all threads of the server, "
    "is the sturdier figure. A call alone, over and over, takes less: a request finds the processor's caches full of "
    "something else. Ratios and differences are medians over the rounds of one model. At the end each server gets "
    "SIGTERM right behind its last answer.\n"
)
COLUMNS: Final[Mapping[str, Any]] = {
    "requests a second": lambda one: f"{one['requests_a_second']:,.0f}",
    "of those without": lambda one: f"{one.get('of_the_requests_a_second', 1):.2f}",
    "CPU a request, us": lambda one: f"{one['cpu_us']:.0f}",
    "more, us": lambda one: _more(one, "cpu_us_more"),
    "more at 200 a second, us": lambda one: _more(one, "at_200_cpu_us_more"),
    "p50, p99 saturated, ms": lambda one: f"{one['p50_ms']:.1f}, {one['p99_ms']:.1f}",
    "p50, p99 at 200 a second, ms": lambda one: f"{one['at_200_p50_ms']:.1f}, {one['at_200_p99_ms']:.1f}",
    "MB": lambda one: f"{one['resident_mb']:.0f}",
    "exit, s": lambda one: f"{one['exit_seconds']:.2f}",
    "rows lost by SIGTERM": lambda one: str(one.get("lost_rows", "")),
}


def body(figures: dict[str, Any]) -> str:
    """Return a table a model, and one of memory where that was followed."""
    parts = [NOTE]
    for model, watches in figures.items():
        if model not in {LIFE, "targets"}:
            rows = [(name, [show(one) for show in COLUMNS.values()]) for name, one in watches.items()]
            parts.append(f"**{model}**\n\n" + grid(list(COLUMNS), rows))
    if LIFE in figures:
        lives = figures[LIFE]
        requests = [f"{int(count):,}" for count in next(iter(lives.values()))]
        rows = [(name, [f"{mb:g}" for mb in life.values()]) for name, life in lives.items()]
        parts.append("Resident memory in MB after so many requests, numpy\n\n" + grid(requests, rows))
    return "\n".join(parts)


def _more(one: Mapping[str, Any], key: str) -> str:
    return f"{one[key]:+.0f}" if key in one else ""
