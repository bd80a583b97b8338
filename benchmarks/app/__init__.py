"""What two lines of Davy cost an application end to end: FastAPI on uvicorn, one worker, one row a request.

Each server is a process of its own, in an environment of its own (``requirements/app.txt``); those of a model live side
by side and take turns, in rounds whose order rotates. CPU is that of the whole server process, the SDK's thread
included, from the kernel's account of its threads; load, gateway and collector are other processes on the same cores.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.sdk import taking
from davy.codec import decode
from davy.event import INFERENCES
from davy.log import open_log

NAME: Final = "app"
LIFE: Final = "resident MB by requests"
ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = ROOT / ".serving" / "bin" / "python"
HERE: Final = Path(__file__).parent
NONE, SQLITE, GATEWAY, MIDDLEWARE, TRACED = (
    "none", "Davy, SQLite", "Davy, gateway", "Davy, gateway, middleware", "OpenTelemetry",
)  # fmt: skip
EMBEDDING: Final = "Davy, gateway, embedding"
ALL: Final = (NONE, SQLITE, GATEWAY, MIDDLEWARE, TRACED)
WATCHES: Final = {"scikit-learn": ALL, "numpy": ALL, "torch": (*ALL[:4], EMBEDDING)}
RATE: Final = 200.0
SETTLE_SECONDS: Final = 0.3
"""After the last answer, in which what waited for company is sent: it counts."""
PATIENCE_SECONDS: Final = 60.0
TARGETS: Final = {
    "scikit-learn, cpu_us_more": 40.0,
    "scikit-learn, of_the_requests_a_second": 0.93,
    "middleware, cpu_us_more": 20.0,
}


class Server:
    """One server under load."""

    def __init__(self, model: str, watch: str, url: str, directory: Path) -> None:
        self.watch, self.answered = watch, 0
        self.log = f"sqlite:///{directory / watch.replace(', ', '-')}" if watch == SQLITE else ""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [PYTHON, HERE / "serve.py", model, watch, self.log or url, str(self.port)]
        self.process = subprocess.Popen(command, env=env)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the server of {model} with {watch} did not start") from None
                time.sleep(0.05)

    def load(self, count: int, rate: float = 0.0, settle: float = SETTLE_SECONDS) -> dict[str, float]:
        """Ask `count` times; return what `load.py` measured, and the CPU of the server."""
        before = self.cpu_seconds()
        command = [PYTHON, HERE / "load.py", str(self.port), str(count), str(rate)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
        time.sleep(settle)
        self.answered += count
        found: dict[str, float] = json.loads(done.stdout)
        if found["failed"]:
            raise SystemExit(f"{found['failed']:g} of {count} requests failed with {self.watch}")
        cpu = (self.cpu_seconds() - before) / count * 1e6
        return {**found, "cpu_us": cpu, "requests_a_second": count / found["seconds"]}

    def cpu_seconds(self) -> float:
        """Return the time all threads of the server have had a core."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def resident_mb(self) -> float:
        """Return the resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def terminate(self) -> dict[str, Any]:
        """End it with SIGTERM right behind an answer; say how, and what of all it answered the log misses."""
        self.load(150, settle=0.0)
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_SECONDS)
        found: dict[str, Any] = {"exit_seconds": round(time.monotonic() - begun, 2), "exit_code": code}
        return {**found, "lost_rows": self.answered - _stored(self.log)} if self.log else found

    def kill(self) -> None:
        """End it for good."""
        self.process.kill()
        self.process.wait()


def run(
    models: Sequence[str] = tuple(WATCHES), *, rounds: int = 5, seconds: float = 2.0, paced_rounds: int = 2
) -> dict[str, Any]:
    """Measure the models, each with all its servers."""
    if not PYTHON.exists():
        raise SystemExit("the application is not installed: make bench-app installs it")
    found = {model: measure(model, rounds, seconds, paced_rounds) for model in models}
    return {**found, "targets": TARGETS}


def measure(model: str, rounds: int, seconds: float, paced_rounds: int) -> dict[str, Any]:
    """Measure one model: saturated rounds, rounds at a fixed rate, then the end of each server."""
    with servers(model) as living:
        for server in living:
            server.load(300)
        rate = living[0].load(600)["requests_a_second"]
        saturated = [_round(living, turn, round(rate * seconds), 0.0) for turn in range(rounds)]
        paced = [_round(living, turn, round(RATE * seconds), RATE) for turn in range(paced_rounds)]
        resident = {server.watch: round(server.resident_mb(), 1) for server in living}
        ends = {server.watch: server.terminate() for server in living}
    return {
        name: {
            **_against(saturated, name),
            **{f"at_{RATE:g}_{key}": value for key, value in _against(paced, name).items() if "us" in key},
            **{f"at_{RATE:g}_{key}": _median(paced, name, key) for key in ("p50_ms", "p99_ms")},
            "resident_mb": resident[name],
            **ends[name],
        }
        for name in resident
    }


def life(requests: int = 300_000, turns: int = 6) -> dict[str, dict[str, float]]:
    """Follow the memory of servers through many requests, in MB."""
    found: dict[str, dict[str, float]] = {}
    with servers("numpy", (NONE, GATEWAY)) as living:
        for server in living:
            server.load(1_000)
            found[server.watch] = {"0": round(server.resident_mb(), 1)}
            for turn in range(1, turns + 1):
                server.load(requests // turns)
                found[server.watch][str(turn * (requests // turns))] = round(server.resident_mb(), 1)
    return found


@contextmanager
def servers(model: str, watches: Sequence[str] = ()) -> Iterator[list[Server]]:
    """Start the servers of a model."""
    with tempfile.TemporaryDirectory() as directory, taking() as url, ExitStack() as stack:
        living = []
        for watch in watches or WATCHES[model]:
            server = Server(model, watch, url, Path(directory))
            stack.callback(server.kill)
            living.append(server)
        yield living


def _round(living: Sequence[Server], turn: int, count: int, rate: float) -> dict[str, dict[str, float]]:
    order = [*living[turn % len(living) :], *living[: turn % len(living)]]
    return {server.watch: server.load(count, rate) for server in order}


def _against(rounds: Sequence[dict[str, dict[str, float]]], name: str) -> dict[str, Any]:
    """Compare a server with the one that nothing watches, round by round."""
    found: dict[str, Any] = {
        key: _median(rounds, name, key) for key in ("requests_a_second", "p50_ms", "p99_ms", "cpu_us")
    }
    if name != NONE:
        ratios = [one[name]["requests_a_second"] / one[NONE]["requests_a_second"] for one in rounds]
        more = [one[name]["cpu_us"] - one[NONE]["cpu_us"] for one in rounds]
        found |= {
            "of_the_requests_a_second": round(median(ratios), 3),
            "of_the_requests_a_second_by_round": [round(ratio, 2) for ratio in ratios],
            "cpu_us_more": round(median(more), 1),
            "cpu_us_more_by_round": [round(each) for each in more],
        }
    return found


def _median(rounds: Sequence[dict[str, dict[str, float]]], name: str, key: str) -> float:
    return round(median(one[name][key] for one in rounds), 2 if "ms" in key else 1)


def _stored(url: str) -> int:
    log = open_log(url)
    try:
        records = log.read(INFERENCES, 0, log.start(INFERENCES)[INFERENCES, 0])
        return sum(decode(record.value).count for record in records)
    finally:
        log.close()
