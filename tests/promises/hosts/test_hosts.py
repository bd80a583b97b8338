"""In the servers people really run, nothing is lost, no id is made twice and no thread runs before the fork.

``make test-hosts`` runs this in an environment with these servers; elsewhere it is skipped.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from davy.codec import decode
from davy.event import INFERENCES, Inference
from davy.log import open_log

for name in ("celery", "gevent", "gunicorn", "uvicorn"):
    pytest.importorskip(name, reason=f"make test-hosts brings {name}")

WSGI = """
import davy
predict = davy.watch(lambda x: {"value": x}, "m:1")
def app(environ, start_response):
    predict(float(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
GUNICORN = """
import threading
def pre_fork(server, worker):
    with open("threads", "a") as file:
        file.write(f"{threading.active_count()}\\n")
"""
ASGI = """
import davy
@davy.watch(model="m:1")
async def predict(x):
    return {"value": x}
async def plain(scope, receive, send):
    if scope["type"] == "http":
        await predict(float(scope["query_string"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
    elif scope["type"] == "lifespan":
        for moment in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{moment}.complete"})
from davy.integrations.starlette import DavyMiddleware
app = DavyMiddleware(plain)
"""
CELERY = """
import davy
from celery import Celery
app = Celery(broker="filesystem://")
app.conf.broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue"}
davy.capture("m:1", {"x": -1.0}, {})
@app.task
def predict(x):
    davy.capture("m:1", {"x": x}, {})
"""
GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent, davy
predict = davy.watch(lambda x: {"value": x}, "m:1")
def serve(first):
    for x in range(first, first + 20):
        predict(float(x))
        gevent.sleep(0)
gevent.joinall([gevent.spawn(serve, first) for first in range(0, 1000, 20)])
assert davy.flush(10)
predict(1000.0)
"""


@contextmanager
def running(tmp_path: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, "DAVY_URL": "sqlite:///log", "PYTHONPATH": str(tmp_path)}
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=tmp_path, env=env, stdout=output, stderr=output, text=True
        )
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        finally:
            process.kill()
            process.wait()


def output_has(tmp_path: Path, words: str, times: int = 1) -> None:
    deadline = time.monotonic() + 30
    while (tmp_path / "output").read_text().count(words) < times:
        assert time.monotonic() < deadline, (tmp_path / "output").read_text()
        time.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def ask(port: int, count: int) -> None:
    def one(x: int) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/?{x}", timeout=20) as answer:
            return bytes(answer.read())

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(one, range(count))) == [b"ok"] * count


def stored(tmp_path: Path) -> list[Inference]:
    log = open_log(f"sqlite:///{tmp_path}/log")
    records = log.read(INFERENCES, 0, log.start(INFERENCES)[INFERENCES, 0])
    found = [one for record in records for one in decode(record.value).inferences()]
    log.close()
    assert len({one.id for one in found}) == len(found)
    return found


def xs(found: list[Inference]) -> list[float]:
    return sorted(one.inputs["x"] for one in found)


def test_gunicorn_with_a_preloaded_app_loses_nothing_and_forks_without_threads(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(WSGI)
    (tmp_path / "conf.py").write_text(GUNICORN)
    port = free_port()
    options = ["--preload", "-w", "4", "-b", f"127.0.0.1:{port}", "-c", "conf.py", "--no-control-socket"]
    with running(tmp_path, "gunicorn", *options, "served:app"):
        output_has(tmp_path, "Booting worker", 4)
        ask(port, 1_000)
    found = stored(tmp_path)
    assert xs(found) == list(range(1_000))
    assert len({one.source for one in found}) > 1
    assert set((tmp_path / "threads").read_text().split()) == {"1"}


def test_uvicorn_which_ends_itself_with_a_signal_loses_nothing_behind_the_middleware(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(ASGI)
    port = free_port()
    with running(tmp_path, "uvicorn", "--port", str(port), "served:app"):
        output_has(tmp_path, "running on")
        ask(port, 500)
    assert xs(stored(tmp_path)) == list(range(500))


def test_celery_loses_nothing_though_its_parent_captured_before_the_fork(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(CELERY)
    (tmp_path / "queue").mkdir()
    send = "import served; [served.predict.delay(float(x)) for x in range(200)]"
    env = {**os.environ, "DAVY_URL": "memory://"}
    subprocess.run([sys.executable, "-c", send], cwd=tmp_path, env=env, check=True, timeout=60)
    with running(tmp_path, "celery", "-A", "served", "worker", "-P", "prefork", "-c", "2", "-l", "INFO"):
        output_has(tmp_path, "succeeded", 200)
    assert xs(stored(tmp_path)) == [-1, *range(200)]


def test_a_process_patched_by_gevent_loses_nothing(tmp_path: Path) -> None:
    env = {**os.environ, "DAVY_URL": "sqlite:///log", "DAVY_SDK_EXIT_SECONDS": "10"}
    done = subprocess.run(
        [sys.executable, "-c", GEVENT],
        cwd=tmp_path,
        env=env,
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert xs(stored(tmp_path)) == list(range(1_001))
