"""Davy on one machine with an app that goes on capturing, to be broken: what it says of itself, and what it counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import httpx
from fake_labelstudio import FakeLabelStudio

from davy.codec import load_any
from davy.config import load as load_settings
from davy.demo.processes import free_port, wait_until
from davy.event import INFERENCES
from davy.runner import open_runtime

MODEL: Final = "truth:1"
RIGHT_SECONDS: Final = 30.0
"""Within this time of a fault, and of its repair, what Davy says of itself is right."""
_TESTS: Final = Path(__file__).parent
_APP: Final = """
import json, pathlib, random, sys, time
import davy
rng, stop, number = random.Random(5), pathlib.Path(sys.argv[1]), 0
while not stop.exists():
    for _ in range(10):
        p = rng.random()
        outputs = {"probs": [p, 1 - p]}
        davy.capture("truth:1", {"x": rng.gauss(0, 1)}, outputs, tags={"n": str(number)})
        number += 1
    time.sleep(0.05)
davy.flush(60)
print(json.dumps(davy.stats()))
"""


class Embedded:
    """Processes of Davy over one directory, and an app that captures 200 inferences a second.

    Parameters
    ----------
    directory
        The data directory.
    aside
        A directory for everything else.
    roles
        The arguments of the processes, by name; the gateway is the one of them with ``up`` or ``gateway``.
    labelling
        Where candidates go.
    """

    def __init__(
        self,
        directory: Path,
        aside: Path,
        roles: Mapping[str, Sequence[str]],
        labelling: FakeLabelStudio | None = None,
    ) -> None:
        self.directory, self.aside = directory, aside
        self.ports = {name: free_port() for name in roles}
        self.wedge = aside / "wedge"
        self.labelling = labelling
        self._stop, self._log = aside / "stop", aside / "davy.log"
        self._roles = roles
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("DAVY_")}
        paths = f"{_TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        self.env = {
            **inherited,
            "PYTHONPATH": paths,
            "DAVY_URL": f"sqlite:///{directory}",
            "DAVY_DETECT_CONTROL_SHARE": "0.05",
            "DAVY_MINE_ROUND_SECONDS": "1",
            "DAVY_MINE_BUDGET": "10",
            "DAVY_MINE_POLL_SECONDS": "0.5",
            "DAVY_LABELSTUDIO_SETTLE_SECONDS": "1",
            "DAVY_LABELSTUDIO_TIMEOUT_SECONDS": "5",
        }
        if labelling is not None:
            self.env["DAVY_LABELSTUDIO_URL"] = labelling.url
            self.env["DAVY_LABELSTUDIO_API_KEY"] = labelling.refresh_token
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.app: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        for name in self._roles:
            self.start(name)
        command = [sys.executable, "-c", _APP, str(self._stop)]
        self.app = subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.app, *self.processes.values()):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        if self.app is not None and self.app.stdout is not None:
            self.app.stdout.close()

    def start(self, name: str) -> None:
        """Start a process."""
        port = str(self.ports[name])
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", *self._roles[name], "--port", port]
            self.processes[name] = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)

    def readyz(self, name: str) -> tuple[int, dict[str, str]]:
        """Give the status of /readyz, 0 for no answer, and the state of what it says is not well."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.ports[name]}/readyz", timeout=5)
        except httpx.TransportError:
            return 0, {}
        return answer.status_code, {one["what"]: one["state"] for one in answer.json()["findings"]}

    def metric(self, name: str, series: str) -> float:
        """Give the value of a series, NaN where it is not shown."""
        text = httpx.get(f"http://127.0.0.1:{self.ports[name]}/metrics", timeout=10).text
        found = (line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(series))
        return float(next(found, "nan"))

    def doctor(self) -> tuple[int, dict[str, str]]:
        """Give the exit code of `davy doctor` and the state of everything it says."""
        command = [sys.executable, "-m", "davy", "doctor", "--json"]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in {0, 1}, done.stderr
        return done.returncode, {one["what"]: one["state"] for one in json.loads(done.stdout)}

    def wrong(self) -> list[str]:
        """Give what `davy doctor` calls wrong."""
        code, findings = self.doctor()
        found = [what for what, state in findings.items() if state == "wrong"]
        assert bool(found) == bool(code)
        return found

    def right_within(self, says: Callable[[], bool], what: str) -> float:
        """Wait until what is said is right; give the seconds it took, at most `RIGHT_SECONDS`."""
        begun = time.monotonic()
        wait_until(says, what, seconds=RIGHT_SECONDS)
        return round(time.monotonic() - begun, 1)

    def finish(self) -> dict[str, Any]:
        """End the app and give its account, once everything it stored is counted."""
        assert self.app is not None
        self._stop.touch()
        account: dict[str, Any] = json.loads(self.app.communicate(timeout=120)[0])
        expected = account["captured"] - sum(account["dropped"].values())
        wait_until(lambda: self.counted() >= expected, f"{expected} to be counted", seconds=90)
        return account

    def counted(self) -> int:
        """Give how many inferences are counted, by the store."""
        with open_runtime(load_settings(env={"DAVY_URL": self.env["DAVY_URL"]})) as runtime:
            data = runtime.store.get("detect", MODEL)
        return int(load_any(data)["events"]) if data else 0

    def stored(self) -> list[str]:
        """Give the number of every inference of the app in the log."""
        from davy.codec import decode

        found: list[str] = []
        with open_runtime(load_settings(env={"DAVY_URL": self.env["DAVY_URL"]})) as runtime:
            for record in runtime.log.read(INFERENCES, 0, runtime.log.start(INFERENCES)[INFERENCES, 0]):
                if record.key == MODEL:
                    found += decode(record.value)["tags", "n"].values.tolist()
        return found

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process."""
        self.processes[name].send_signal(number)
