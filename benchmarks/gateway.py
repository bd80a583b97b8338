"""The gateway: requests a second and latency over loopback, and what a flood of ten times its room does to it.

A real ``davy run gateway`` process with a SQLite log; clients are connections of one other process that each send the
next request when the last is answered. An envelope holds 200 inferences of 30 float32 features, JSON one inference of
30 numbers. Afterwards the log is read: what was accepted must be what is stored.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from davy.codec import Encoder, decode, pack
from davy.event import INFERENCES
from davy.log import open_log

NAME: Final = "gateway"
ROWS: Final = 200
FEATURES: Final = 30
CLIENTS: Final = (1, 32, 256)
SECONDS: Final = 4.0
FLOOD_SECONDS: Final = 5.0
ROOM: Final = 256
"""Requests the gateway takes at once, its default; the flood has ten times as many clients."""
LARGE: Final = 20


@dataclass
class Load:
    """What clients saw: latencies of accepted requests in seconds, and answers by status."""

    took: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


class Bodies:
    """Makes requests; every inference has an id of its own."""

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._random = np.random.default_rng(0)

    def envelope(self, rows: int = ROWS, features: int = FEATURES) -> bytes:
        """Return a request with one envelope."""
        inputs = {"x": np.zeros((rows, features), np.float32)}
        ids = self._random.bytes(16 * rows)
        body = pack([self._encoder.encode_batch("bench:1", ids, 1, inputs, {})])
        return _request("/v1/envelopes", body, "application/vnd.davy.envelope")

    def flood(self) -> bytes:
        """Return a request with an envelope of half a megabyte."""
        return self.envelope(rows=ROWS, features=FEATURES * LARGE)

    def json(self) -> bytes:
        """Return a request with one inference as JSON."""
        inputs = {f"x{i}": i + 0.5 for i in range(FEATURES)}
        body = {
            "model": "bench:2",
            "id": self._random.bytes(16).hex(),
            "inputs": inputs,
            "outputs": {"value": 0.5},
        }
        return _request("/v1/inferences", json.dumps(body).encode())


def run() -> dict[str, Any]:
    """Measure, and refuse figures of a gateway that lost or invented an inference."""
    found: dict[str, Any] = {}
    bodies = Bodies()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        url, accepted = f"sqlite:///{directory}", 0
        with gateway(url) as (port, process):
            for name, make, rows in (("json", bodies.json, 1), ("envelopes", bodies.envelope, ROWS)):
                for clients in CLIENTS:
                    load = asyncio.run(drive(port, make, clients, SECONDS))
                    accepted += rows * load.statuses[202]
                    found[f"{name}_{clients}_clients"] = figures(load, rows, SECONDS)
            before = resident_mb(process)
            for name in ("overload", "overload_again", "overload_a_third_time", "overload_a_fourth_time"):
                load, most = flood(port, process, bodies.flood)
                accepted += ROWS * load.statuses[202]
                found[name] = {
                    "clients": 10 * ROOM,
                    "answers": {str(status): count for status, count in sorted(load.statuses.items())},
                    "rss_mb": {"before": before, "most": most, "after": resident_mb(process)},
                }
                before = resident_mb(process)
        stored = sum(decode(record.value).count for record in open_log(url).read(INFERENCES, 0, 0))
        if stored != accepted:
            raise RuntimeError(f"{accepted} inferences were accepted and {stored} are stored")
        return found | {"accepted": accepted, "stored": stored}


async def drive(port: int, make: Callable[[], bytes], clients: int, seconds: float) -> Load:
    """Let clients send one request after another for some seconds."""
    load, until = Load(), time.perf_counter() + seconds
    await asyncio.gather(*(_client(port, make, load, until) for _ in range(clients)))
    return load


def figures(load: Load, rows: int, seconds: float) -> dict[str, Any]:
    p50, p99 = np.quantile(load.took, [0.5, 0.99]) * 1e3
    return {
        "requests_per_second": round(load.statuses[202] / seconds),
        "inferences_per_second": round(rows * load.statuses[202] / seconds),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "refused": sum(load.statuses.values()) - load.statuses[202],
    }


def flood(port: int, process: int, make: Callable[[], bytes]) -> tuple[Load, float]:
    """Send ten times what there is room for; return what clients saw and the most memory the gateway took."""
    most = 0.0

    async def both() -> Load:
        nonlocal most
        work = asyncio.create_task(drive(port, make, 10 * ROOM, FLOOD_SECONDS))
        while not work.done():
            most = max(most, resident_mb(process))
            await asyncio.wait([work], timeout=0.1)
        return await work

    return asyncio.run(both()), most


async def _client(port: int, make: Callable[[], bytes], load: Load, until: float) -> None:
    reader = writer = None
    while time.perf_counter() < until:
        try:
            if writer is None or reader is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            begun = time.perf_counter()
            writer.write(make())
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(_header(head, b"content-length")))
        except (OSError, asyncio.IncompleteReadError):
            load.statuses[0] += 1
            reader = writer = None
            continue
        status = int(head.split(b" ", 2)[1])
        load.statuses[status] += 1
        if status == 202:
            load.took.append(time.perf_counter() - begun)
        elif status == 503:
            await asyncio.sleep(
                min(float(_header(head, b"retry-after")), max(0.0, until - time.perf_counter()))
            )
    if writer is not None:
        writer.close()


def _header(head: bytes, name: bytes) -> bytes:
    return next(line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(name))


def _request(path: str, body: bytes, media_type: str = "application/json") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def gateway(url: str) -> Iterator[tuple[int, int]]:
    """Run a gateway in a process; return its port and its id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "davy", "run", "gateway", "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, "DAVY_URL": url}, stdout=subprocess.DEVNULL)
    try:
        _wait(port)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def resident_mb(process: int) -> float:
    """Return the resident memory of a process (Linux)."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


if __name__ == "__main__":
    for key, value in run().items():
        print(key, value)
