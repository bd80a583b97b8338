"""Two `davy run detect` over one log: `kill -9` of the one that works, and the other goes on where it was."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from davy.codec import Encoder, load_any, pack
from davy.config import load as load_settings
from davy.demo.processes import wait_until
from davy.event import INFERENCES
from davy.log import Message
from davy.runner import open_runtime
from davy.runtime import Runtime

MODEL = "taken:1"
ROWS = 50


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    with open_runtime(load_settings(env={"DAVY_URL": f"sqlite:///{tmp_path}"})) as opened:
        yield opened


def send(runtime: Runtime, first: int, envelopes: int) -> None:
    producer, encoder = runtime.log.producer(), Encoder()
    for start in range(first, first + envelopes * ROWS, ROWS):
        ids = b"".join((start + row).to_bytes(16, "big") for row in range(ROWS))
        values = np.arange(float(ROWS))
        chunk = encoder.encode_batch(MODEL, ids, time.time_ns(), {"x": values}, {"value": values})
        producer.append([Message(INFERENCES, MODEL, pack([chunk]))])
    producer.close()


def counted(runtime: Runtime) -> int:
    data = runtime.store.get("detect", MODEL)
    return 0 if data is None else int(load_any(data)["events"])


@pytest.fixture
def workers(runtime: Runtime, tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith("DAVY_")},
        "DAVY_URL": f"sqlite:///{tmp_path}",
    }
    command = [sys.executable, "-m", "davy", "run", "detect"]
    started = [subprocess.Popen(command, env=env)]
    send(runtime, 0, 20)
    wait_until(lambda: counted(runtime) == 20 * ROWS, "the first to count", seconds=60)
    started.append(subprocess.Popen(command, env=env))
    yield started
    for worker in started:
        worker.kill()
        worker.wait()


@pytest.mark.timeout(120)
def test_the_second_process_goes_on_when_the_first_is_killed(
    runtime: Runtime, workers: list[subprocess.Popen[bytes]]
) -> None:
    send(runtime, 20 * ROWS, 20)
    wait_until(lambda: counted(runtime) == 40 * ROWS, "more to be counted", seconds=60)
    workers[0].kill()
    workers[0].wait()
    send(runtime, 40 * ROWS, 20)
    wait_until(lambda: counted(runtime) == 60 * ROWS, "a takeover by the second", seconds=60)
    workers[1].terminate()
    assert workers[1].wait(timeout=30) == 0
    assert counted(runtime) == 60 * ROWS
