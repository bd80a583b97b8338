"""`kill -9` of `davy up` at random moments: nothing is lost, nothing counted twice, no task made twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from support.fake_labelstudio import FakeLabelStudio
from support.labelling_tools import FakeTool, RealTool
from support.labelstudio_server import needs_label_studio

from davy.codec import decode, load, load_any
from davy.config import load as load_settings
from davy.demo.processes import free_port, wait_until
from davy.event import INFERENCES
from davy.runner import open_runtime
from davy_miner.candidates import Candidate

MODEL = "kill:1"
KILLS = {FakeTool: 6, RealTool: 3}
"""The real Label Studio takes seconds where the fake one takes none."""
TASKS_A_KILL = 6
SERVING = """
import json, pathlib, random, sys, time
import davy
rng, stop, number = random.Random(5), pathlib.Path(sys.argv[1]), 0
while not stop.exists():
    for number in range(number, number + 20):
        p = rng.random()
        inputs = {"x": rng.gauss(0, 1), "y": rng.random()}
        davy.capture("kill:1", inputs, {"probs": [p, 1 - p]}, tags={"n": str(number)})
    number += 1
    time.sleep(0.03)
assert davy.flush(60)
print(json.dumps(davy.stats()))
"""


@pytest.fixture(params=["fake", pytest.param("real", marks=needs_label_studio())])
def tool(request: pytest.FixtureRequest) -> Iterator[FakeTool | RealTool]:
    if request.param == "real":
        yield RealTool(request.getfixturevalue("labelstudio"), MODEL)
        return
    with FakeLabelStudio() as started:
        yield FakeTool(started)


class Victim:
    """A `davy up` that is started and killed again."""

    def __init__(self, directory: Path, tool: FakeTool | RealTool) -> None:
        self.port = free_port()
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DAVY_")},
            "DAVY_URL": f"sqlite:///{directory}",
            "DAVY_GATEWAY_PORT": str(self.port),
            "DAVY_LABELSTUDIO_URL": tool.url,
            "DAVY_LABELSTUDIO_API_KEY": tool.api_key,
            "DAVY_LABELSTUDIO_TIMEOUT_SECONDS": "5",
            "DAVY_LABELSTUDIO_SETTLE_SECONDS": "1",
            "DAVY_DETECT_CONTROL_SHARE": "0.05",
            "DAVY_DETECT_FLAG_SHARE": "0.1",
            "DAVY_MINE_ROUND_SECONDS": "1",
            "DAVY_MINE_BUDGET": "25",
            "DAVY_MINE_POLL_SECONDS": "0.2",
        }
        self.child: subprocess.Popen[bytes] | None = None

    def fit_reference(self, file: Path) -> None:
        rng = np.random.default_rng(1)
        probs = rng.random(2_000)
        columns = {
            "inputs.x": rng.normal(size=2_000),
            "inputs.y": rng.random(2_000),
            "outputs.probs": np.stack([probs, 1 - probs], axis=1),
        }
        np.savez(file, **columns)
        command = [sys.executable, "-m", "davy", "reference", "fit", "--model", MODEL, "--file", str(file)]
        subprocess.run(command, env=self.env, check=True, capture_output=True)

    def start(self) -> None:
        self.child = subprocess.Popen([sys.executable, "-m", "davy", "up"], env=self.env)

    def counted(self) -> int:
        try:
            lines = httpx.get(f"http://127.0.0.1:{self.port}/metrics").text.splitlines()
        except httpx.TransportError:
            return -1
        return next(
            (int(float(x.rpartition(" ")[2])) for x in lines if x.startswith("davy_inferences_total{")), -1
        )

    def kill(self) -> None:
        assert self.child is not None
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    def stop(self) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()
            self.child.wait(timeout=30)


@pytest.mark.timeout(600)
def test_kills_lose_nothing_count_nothing_twice_and_make_no_task_twice(
    tmp_path: Path, tool: FakeTool | RealTool
) -> None:
    rng, victim = random.Random(3), Victim(tmp_path, tool)
    victim.fit_reference(tmp_path / "reference.npz")
    stop = tmp_path / "stop"
    serving = subprocess.Popen(
        [sys.executable, "-c", SERVING, str(stop)], env=victim.env, stdout=subprocess.PIPE, text=True
    )
    try:
        before = 0
        for _ in range(KILLS[type(tool)]):
            victim.start()
            wait_until(lambda before=before: victim.counted() > before, "the count to go on", seconds=60)
            time.sleep(rng.random() * 1.5)  # the moment of the kill is the point of this test
            before = victim.counted()
            victim.kill()
        stop.touch()
        ledger = json.loads(serving.communicate(timeout=100)[0])
        captured = ledger["captured"]
        assert sum(ledger["dropped"].values()) == 0
        victim.start()
        wait_until(lambda: victim.counted() == captured, "everything to be counted", seconds=60)
        tasks = TASKS_A_KILL * KILLS[type(tool)]
        wait_until(lambda: len(tool.candidates()) >= tasks, f"{tasks} tasks", seconds=120)
    finally:
        serving.kill()
        serving.wait()
        victim.stop()
    stored, candidates = Counter[str](), list[Candidate]()
    with open_runtime(load_settings(env={"DAVY_URL": victim.env["DAVY_URL"]})) as runtime:
        for record in runtime.log.read(INFERENCES, 0, runtime.log.start(INFERENCES)[INFERENCES, 0]):
            stored.update(decode(record.value)["tags", "n"].values.tolist())
        events = load_any(runtime.store.get("detect", MODEL) or b"")["events"]
        candidates = [load(Candidate, data) for _, data in runtime.store.items("candidates")]
    assert stored == Counter(str(number) for number in range(captured))
    assert events == captured
    made = Counter(tool.candidates())
    assert max(made.values()) == 1
    pushed = {candidate.id for candidate in candidates if candidate.state == "pushed"}
    assert pushed <= set(made)
    assert set(made) <= pushed | {candidate.id for candidate in candidates if candidate.state == "pushing"}
