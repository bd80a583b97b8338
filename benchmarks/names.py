"""20,000 names of models against the bounds: what they cost `davy up`, and when a new honest model is counted."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from davy.gateway.keys import KeyRing
from davy.store import open_store

NAME: Final = "names"
NAMES: Final = 20_000
TOGETHER: Final = 5_000
OPERATOR: Final = "operator"
UNBOUNDED: Final = {"DAVY_GATEWAY_MODELS": "1000000", "DAVY_GATEWAY_KEY_MODELS": "1000000"}
LONGEST: Final = 300.0
KEPT: Final = 3.0
"""Seconds for which a connection is surely kept: the gateway closes it after five."""


class Client:
    """Speaks to the gateway with one key over one connection."""

    def __init__(self, port: int, key: str) -> None:
        self._http = HTTPConnection("127.0.0.1", port, timeout=LONGEST)
        self._asked = 0.0
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def get(self, path: str) -> tuple[bytes, float]:
        """Get a page, and the seconds that took."""
        begun = time.perf_counter()
        body = self._ask("GET", path)[1]
        return body, time.perf_counter() - begun

    def send(self, *models: str) -> int:
        """Send one inference of each model in one request; return the status."""
        rows = [{"model": model, "inputs": {"amount": 1.5, "country": "NZ"}} for model in models]
        return self._ask("POST", "/v1/inferences", json.dumps(rows))[0]

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        if time.monotonic() - self._asked > KEPT:
            self._http.close()
        self._http.request(method, path, body, self._headers)
        answer = self._http.getresponse()
        found = answer.status, answer.read()
        self._asked = time.monotonic()
        return found


def run() -> dict[str, Any]:
    """Measure with the bounds of the gateway, many names a request and one, and without."""
    return {
        "5,000 names a request": _measure(TOGETHER, {}),
        "a name a request": _measure(1, {}),
        "5,000 names a request, no bounds at the gateway": _measure(TOGETHER, UNBOUNDED),
    }


def _measure(size: int, env: dict[str, str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory, _up(directory, env) as (port, process):
        operator = Client(port, OPERATOR)
        loud, honest = (Client(port, key) for key in _keys(directory))
        _until_counted(operator, honest, "before:1")
        before = _memory(process)
        begun = time.perf_counter()
        statuses = Counter(
            loud.send(*(f"made-up-{first + at}:1" for at in range(size))) for first in range(0, NAMES, size)
        )
        flood = time.perf_counter() - begun
        same = loud.send("of-the-same-key:1")
        counted = _until_counted(operator, honest, "new:1")
        metrics, scrape = operator.get("/metrics")
        _, page = operator.get("/status.json")
        return {
            "requests": {str(status): count for status, count in statuses.items()},
            "seconds_of_the_flood": round(flood, 1),
            "memory_mb": {"before": before, "after": _memory(process)},
            "metrics_bytes": len(metrics),
            "scrape_seconds": round(scrape, 3),
            "status_page_seconds": round(page, 3),
            "a_new_model_of_another_key_is_counted_after_seconds": round(counted, 2),
            "a_new_model_of_the_same_key_is_answered": same,
        }


def _until_counted(operator: Client, honest: Client, model: str) -> float:
    if honest.send(model) != 202:
        raise RuntimeError(f"{model} was refused")
    begun = time.perf_counter()
    while f'davy_inferences_total{{model="honest/{model}"}}'.encode() not in operator.get("/metrics")[0]:
        if time.perf_counter() - begun > LONGEST:
            raise RuntimeError(f"{model} was not counted")
        time.sleep(0.05)
    return time.perf_counter() - begun


def _keys(directory: str) -> list[str]:
    store = open_store(f"sqlite:///{directory}")
    try:
        return [KeyRing(store).create(project, ["write"])[1] for project in ("loud", "honest")]
    finally:
        store.close()
        time.sleep(1.5)  # gateways read keys once a second


def _memory(process: int) -> int:
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() // 2**20


@contextmanager
def _up(directory: str, env: dict[str, str]) -> Iterator[tuple[int, int]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "davy", "up", "--port", str(port)]
    settings = {"DAVY_URL": f"sqlite:///{directory}", "DAVY_GATEWAY_API_KEY": OPERATOR, **env}
    process = subprocess.Popen(command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                Client(port, OPERATOR).get("/readyz")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
