"""A process that ends by SIGTERM loses nothing that two lines captured, and ends as it would have without them."""

from __future__ import annotations

import os
import random
import shutil
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
from support.bad_sinks import BAD, Sink, refused

from davy.codec import decode
from davy.event import INFERENCES
from davy.log import open_log

pytestmark = pytest.mark.skipif(os.name != "posix", reason="this system has no signals to end a process with")

WATCH = """
import os, signal, sys, threading, time, davy
predict = davy.watch(lambda x: {"value": x}, "m:1")
done = os.open("done", os.O_CREAT | os.O_RDWR | os.O_TRUNC)
predict(0.0)
os.write(done, b"%10d" % 1)
davy.flush(0.2)
def serve():
    for number in range(2, 10**9):
        predict(float(number))
        os.pwrite(done, b"%10d" % number, 0)
        time.sleep(PAUSE)
def ready():
    print("ready", flush=True)
"""
LOOP = "ready(); serve()"
THREAD = "threading.Thread(target=serve, daemon=True).start(); time.sleep(0.3); ready(); time.sleep(60)"
AS_UVICORN = """
asked = []
before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
threading.Thread(target=serve, daemon=True).start()
time.sleep(0.3)
ready()
while not asked: time.sleep(0.01)
signal.signal(signal.SIGTERM, before)
signal.raise_signal(asked[0])
print("went on", flush=True)
"""
HOSTS = {"a loop": LOOP, "a thread": THREAD, "a server that puts the default back": AS_UVICORN}
UVICORN = """
import davy
from fastapi import FastAPI
predict = davy.watch(lambda x: {"value": x}, "m:1")
app = FastAPI()
@app.get("/")
KIND answer(x: float):
    predict(x)
    return "ok"
"""


@contextmanager
def running(directory: Path, code: str, url: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program until its first line."""
    env = {**os.environ, "DAVY_URL": url}
    command = [sys.executable, "-W", "error", "-c", code]
    process = subprocess.Popen(
        command, cwd=directory, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def terminate(process: subprocess.Popen[str]) -> tuple[int, float, str]:
    """Send the signal; return the exit code, the seconds until the end and what the process printed since."""
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code = process.wait(30)
    took = time.monotonic() - begun
    out, err = process.communicate()
    return code, took, out + err


def stored(url: str) -> int:
    log = open_log(url)
    records = log.read(INFERENCES, 0, log.start(INFERENCES)[INFERENCES, 0])
    count = sum(decode(record.value).count for record in records)
    log.close()
    return count


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("pause", ["0.0001", "0.01"])
def test_nothing_is_lost_and_the_exit_code_is_that_of_the_signal(
    tmp_path: Path, host: str, pause: str
) -> None:
    random.seed(f"{host} {pause}")
    for _ in range(3):
        url = f"sqlite:///{tmp_path}/log"
        with running(tmp_path, WATCH.replace("PAUSE", pause) + HOSTS[host], url) as process:
            time.sleep(random.uniform(0.0, 0.4))  # anywhere between two batches of the sender
            assert terminate(process)[::2] == (-signal.SIGTERM, "")
        # A thread that goes on may make one more while the process ends: none that it was done with is missing.
        assert stored(url) - int((tmp_path / "done").read_text()) in {0, 1}
        shutil.rmtree(tmp_path / "log")


def test_a_process_interrupted_inside_a_capture_loses_nothing(tmp_path: Path) -> None:
    busy = WATCH.replace("time.sleep(PAUSE)", "number % 5 or time.sleep(0)") + LOOP
    for number in range(5):
        url = f"sqlite:///{tmp_path}/log-{number}"
        with running(tmp_path, busy, url) as process:
            time.sleep(0.02 * number)
            code, took, _ = terminate(process)
        assert (code, took < 1.5) == (-signal.SIGTERM, True)


@pytest.mark.parametrize("sink", BAD)
@pytest.mark.parametrize("host", ["a loop", "a server that puts the default back"])
def test_a_sink_that_does_not_answer_holds_the_end_up_by_a_second_at_most(
    tmp_path: Path, sink: Sink, host: str
) -> None:
    most = 0.3 if sink is refused else 1.0
    with sink() as url, running(tmp_path, WATCH.replace("PAUSE", "0.01") + HOSTS[host], url) as process:
        time.sleep(0.3)
        code, took, _ = terminate(process)
    assert code == -signal.SIGTERM
    assert took <= most + 0.35


def test_what_a_sink_does_not_take_is_in_the_spool_for_the_next_process(tmp_path: Path) -> None:
    code = WATCH.replace("PAUSE", "0.01") + "davy.init(spool='spool')\n" + LOOP
    with refused() as url, running(tmp_path, code, url) as process:
        time.sleep(0.5)
        assert terminate(process)[0] == -signal.SIGTERM
    count = int((tmp_path / "done").read_text())
    code = (
        "import davy, time; davy.init(spool='spool'); davy.capture('m:1', {'x': 0.0}, {}); davy.flush(10)\n"
        "while davy.stats()['depth']: time.sleep(0.05)"
    )
    env = {**os.environ, "DAVY_URL": f"sqlite:///{tmp_path}/log"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True, timeout=60)
    assert stored(env["DAVY_URL"]) in {count, count + 1}  # the first one came before the spool


@pytest.mark.parametrize(
    ("handler", "code", "said"),
    [
        ("lambda *_: sys.exit(3)", 3, ""),
        ("lambda *_: (print('own', flush=True), os._exit(4))", 4, "own\n"),
        ("lambda *_: (signal.signal(15, signal.SIG_DFL), os.kill(os.getpid(), 15))", -15, ""),
    ],
)
def test_a_handler_of_the_app_stays_what_it_is(tmp_path: Path, handler: str, code: int, said: str) -> None:
    program = (
        WATCH.replace("PAUSE", "0.01")
        + f"""
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
own = {handler}
assert signal.signal(signal.SIGTERM, own) is signal.SIG_DFL
assert signal.getsignal(signal.SIGTERM) is own
{LOOP}"""
    )
    with running(tmp_path, program, f"sqlite:///{tmp_path}/log") as process:
        assert terminate(process)[::2] == (code, said)


def test_the_signal_is_still_ignored_where_the_app_ignores_it(tmp_path: Path) -> None:
    program = WATCH.replace("PAUSE", "0.01") + (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); ready()\n"
        "time.sleep(0.5); print('alive'); assert signal.getsignal(15) is signal.SIG_IGN"
    )
    with running(tmp_path, program, f"sqlite:///{tmp_path}/log") as process:
        assert terminate(process)[::2] == (0, "alive\n")


def test_a_child_of_a_fork_ends_by_the_signal_as_well(tmp_path: Path) -> None:
    program = (
        WATCH.replace("PAUSE", "0.01")
        + """
import warnings
warnings.simplefilter("ignore")
child = os.fork()
if not child:
    predict(1.0)
    os.write(1, b"ready\\n")
    time.sleep(60)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), davy.flush(10))
