"""The SDK beside what else an app might record its inferences with, on the same payloads, in one run.

Every measurement runs in a process and an environment of their own (``requirements/peers.txt``), against an endpoint in
this process that says yes to everything, one that accepts and never answers, and one that refuses.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any, Final

NAME: Final = "sdk-peers"
ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = ROOT / ".peers" / "bin" / "python"
SCRIPT: Final = Path(__file__).with_name("measure.py")
CLIENTS: Final = (
    "davy", "opentelemetry", "sentry", "posthog", "segment", "ddtrace", "mlflow", "prometheus",
)  # fmt: skip
PATIENCE: Final = 25.0
TARGETS: Final = {
    "30_floats_p50_us": 5.0,
    "768_float32_p50_us": 6.0,
    "150_kb_image_p50_us": 25.0,
    "batch_us_per_row": 0.2,
    "watch_p50_us": 5.0,
    "watch_times_below_a_span_of_opentelemetry": 5.0,
    "sampled_out_p50_us": 0.5,
    "times_below_the_next_tracing_or_analytics_client": 5.0,
    "exit_silent_seconds": 1.0,
    "import_ms": 40.0,
    "distributions": 3,
}


class Yes(BaseHTTPRequestHandler):
    """Takes everything."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read the body and thank for it."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_PUT(self) -> None:
        """Do as for POST."""
        self.do_POST()

    def do_GET(self) -> None:
        """Do as for POST."""
        self.do_POST()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def measure(client: str, task: str, url: str, **env: str) -> dict[str, Any]:
    """Run one measurement; a failure is a finding, with the reason."""
    begun = time.monotonic()
    try:
        done = subprocess.run(
            [PYTHON, SCRIPT, client, task, url],
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **env},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else ""
        return {**_last_json(output), "ended_at": time.monotonic(), "gave_up": True}
    found = _last_json(done.stdout)
    if not found:
        reason = (done.stderr.strip().splitlines() or ["printed nothing"])[-1]
        return {"failed": f"{task}: {reason[:200]}"}
    return {**found, "began_at": begun, "ended_at": time.monotonic()}


def costs(client: str, url: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for task in ("cost", "watch", "sampled_out", "background"):
        one = measure(client, task, url)
        if "failed" in one:
            found.setdefault("failures", []).append(one["failed"])
        elif one.get("gave_up"):
            found.setdefault("failures", []).append(f"{task}: took more than {PATIENCE:g} s")
        found |= {name: value for name, value in one.items() if name not in {"failed", "gave_up"}}
    if client == "davy":
        kept = {"MALLOC_TRIM_THRESHOLD_": str(2**28), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
        again = measure(client, "cost", url, **kept)
        found["150_kb_image_on_used_memory_p50_us"] = again.get("150_kb_image_p50_us")
    imports = [measure(client, "import", url) for _ in range(3)]
    found["import_ms"] = median(each.get("import_ms", float("nan")) for each in imports)
    return found | measure(client, "installed", url)


def exit_seconds(client: str, url: str, usual: float) -> str | float:
    """Return the time from the last line of the program to its end, less that of a program that does nothing."""
    found = measure(client, "leave", url)
    if "leaving_at" not in found:
        return str(found.get("failed"))
    took = float(found["ended_at"]) - float(found["leaving_at"]) - usual
    return f"more than {took:.0f}" if found.get("gave_up") else round(took, 2)


def exits(silent: str, refused: str) -> dict[str, dict[str, Any]]:
    """Measure all exits, three at a time: they wait more than they work."""
    usual = 0.05
    with ThreadPoolExecutor(3) as pool:
        jobs = {
            (client, name): pool.submit(exit_seconds, client, url, usual)
            for name, url in (("silent", silent), ("refused", refused))
            for client in CLIENTS
        }
        found: dict[str, dict[str, Any]] = {client: {} for client in CLIENTS}
        for (client, name), job in jobs.items():
            found[client][f"exit_{name}_seconds"] = job.result()
    return found


def run() -> dict[str, Any]:
    if not PYTHON.exists():
        raise SystemExit("the peers are not installed: make bench-sdk installs them")
    found: dict[str, Any] = {}
    with _yes() as yes, _silent() as silent, _refused() as refused:
        ends = exits(silent, refused)
        for client in CLIENTS:
            one = costs(client, yes) | ends[client] | measure(client, "memory", refused)
            found[client] = {name: one[name] for name in sorted(one) if not name.endswith("_at")}
    return {"clients": found, "comparison": compare(found), "targets": TARGETS}


def compare(found: dict[str, Any]) -> dict[str, Any]:
    """Say how many times below the next tracing or analytics client a capture is, and a watched call below a span."""
    ours = found["davy"].get("30_floats_p50_us")
    others = {
        client: figures["30_floats_p50_us"]
        for client, figures in found.items()
        if client not in {"davy", "prometheus"} and isinstance(figures.get("30_floats_p50_us"), float)
    }
    if not others or not ours:
        return {}
    name = min(others, key=lambda client: others[client])
    watched, span = found["davy"].get("watch_p50_us"), found["opentelemetry"].get("watch_p50_us")
    return {
        "next": name,
        "times_below_the_next_tracing_or_analytics_client": round(others[name] / ours, 1),
        **(
            {"watch_times_below_a_span_of_opentelemetry": round(span / watched, 1)}
            if watched and span
            else {}
        ),
    }


def _last_json(output: str) -> dict[str, Any]:
    lines = [line for line in output.splitlines() if line.startswith("{")]
    return dict(json.loads(lines[-1])) if lines else {}


@contextmanager
def _yes() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Yes)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _silent() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def _refused() -> Iterator[str]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"
