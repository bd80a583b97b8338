"""`davy up` and a serving app on one directory, by a clock that both share and that can be made to jump."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from jumping import jump

from davy.codec import load, load_any
from davy.config import load as load_settings
from davy.demo.processes import free_port, wait_until
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy_detectors.alerts import Incident

MODEL = "embedded:1"
TESTS = Path(__file__).parent
_SERVING = f"""
import json, pathlib, random, sys, time
import davy
folder, rng = pathlib.Path(sys.argv[1]), random.Random(int(sys.argv[2]))
captured = 0
while not (folder / "stop").exists():
    if (folder / "pause").exists():
        assert davy.flush(60)
        (folder / "paused").write_text(json.dumps(davy.stats()))
        while (folder / "pause").exists():
            time.sleep(0.01)
        (folder / "paused").unlink()
    drifting = (folder / "drift").exists()
    for _ in range(10):
        x = rng.gauss(0, 1) + 4.0 * (drifting and rng.random() < 0.3)
        davy.capture("{MODEL}", {{"x": x, "y": rng.random()}}, {{"value": x}})
    time.sleep(0.02)
assert davy.flush(60)
(folder / "stats").write_text(json.dumps(davy.stats()))
"""


class Clocked:
    """The processes, in a folder of the test's; `directory` is Davy's.

    Every process may die at any time and be started again; the app's numbers go on.
    """

    def __init__(self, folder: Path, seed: int, store_url: str = "") -> None:
        self.folder, self.directory = folder, folder / "davy"
        folder.mkdir(parents=True, exist_ok=True)
        self._clock = folder / "clock"
        jump(self._clock, 0.0)
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DAVY_")},
            "PYTHONPATH": str(TESTS),
            "DAVY_URL": f"sqlite:///{self.directory}",
            "DAVY_STORE_URL": store_url,
            "DAVY_GATEWAY_PORT": str(free_port()),
            "DAVY_DETECT_FALSE_ALARM_EVERY": "100000",
        }
        self._seed = seed
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        rng = np.random.default_rng(1)
        x = rng.normal(size=5_000)
        np.savez(
            self.folder / "reference.npz",
            **{"inputs.x": x, "inputs.y": rng.random(5_000), "outputs.value": x},
        )
        self.fit()
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children.values():
            child.kill()
            child.wait()

    def fit(self) -> None:
        """Put the reference in force."""
        self.davy("reference", "fit", "--model", MODEL, "--file", str(self.folder / "reference.npz"))

    def davy(self, *arguments: str) -> str:
        """Run a command; give what it printed."""
        command = [sys.executable, "-m", "davy", *arguments]
        return subprocess.run(command, env=self.env, check=True, capture_output=True, text=True).stdout

    def up(self) -> None:
        """Start `davy up`."""
        self._start("up", "-m", "davy", "up")

    def serve(self) -> None:
        """Start the app."""
        file = self.folder / "serving.py"
        file.write_text(_SERVING)
        self._start("app", "-f", str(file), str(self.folder), str(self._seed))

    def down(self, *, kill: bool = False) -> None:
        """End `davy up`, in order or not."""
        child = self._children["up"]
        child.kill() if kill else child.terminate()
        child.wait(timeout=60)

    def jump(self, seconds: float) -> None:
        """Set the clock of all processes off by so much."""
        jump(self._clock, seconds)

    def pause(self) -> dict[str, Any]:
        """Let the app send what it has and capture nothing more for now; give its accounts."""
        (self.folder / "pause").touch()
        wait_until((self.folder / "paused").exists, "the app to pause", seconds=90)
        time.sleep(0)
        return self._stats("paused")

    def go_on(self) -> None:
        """Let the app capture again."""
        (self.folder / "pause").unlink()
        wait_until(lambda: not (self.folder / "paused").exists(), "the app to go on", seconds=60)

    def drift(self) -> None:
        """Let inferences differ from now on."""
        (self.folder / "drift").touch()

    def stop(self) -> dict[str, Any]:
        """End the app; give its accounts."""
        (self.folder / "stop").touch()
        self._children["app"].wait(timeout=100)
        return self._stats("stats")

    def counted(self) -> int:
        """Give how many inferences the store counts."""
        with self.opened() as runtime:
            data = runtime.store.get("detect", MODEL)
        return 0 if data is None else int(load_any(data)["events"])

    def incidents(self) -> list[Incident]:
        """Give the incidents."""
        with self.opened() as runtime:
            return [load(Incident, data) for _, data in runtime.store.items("incidents")]

    def wait_for(self, more: int) -> None:
        """Wait until so many more are counted."""
        goal = self.counted() + more
        wait_until(lambda: self.counted() >= goal, f"{more} more to be counted", seconds=90)

    def wait_counted(self, exactly: int) -> None:
        """Wait until so many are counted."""
        wait_until(lambda: self.counted() == exactly, f"{exactly} to be counted", seconds=90)

    def said(self, text: str) -> int:
        """Give how many lines of what all processes wrote hold a text."""
        return sum(
            text in line for file in self.folder.glob("*.log") for line in file.read_text().splitlines()
        )

    def stored(self) -> int:
        """Give how many records lie in the log."""
        with self.opened() as runtime:
            return sum(1 for _ in runtime.log.read("davy.inferences", 0, 0))

    @contextmanager
    def opened(self) -> Iterator[Runtime]:
        """Open log and store as another process does."""
        settings: Mapping[str, str] = {key: self.env[key] for key in ("DAVY_URL", "DAVY_STORE_URL")}
        with open_runtime(load_settings(env=settings)) as runtime:
            yield runtime

    def _start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("a") as output:
            command = [sys.executable, "-m", "jumping", str(self._clock), *arguments]
            self._children[name] = subprocess.Popen(command, env=self.env, stdout=output, stderr=output)

    def _stats(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / name).read_text())
        return found


def some_seconds(rng: random.Random) -> None:
    """Wait for up to a second: the moment of a fault is a part of it."""
    time.sleep(rng.random())
