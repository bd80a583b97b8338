"""The SDK: what a capture costs the caller, what an import costs, and how long the exit is held up.

Captures go into a sink that stores nothing, with the sender running beside them. A watched function is called in bursts
with pauses between them, as a server is, beside the SQLite log, a memory log and a gateway. What a row costs in CPU is
told by thread: the caller's, less the same calls unwatched, and the sender's. The exit is measured in processes of
their own, against one that captured nothing.
"""

from __future__ import annotations

import multiprocessing
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median
from typing import Any, Final

import numpy as np
import pandas as pd
import pydantic

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
BURST, BURSTS, PAUSE_SECONDS = 400, 12, 0.3
"""Calls together, how many times, and the pause between, in which the sender stores what the burst left."""
TOGETHER: Final = {"many": 200, "few": 40}
"""Rows in one envelope: as many as one holds, and those of 0.2 seconds at 200 requests a second."""
CPU_ROUNDS: Final = 200
PROCESSES: Final = 5
TARGETS: Final = {
    "capture_30_floats_p50_us": 5.0,
    "watch_30_float64_sqlite_p50_us": 5.0,
    "watch_30_float64_memory_p50_us": 5.0,
    "watch_30_float64_gateway_p50_us": 5.0,
    "watch_frame_of_10_p50_us": 100.0,
    "watch_frame_of_30_p50_us": 150.0,
    "watch_pydantic_of_4_p50_us": 40.0,
    "watch_two_texts_p50_us": 30.0,
    "many_small_dictionaries_ms": 100.0,
    "capture_768_float32_p50_us": 6.0,
    "capture_150_kb_image_p50_us": 25.0,
    "batch_256_of_30_float32_us_per_row": 0.2,
    "batch_16_of_3x224x224_float32_ms": 2.0,
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


class Applicant(pydantic.BaseModel):
    """What a handler of FastAPI is given."""

    age: int
    income: float
    city: str
    member: bool


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
    """Return the medians over rounds of the 50th and the 99th percentile, in microseconds, less the clock's own time.

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
    found |= single_rows()
    shadowed = davy.watch(abs, "watched:1", shadow=abs)
    found["watch_with_shadow_p50_us"], _ = percentiles(lambda: shadowed(1.0), CAPTURES // 10)
    rows, answers = np.zeros((256, 30), np.float32), np.full(256, 0.5)
    many = davy.watch(lambda x: answers, "batch:1", batched=True)
    a_batch, _ = percentiles(lambda: many(rows), CAPTURES // 40, LARGE_TOGETHER)
    found["batch_256_of_30_float32_us_per_row"] = round(a_batch / 256, 3)
    davy.shutdown()
    davy.init("memory://pictures", queue_bytes=2**30)
    pictures, answers = np.random.default_rng(0).random((16, 3, 224, 224), np.float32), np.full(16, 0.5)
    seeing = davy.watch(lambda x: answers, "pictures:1", batched=True)
    found["batch_16_of_3x224x224_float32_ms"] = round(
        percentiles(lambda: seeing(pictures), 20, 1)[0] / 1e3, 2
    )
    davy.shutdown()
    start(sample_rate=0.0)
    inputs = {"x": 1.0}
    found["sampled_out_p50_us"], _ = percentiles(lambda: davy.capture("m:1", inputs, inputs), CAPTURES)
    davy.shutdown()
    return found


def single_rows() -> dict[str, float]:
    """Watch functions of a frame of one row, of a record of pydantic and of a mapping with a list of texts."""
    wide = {places: pd.DataFrame({f"c{i}": [float(i)] for i in range(places)}) for places in (10, 30)}
    cases = {
        **{f"frame_of_{places}": frame for places, frame in wide.items()},
        "pydantic_of_4": Applicant(age=41, income=2.5, city="Graz", member=True),
        "two_texts": {"texts": ["hello", "you"], "most": 2},
    }
    found: dict[str, float] = {}
    answer = {"score": 0.5}
    for name, given in cases.items():
        predict = davy.watch(lambda _: answer, f"{name}:1")
        found[f"watch_{name}_p50_us"], found[f"watch_{name}_p99_us"] = percentiles(
            lambda predict=predict, given=given: predict(given),  # type: ignore[misc]
            CAPTURES // 10,
        )
    return found


def watches() -> dict[str, float]:
    """Watch a function from an array of 30 to one of 3, in bursts, beside each kind of sink."""
    found: dict[str, float] = {}
    answer, x = np.array([0.7, 0.2, 0.1]), np.random.default_rng(0).normal(size=30)
    with tempfile.TemporaryDirectory() as directory, taking() as gateway:
        urls = {"sqlite": f"sqlite:///{directory}/log", "memory": "memory://bench", "gateway": gateway}
        for name, url in urls.items():
            davy.init(url)
            predict = davy.watch(lambda _: answer, "watched:1")
            p50, p99 = in_bursts(lambda predict=predict: predict(x))  # type: ignore[misc]
            found |= {f"watch_30_float64_{name}_p50_us": p50, f"watch_30_float64_{name}_p99_us": p99}
        davy.init("memory://bench")
        rows, begun = [{"a": i, "b": 0.5} for i in range(300_000)], time.perf_counter()
        davy.capture("many:1", {"rows": rows}, {"value": 1.0})
        found["many_small_dictionaries_ms"] = round((time.perf_counter() - begun) * 1e3, 1)
        davy.shutdown()
    return found


def in_bursts(work: Callable[[], Any]) -> tuple[float, float]:
    """Return the 50th and the 99th percentile of single calls, in microseconds, less the clock's own time.

    The first two bursts, in which the sink is opened, do not count.
    """
    clock, bursts = time.perf_counter_ns, np.empty((BURSTS, BURST))
    own = median(-(clock() - clock()) for _ in range(1_000))
    for took in bursts:
        for i in range(BURST):
            begun = clock()
            work()
            took[i] = clock() - begun
        time.sleep(PAUSE_SECONDS)
    p50, p99 = (np.quantile(bursts[2:], [0.5, 0.99]) - own) / 1e3
    return round(float(p50), 2), round(float(p99), 2)


class Softmax:
    """A model of NumPy with the interface of an estimator."""

    def __init__(self) -> None:
        self.classes_ = np.arange(3)
        self.weights = np.random.default_rng(0).normal(size=(30, 3))

    def predict_proba(self, rows: Any) -> Any:
        """Return probabilities of shape ``(n, 3)``."""
        scores = np.exp(rows @ self.weights)
        return scores / scores.sum(axis=1, keepdims=True)


def cpu_of_a_row() -> dict[str, float]:
    """Return the CPU a call of one row of 30 takes more under watch, by thread and by how many rows travel together.

    Watched and unwatched calls take turns; of the rounds the lower quartile counts, which other work on the machine
    moves least.
    """
    found: dict[str, float] = {}
    plain, row = Softmax(), np.random.default_rng(0).normal(size=(1, 30))
    with tempfile.TemporaryDirectory() as directory, taking() as gateway:
        for name, url in {"sqlite": f"sqlite:///{directory}/log", "gateway": gateway}.items():
            davy.init(url, flush_seconds=10.0)
            model = davy.watch(plain, "row:1")
            for often, together in TOGETHER.items():
                _by_thread(plain, model, row, together)  # opens the sink, and learns how calls are read
                rounds = [_by_thread(plain, model, row, together) for _ in range(CPU_ROUNDS)]
                took = np.quantile(rounds, 0.25, axis=0)
                keys = (f"cpu_of_a_row_{often}_{name}_{thread}_us" for thread in ("caller", "sender"))
                found |= dict(zip(keys, took.round(2).tolist(), strict=True))
            davy.shutdown()
    return found


def _by_thread(plain: Any, model: Any, row: Any, count: int) -> tuple[float, float]:
    """Return the microseconds a call that the caller's thread takes more under watch, and that the sender's takes."""
    clock, took = time.thread_time_ns, []
    for one in (plain, model):
        begun = clock()
        for _ in range(count):
            one.predict_proba(row)
        took.append(clock() - begun)
    sender = next(each.ident for each in threading.enumerate() if each.name == "davy-sender")
    of_sender = time.pthread_getcpuclockid(sender or 0)
    begun = time.clock_gettime_ns(of_sender)
    davy.flush()
    sent = time.clock_gettime_ns(of_sender) - begun
    return (took[1] - took[0]) / count / 1e3, sent / count / 1e3


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


class _Yes(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _serve(connection: Any) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Yes) as server:
        connection.send(server.server_address[1])
        server.serve_forever()


@contextmanager
def taking() -> Iterator[str]:
    """A gateway that takes everything, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.kill()
        process.join()


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
    found = {"import_ms": import_ms(), **captures(), **watches(), **cpu_of_a_row(), **exits()}
    return {**found, "threads_left": threading.active_count() - threads, "targets": TARGETS}
