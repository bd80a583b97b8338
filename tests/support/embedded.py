"""Davy on one machine and an app that goes on capturing, to be broken: what it counts and what it says of itself."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import httpx
import numpy as np

from davy.codec import decode, load, load_any
from davy.config import load as load_settings
from davy.demo.processes import free_port, wait_until
from davy.errors import DavyError
from davy.event import INFERENCES
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy_detectors.incidents.incident import Incident
from support.fake_labelstudio import FakeLabelStudio
from support.jumping import jump

MODEL: Final = "embedded:1"
UP: Final[Mapping[str, Sequence[str]]] = {"up": ("davy", "up")}
RIGHT_SECONDS: Final = 30.0
"""Within this time of a fault, and of its repair, what Davy says of itself is right."""
_TESTS: Final = Path(__file__).parents[1]
_APP: Final = f"""
import json, pathlib, random, sys, time
import davy
folder, rng, number = pathlib.Path(sys.argv[1]), random.Random(int(sys.argv[2])), 0
while not (folder / "stop").exists():
    if (folder / "pause").exists():
        assert davy.flush(60)
        (folder / "paused").write_text(json.dumps(davy.stats()))
        while (folder / "pause").exists():
            time.sleep(0.01)
        (folder / "paused").unlink()
    drifting = (folder / "drift").exists()
    for _ in range(10):
        x, p = rng.gauss(0, 1) + 4.0 * (drifting and rng.random() < 0.3), rng.random()
        davy.capture("{MODEL}", {{"x": x, "y": rng.random()}}, {{"probs": [p, 1 - p]}}, tags={{"n": str(number)}})
        number += 1
    time.sleep(float(sys.argv[3]))
