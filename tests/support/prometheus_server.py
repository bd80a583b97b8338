"""A real Prometheus in a process of its own, for tests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml

BINARY = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
_LISTENING = re.compile(r'msg="Listening on" address=(\S+)')
T = TypeVar("T")


class PrometheusServer:
    """Prometheus on a port of its own; a context manager that starts and stops it.

    Parameters
    ----------
    scrape_targets
        ``host:port`` of every process to scrape at ``/metrics``, as job ``davy``.
    rules
        Rule files.
    tmp_path
        An empty directory for its data, configuration and log.
    interval
        Time between two scrapes, and between two evaluations of the rules, in milliseconds.
    bearer
        Key sent with every scrape, when given.
    """

    def __init__(
        self,
        scrape_targets: Sequence[str],
        rules: Sequence[Path],
        tmp_path: Path,
        *,
        interval: int = 150,
        bearer: str = "",
    ) -> None:
        self._folder = tmp_path / "prometheus"
        self._folder.mkdir(parents=True)
        self._log = self._folder / "log.txt"
        scrape: dict[str, Any] = {"job_name": "davy", "static_configs": [{"targets": list(scrape_targets)}]}
        if bearer:
            scrape["authorization"] = {"credentials": bearer}
        every = f"{interval}ms"
        config = {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
            "rule_files": [str(path.resolve()) for path in rules],
            "scrape_configs": [scrape],
        }
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self, *, timeout: float = 30.0) -> Self:
        """Start it and wait until it answers."""
        assert BINARY is not None
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    BINARY,
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    "--web.listen-address=127.0.0.1:0",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        found = self.wait_for(lambda: _LISTENING.search(self._log.read_text()), timeout=timeout)
        self.url = f"http://{found[1]}"
        self.wait_for(self._ready, timeout=timeout)
        return self

    def stop(self) -> None:
        """End the process this object started; calling it twice is harmless."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def alerts(self, name: str = "") -> list[dict[str, Any]]:
        """Return the alerts that are pending or firing, those called `name` when it is given."""
        found = self._get("/api/v1/alerts")["alerts"]
        return [alert for alert in found if name in {"", alert["labels"]["alertname"]}]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Evaluate an expression now: a list of ``{"metric": labels, "value": float}``."""
        result = self._get("/api/v1/query", query=expr)["result"]
        return [{"metric": one["metric"], "value": float(one["value"][1])} for one in result]

    def wait_for(self, condition: Callable[[], T], *, timeout: float = 30.0) -> T:
        """Ask until `condition` gives something true, and give that; an error with Prometheus' log at the deadline."""
        deadline, pause = time.monotonic() + timeout, threading.Event()
        while not (found := condition()):
            ended = self._process is not None and self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                why = "prometheus ended" if ended else f"nothing within {timeout:g} s"
                raise AssertionError(f"{why}\n{self._log.read_text()[-2000:]}")
            pause.wait(0.02)
        return found

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as response:
                return response.status == 200
        except urllib.error.URLError:
            return False

    def _get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(
            f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=10
        ) as response:
            return json.load(response)["data"]
