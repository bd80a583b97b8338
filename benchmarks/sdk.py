"""The SDK: what a capture costs the caller, what an import costs, and how long the exit is held up.

Captures go into a sink that stores nothing, with the sender running beside them. The exit is measured in processes of
their own, against one that captured nothing.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, Final

import numpy as np

import davy
from benchmarks.codec import cases
from davy.config import load
from davy.log import Message
from davy.sdk.client import Client
from davy.sdk.home import HOME

NAME: Final = "sdk"
CAPTURES: Final = 20_000
ROUNDS: Final = 5
LARGE_TOGETHER: Final = 5
"""Images, and batches, captured between two moments in which the sender catches up."""
PROCESSES: Final = 5
TARGETS: Final = {
    "capture_30_floats_p50_us": 5.0,
    "capture_768_float32_p50_us": 6.0,
    "capture_150_kb_image_p50_us": 25.0,
    "batch_256_of_30_float32_us_per_row": 0.2,
    "sampled_out_p50_us": 0.5,
    "import_ms": 40.0,
    "exit_refused_seconds": 0.3,
    "exit_silent_seconds": 1.0,
}
IMPORT: Final = "import time, numpy; t = time.perf_counter(); import davy; print(time.perf_counter() - t)"
EXIT: Final = """
import davy, time
for i in range({count}): davy.capture("m:1", {{"x": float(i)}}, {{"value": 1.0}})
time.sleep(0.05)
print(time.monotonic(), flush=True)
"""


class Nowhere:
    """A sink that stores nothing."""

    together = 16

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        """Take messages and forget them."""

    def close(self, *, timeout: float = 5.0) -> None:
        """Let go of nothing."""


def start(**overrides: Any) -> None:
    HOME.client = Client(
        load(env={}, overrides={f"sdk.{name}": value for name, value in overrides.items()}), Nowhere
    )


def percentiles(work: Callable[[], Any], count: int, together: int = 0) -> tuple[float, float]:
    """Give the medians over rounds of the 50th and the 99th percentile, in microseconds, less the clock's own time.

    With `together` the sender gets the time to send after so many calls, so that memory is used again.
    """
    clock, rounds = time.perf_counter_ns, []
    own = median(-(clock() - clock()) for _ in range(1_000))
    for _ in range(ROUNDS):
        took = np.empty(count)
        for i in range(count):
            begun = clock()
            work()
            took[i] = clock() - begun
            if together and i % together == 0:
                davy.flush()
        davy.flush()
        rounds.append((np.quantile(took, [0.5, 0.99]) - own) / 1e3)
    p50, p99 = np.median(rounds, axis=0)
    return round(float(p50), 2), round(float(p99), 2)


def captures() -> dict[str, float]:
    found: dict[str, float] = {}
    start(queue_items=10**6, queue_bytes=2**30)
    for name, inputs in cases(np.random.default_rng(0)).items():
        model, count = f"{name}:1", 500 if "image" in name else CAPTURES

        def work(model: str = model, inputs: dict[str, Any] = inputs) -> None:
            davy.capture(model, inputs, {"score": 0.5})

        together = LARGE_TOGETHER if "image" in name else 0
        found[f"capture_{name}_p50_us"], found[f"capture_{name}_p99_us"] = percentiles(work, count, together)
    predict = davy.watch(abs, "watched:1")
    found["watch_p50_us"], found["watch_p99_us"] = percentiles(lambda: predict(1.0), CAPTURES)
    shadowed = davy.watch(abs, "watched:1", shadow=abs)
    found["watch_with_shadow_p50_us"], _ = percentiles(lambda: shadowed(1.0), CAPTURES // 10)
    rows, answers = np.zeros((256, 30), np.float32), np.full(256, 0.5)
    many = davy.watch(lambda x: answers, "batch:1", batched=True)
    a_batch, _ = percentiles(lambda: many(rows), CAPTURES // 40, LARGE_TOGETHER)
    found["batch_256_of_30_float32_us_per_row"] = round(a_batch / 256, 3)
    davy.shutdown()
    start(sample_rate=0.0)
    inputs = {"x": 1.0}
    found["sampled_out_p50_us"], _ = percentiles(lambda: davy.capture("m:1", inputs, inputs), CAPTURES)
    davy.shutdown()
    return found


def import_ms() -> float:
    took = [float(_printed(IMPORT, "memory://bench")[0]) for _ in range(PROCESSES)]
    return round(median(took) * 1e3, 1)


def exits() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory, _silent() as silent, _refused() as refused:
        usual = _exit_seconds(f"sqlite:///{directory}/log", 0)
        urls = {"refused": refused, "silent": silent, "sqlite": f"sqlite:///{directory}/log"}
        return {
            f"exit_{name}_seconds": round(_exit_seconds(url, 500) - usual, 3) for name, url in urls.items()
        }


def _exit_seconds(url: str, count: int) -> float:
    found = []
    for _ in range(PROCESSES):
        printed, ended = _printed(EXIT.format(count=count), url)
        found.append(ended - float(printed))
    return median(found)


def _printed(code: str, url: str) -> tuple[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"DAVY_URL": url, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout, time.monotonic()


@contextmanager
def _silent() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def _refused() -> Iterator[str]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


def run() -> dict[str, Any]:
    threads = threading.active_count()
    found = {"import_ms": import_ms(), **captures(), **exits()}
    return {**found, "threads_left": threading.active_count() - threads, "targets": TARGETS}