"""
    )
    url = f"sqlite:///{tmp_path}/log"
    with running(tmp_path, program, url) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not children.exists():
            pytest.skip("this system does not tell the children of a process")
        os.kill(int(children.read_text()), signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.read() == "-15 True\n"
    assert stored(url) == 2


def test_whoever_sends_the_signal_twice_does_not_wait(tmp_path: Path) -> None:
    unanswered = next(sink for sink in BAD if sink is not refused)
    with (
        unanswered() as url,
        running(tmp_path, WATCH.replace("PAUSE", "0.01") + LOOP, f"{url}") as process,
    ):
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        code, took, _ = terminate(process)
    assert code == -signal.SIGTERM
    assert took < 0.3


def test_the_first_process_of_a_container_which_the_signal_does_not_end_goes_on(tmp_path: Path) -> None:
    code = (
        WATCH.replace("PAUSE", "0")
        + "ready()\nfor _ in range(200): predict(2.0); time.sleep(0.005)\n"
        + (
            "print(os.getpid(), davy.flush(10), davy.stats()['dropped'], davy.stats()['captured'], flush=True)"
        )
    )
    command = ["unshare", "--user", "--pid", "--fork", "--map-root-user", sys.executable, "-c", code]
    env = {**os.environ, "DAVY_URL": f"sqlite:///{tmp_path}/log"}
    try:
        process = subprocess.Popen(command, cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE)
    except FileNotFoundError:
        pytest.skip("this system has no unshare")
    with process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            pytest.skip("this system makes no namespace of processes")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        os.kill(int(children.read_text()), signal.SIGTERM)
        assert process.stdout.read() == "1 True {} 201\n"
    assert process.returncode == 0
    assert stored(env["DAVY_URL"]) == 201


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_uvicorn_which_ends_itself_with_the_signal_loses_nothing(tmp_path: Path, kind: str) -> None:
    (tmp_path / "served.py").write_text(UVICORN.replace("KIND", kind))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {**os.environ, "DAVY_URL": f"sqlite:///{tmp_path}/log", "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "--log-level", "error", "served:app"]
    process = subprocess.Popen(command, cwd=tmp_path, env=env)
    try:
        until_listening(port)
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(lambda x: ask(port, x), range(300)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    assert stored(env["DAVY_URL"]) == 300


def until_listening(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def ask(port: int, x: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/?x={x}", timeout=20) as answer:
        return bytes(answer.read()) == b'"ok"'