davy.flush(60)
(folder / "stats").write_text(json.dumps(davy.stats()))
"""


class Embedded:
    """Processes of Davy over one directory, and an app that captures, ten inferences at a time, by one clock.

    Every process may die at any time and be started again.

    Parameters
    ----------
    folder
        Where everything lies; `directory`, in it, is Davy's.
    roles
        The arguments of Davy's processes, by name.
    seed, pause
        Of what the app captures, and the seconds between two tens.
    labelling
        Where candidates go.
    settings
        More settings, as environment variables.
    """

    def __init__(
        self,
        folder: Path,
        roles: Mapping[str, Sequence[str]] = UP,
        *,
        seed: int = 5,
        pause: float = 0.03,
        labelling: FakeLabelStudio | None = None,
        **settings: str,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.directory, self.labelling = folder, folder / "davy", labelling
        self.wedge = folder / "wedge"
        self._clock = folder / "clock"
        self.jump(0.0)
        self._roles, self._app = roles, (str(seed), str(pause))
        self._ports = {name: free_port() for name in roles}
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DAVY_")},
            "PYTHONPATH": f"{_TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            "DAVY_URL": f"sqlite:///{self.directory}",
            "DAVY_DETECT_FALSE_ALARM_EVERY": "100000",
            "DAVY_DETECT_CONTROL_SHARE": "0.05",
            "DAVY_MINE_ROUND_SECONDS": "1",
            "DAVY_MINE_BUDGET": "10",
            "DAVY_MINE_POLL_SECONDS": "0.5",
            "DAVY_LABELSTUDIO_SETTLE_SECONDS": "1",
            "DAVY_LABELSTUDIO_TIMEOUT_SECONDS": "5",
            **settings,
        }
        if labelling is not None:
            self.env["DAVY_LABELSTUDIO_URL"] = labelling.url
            self.env["DAVY_LABELSTUDIO_API_KEY"] = labelling.refresh_token
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        # Made once: that takes longer than a request. No connection outlives its request, as processes come and go.
        self._http = httpx.Client(verify=False, headers={"Connection": "close"})
        self._told: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self._http.close()

    def begin(self) -> None:
        """Start every process of Davy, and the app."""
        for name in self._roles:
            self.start(name)
        app = self.folder / "app.py"
        app.write_text(_APP)
        self._run("app", "-f", str(app), str(self.folder), *self._app)

    def start(self, name: str = "up") -> None:
        """Start a process of Davy."""
        self._run(name, "-m", *self._roles[name], "--port", str(self._ports[name]))

    def down(self, name: str = "up", *, kill: bool = False) -> None:
        """End a process of Davy, in order or not."""
        self.signal(name, signal.SIGKILL if kill else signal.SIGTERM)
        self.processes[name].wait(timeout=60)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process."""
        self.processes[name].send_signal(number)

    def jump(self, seconds: float) -> None:
        """Set the clock of all processes off by so much."""
        jump(self._clock, seconds)

    def fit(self) -> None:
        """Put a reference of what the app captures before it drifts in force."""
        rng, file = np.random.default_rng(1), self.folder / "reference.npz"
        p = rng.random(5_000)
        fields = {"inputs.x": rng.normal(size=5_000), "inputs.y": rng.random(5_000)}
        np.savez(file, **fields, **{"outputs.probs": np.stack([p, 1 - p], axis=1)})
        self.davy("reference", "fit", "--model", MODEL, "--file", str(file))

    def davy(self, *arguments: str) -> str:
        """Run a command; return what it printed."""
        command = [sys.executable, "-m", "davy", *arguments]
        return subprocess.run(command, env=self.env, check=True, capture_output=True, text=True).stdout

    def pause(self) -> dict[str, Any]:
        """Let the app send what it has and capture nothing more for now; return its account."""
        (self.folder / "pause").touch()
        wait_until((self.folder / "paused").exists, "the app to pause", seconds=90)
        return self._account("paused")

    def go_on(self) -> None:
        """Let the app capture again."""
        (self.folder / "pause").unlink()
        wait_until(lambda: not (self.folder / "paused").exists(), "the app to go on", seconds=60)

    def lose_store(self) -> None:
        """Remove the files of the store."""
        for path in self.directory.glob("store.db*"):
            path.unlink()

    def lose_log(self) -> None:
        """Move the files of the log away."""
        for path in self.directory.glob("log.db*"):
            path.rename(self.folder / path.name)

    def drift(self) -> None:
        """Let inferences differ from now on."""
        (self.folder / "drift").touch()

    def stop(self) -> dict[str, Any]:
        """End the app; return its account."""
        (self.folder / "stop").touch()
        self.processes["app"].wait(timeout=120)
        return self._account("stats")

    def counted(self) -> int:
        """Return how many inferences are counted, by the store."""
        with self.opened() as runtime:
            data = runtime.store.get("detect", MODEL)
        return int(load_any(data)["events"]) if data else 0

    def wait_for(self, more: int) -> None:
        """Wait until so many more are counted."""
        goal = self.counted() + more
        wait_until(lambda: self.counted() >= goal, f"{more} more to be counted", seconds=90)

    def wait_counted(self, exactly: int) -> None:
        """Wait until so many are counted."""
        wait_until(lambda: self.counted() == exactly, f"{exactly} to be counted", seconds=90)

    def stored(self) -> list[str]:
        """Return the number of every inference of the app in the log, in one partition."""
        with self.opened() as runtime:
            start = runtime.log.start(INFERENCES).get((INFERENCES, 0))  # none where its topic was deleted
            records = [] if start is None else runtime.log.read(INFERENCES, 0, start)
            own = [decode(record.value) for record in records if record.key == MODEL]
        return [number for envelope in own for number in envelope["tags", "n"].values.tolist()]

    def incidents(self) -> list[Incident]:
        """Return the incidents."""
        with self.opened() as runtime:
            return [load(Incident, data) for _, data in runtime.store.items("incidents")]

    def said(self, text: str) -> int:
        """Return how many lines of what all processes wrote hold a text."""
        written = [file.read_text() for file in self.folder.glob("*.log")]
        return sum(text in line for output in written for line in output.splitlines())

    @contextmanager
    def opened(self) -> Iterator[Runtime]:
        """Open log and store as another process does."""
        settings = {key: value for key, value in self.env.items() if key.startswith("DAVY_")}
        with open_runtime(load_settings(env=settings)) as runtime:
            yield runtime

    def readyz(self, name: str) -> tuple[int, dict[str, str]]:
        """Return the status of /readyz, 0 for no answer, and the state of what it says is not well."""
        try:
            answer = self._http.get(f"http://127.0.0.1:{self._ports[name]}/readyz", timeout=5)
        except httpx.TransportError:
            self._told = ["no answer"]
            return 0, {}
        self._told = answer.json()["findings"]
        return answer.status_code, {one["what"]: one["state"] for one in self._told}

    def metric(self, name: str, series: str) -> float:
        """Return the value of a series, NaN where it is not shown."""
        text = self._http.get(f"http://127.0.0.1:{self._ports[name]}/metrics", timeout=10).text
        found = (line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(series))
        return float(next(found, "nan"))

    def doctor(self) -> tuple[int, dict[str, str]]:
        """Return the exit code of `davy doctor` and the state of everything it says."""
        command = [sys.executable, "-m", "davy", "doctor", "--json"]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in {0, 1}, done.stderr
        return done.returncode, {one["what"]: one["state"] for one in json.loads(done.stdout)}

    def wrong(self) -> list[str]:
        """Return what `davy doctor` calls wrong."""
        code, findings = self.doctor()
        found = [what for what, state in findings.items() if state == "wrong"]
        assert bool(found) == bool(code)
        return found

    def right_within(self, says: Callable[[], bool], what: str) -> float:
        """Wait until what is said is right; return the seconds it took, at most `RIGHT_SECONDS`."""
        begun = time.monotonic()
        try:
            wait_until(says, what, seconds=RIGHT_SECONDS)
        except DavyError as error:
            error.add_note(f"/readyz said at last: {self._told}")
            raise
        return round(time.monotonic() - begun, 1)

    def _run(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("a") as output:
            command = [sys.executable, "-m", "support.jumping", str(self._clock), *arguments]
            self.processes[name] = subprocess.Popen(command, env=self.env, stdout=output, stderr=output)

    def _account(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / name).read_text())
        return found


def some_seconds(rng: random.Random) -> None:
    """Wait for up to a second: the moment of a fault is a part of it."""
    time.sleep(rng.random())
