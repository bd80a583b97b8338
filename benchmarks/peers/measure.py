"""One measurement of one client, in a process of its own: ``measure.py CLIENT TASK URL`` prints JSON."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any, Final

import numpy as np
from clients import CLIENTS, Record

FEATURES: Final = {f"feature_{i}": i * 1.1 for i in range(30)}
CALLS: Final = {"30_floats": 3_000, "768_float32": 1_000, "150_kb_image": 400}
TOGETHER: Final = {"30_floats": 50, "768_float32": 50, "150_kb_image": 5}
"""Calls between two pauses of 5 ms: a server sees some ten thousand rows a second, or a thousand images."""
BURST: Final = 600
TOGETHER_WATCHED, BURSTS, PAUSE_SECONDS = 400, 8, 0.3
"""Calls of a model in a burst, how many bursts, and the pause between, in which the client sends."""
SETTLE_SECONDS: Final = 6.0
"""The longest of the clients' usual waits for company is 5 s."""
DEAD_CALLS, DEAD_SECONDS = 100_000, 12.0


def quantiles(work: Callable[[], object], count: int, name: str, together: int = 50) -> dict[str, float]:
    """Time single calls, with pauses as between requests."""
    took = np.empty(count)
    for i in range(count):
        if i % together == 0:
            time.sleep(0.005)
        begun = time.perf_counter_ns()
        work()
        took[i] = time.perf_counter_ns() - begun
    p50, p99 = np.quantile(took[count // 10 :], [0.5, 0.99]) / 1e3
    return {f"{name}_p50_us": round(float(p50), 2), f"{name}_p99_us": round(float(p99), 2)}


def cost(record: Record, client: str) -> dict[str, Any]:
    generator, found = np.random.default_rng(0), dict[str, Any]()
    payloads: dict[str, dict[str, Any]] = {
        "30_floats": FEATURES,
        "768_float32": {"x": generator.standard_normal(768, dtype=np.float32)},
        "150_kb_image": {"image": generator.integers(0, 256, (224, 224, 3), np.uint8)},
    }
    for name, fields in payloads.items():
        try:
            found |= quantiles(lambda fields=fields: record(fields), CALLS[name], name, TOGETHER[name])  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 - a client that cannot take a payload is a finding
            found[f"{name}_p50_us"] = f"{type(error).__name__}: {str(error)[:80]}"
    found["batch_us_per_row"] = batch(record, client, generator)
    return found


def batch(record: Record, client: str, generator: np.random.Generator) -> float:
    """Record 256 rows of 30 float32 from one call of a model: at once if the client can, else row by row."""
    rows, names = generator.standard_normal((256, 30), dtype=np.float32), list(FEATURES)
    if client == "davy":
        import davy

        answers = np.full(256, 0.5)
        predict = davy.watch(lambda x: answers, "batch:1", batched=True)
        work = lambda: predict(rows)  # noqa: E731
    else:

        def work() -> Any:
            for row in rows.tolist():
                record(dict(zip(names, row, strict=True)))

    took = []
    for _ in range(40):
        begun = time.perf_counter()
        work()
        took.append((time.perf_counter() - begun) / 256 * 1e6)
        time.sleep(0.02)
    return round(float(np.median(took[4:])), 3)


def watch(record: Record, client: str) -> dict[str, Any]:
    """Time calls of a model from an array of 30 float64 to one of 3, recorded with what it was given and answered."""
    answer, x = np.array([0.7, 0.2, 0.1]), np.random.default_rng(0).normal(size=30)
    if client == "davy":
        import davy

        predict = davy.watch(lambda x: answer, "watched:1")
    else:

        def predict(x: Any) -> Any:
            record({"x": x, "answer": answer})
            return answer

    took = np.empty((BURSTS, TOGETHER_WATCHED))
    for burst in took:
        for i in range(TOGETHER_WATCHED):
            begun = time.perf_counter_ns()
            predict(x)
            burst[i] = time.perf_counter_ns() - begun
        time.sleep(PAUSE_SECONDS)
    p50, p99 = np.quantile(took[2:], [0.5, 0.99]) / 1e3
    return {"watch_p50_us": round(float(p50), 2), "watch_p99_us": round(float(p99), 2)}


def sampled_out(record: Record, client: str) -> dict[str, Any]:
    return quantiles(lambda: record(FEATURES), 3_000, "sampled_out")


def background(record: Record, client: str) -> dict[str, Any]:
    """Measure the processor time that all other threads take to send 600 events: at most so long they hold the GIL."""
    record(FEATURES)
    time.sleep(0.3)
    before = time.process_time() - time.thread_time()
    for _ in range(BURST):
        record(FEATURES)
    time.sleep(SETTLE_SECONDS)
    others = time.process_time() - time.thread_time() - before
    return {"background_us_per_event": round(others / BURST * 1e6, 1)}


def memory(record: Record, client: str) -> dict[str, Any]:
    for _ in range(1_000):
        record(FEATURES)
    before, begun, calls = rss(), time.perf_counter(), 0
    while calls < DEAD_CALLS and time.perf_counter() - begun < DEAD_SECONDS:
        for _ in range(100):
            record(FEATURES)
        calls += 100
    return {"dead_endpoint_growth_mb": round((rss() - before) / 2**20, 1), "dead_endpoint_calls": calls}


def rss() -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found[1]) * 1024 if found else 0


def leave(record: Record, client: str) -> dict[str, Any]:
    for _ in range(200):
        record(FEATURES)
    time.sleep(0.05)
    return {"leaving_at": time.monotonic()}


def load(modules: str) -> dict[str, Any]:
    begun = time.perf_counter()
    exec(f"import {modules}", {})
    return {"import_ms": round((time.perf_counter() - begun) * 1e3, 1)}


def installed(names: str) -> dict[str, Any]:
    """Count the distributions an install brings, by the requirements without extras that are met here."""
    found, left = set[str](), names.split()
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            left += [each for each in map(needed, requires) if each]
    return {
        "distributions": len(found),
        "installed": sorted(found),
        "version": version(names.partition(" ")[0]),
    }


def needed(requirement: str) -> str:
    from packaging.requirements import Requirement

    parsed = Requirement(requirement)
    met = parsed.marker is None or parsed.marker.evaluate({"extra": ""})
    return parsed.name if met else ""


TASKS: Final = {
    "cost": cost, "watch": watch, "sampled_out": sampled_out, "background": background, "memory": memory,
    "leave": leave,
}  # fmt: skip


def main(client: str, task: str, url: str) -> None:
    distributions, modules, begin = CLIENTS[client]
    if task == "import":
        found = load(modules)
    elif task == "installed":
        found = installed(distributions)
    else:
        logging.disable(logging.CRITICAL)
        record = begin(url, 0.0 if task == "sampled_out" else 1.0)
        found = TASKS[task](record, client)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
