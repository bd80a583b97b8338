"""`davy up` as a process: it watches, it is scraped, it stops in order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from davy.cli import run_app
from davy.codec import Encoder, pack
from davy.demo.processes import free_port, wait_until
from davy.event import INFERENCES
from davy.log import Message, open_log
from davy.store import open_store

ROOT = Path(__file__).parents[2]
MODEL = "iris:1"


class Up:
    """A `davy up` of this test's own."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DAVY_")},
            "DAVY_URL": f"sqlite:///{directory}",
            "DAVY_GATEWAY_PORT": str(self.port),
            "DAVY_MINE_ROUND_SECONDS": "0",
            "DAVY_DETECT_QUIET_EVENTS": "1000",
        }
        self.child: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "davy", *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            check=True,
        )

    def start(self) -> None:
        self.child = subprocess.Popen([sys.executable, "-m", "davy", "up"], env=self.env)
        wait_until(self.ready, "davy up to answer", seconds=60)

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.address}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def metric(self, name: str) -> float:
        for line in httpx.get(f"{self.address}/metrics").text.splitlines():
            if line.startswith(name):
                return float(line.rpartition(" ")[2])
        return 0.0

    def stop(self, number: int = signal.SIGINT) -> int:
        assert self.child is not None
        self.child.send_signal(number)
        return self.child.wait(timeout=30)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    made = Up(tmp_path)
    yield made
    if made.child is not None and made.child.poll() is None:
        made.child.kill()
        made.child.wait()


def append(directory: Path, values: np.ndarray, first: int) -> None:
    log, encoder = open_log(f"sqlite:///{directory}"), Encoder()
    producer = log.producer()
    for start in range(0, len(values), 200):
        some = values[start : start + 200]
        ids = b"".join((first + start + row).to_bytes(16, "big") for row in range(len(some)))
        fields = {"x": some[:, 0], "y": some[:, 1]}
        chunk = encoder.encode_batch(MODEL, ids, time.time_ns(), fields, {"value": some[:, 0]})
        producer.append([Message(INFERENCES, MODEL, pack([chunk]))])
    producer.close()
    log.close()


@pytest.fixture
def fitted(up: Up, tmp_path: Path) -> Callable[[int], np.ndarray]:
    rng = np.random.default_rng(7)
    reference = rng.normal(size=(8_000, 2))
    file = tmp_path / "reference.npz"
    np.savez(
        file, **{"inputs.x": reference[:, 0], "inputs.y": reference[:, 1], "outputs.value": reference[:, 0]}
    )
    up.command("reference", "fit", "--model", MODEL, "--file", str(file))
    return lambda count: rng.normal(size=(count, 2))


@pytest.mark.timeout(120)
def test_prometheus_sees_the_incident_fire_and_resolve(
    up: Up, fitted: Callable[[int], np.ndarray], tmp_path: Path, prometheus_for: Callable[..., object]
) -> None:
    up.start()
    prometheus = prometheus_for([f"127.0.0.1:{up.port}"])

    def firing() -> bool:
        return any(
            alert["labels"]["alertname"] == "DavyIncidentOpen" and alert["state"] == "firing"
            for alert in prometheus.alerts()  # type: ignore[attr-defined]
        )

    append(tmp_path, fitted(2_000), 0)
    wait_until(lambda: up.metric("davy_inferences_total") == 2_000, "clean traffic to be counted")
    assert not firing()
    append(tmp_path, fitted(1_000) + np.array([1.0, 0.0]), 2_000)
    wait_until(firing, "Prometheus to fire the incident's alert", seconds=60)
    append(tmp_path, fitted(12_000), 3_000)
    wait_until(lambda: not firing(), "Prometheus to see it resolved", seconds=60)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_in_order_and_a_restart_goes_on_counting(
    up: Up, tmp_path: Path, fitted: Callable[[int], np.ndarray], number: int
) -> None:
    up.start()
    append(tmp_path, fitted(400), 0)
    wait_until(lambda: up.metric("davy_inferences_total") == 400, "the first traffic to be counted")
    assert up.stop(number) == 0
    append(tmp_path, fitted(200), 400)
    up.start()
    wait_until(lambda: up.metric("davy_inferences_total") == 600, "the later traffic to be counted")


@pytest.mark.timeout(90)
def test_doctor_says_what_is_wrong_and_what_to_do(up: Up, tmp_path: Path) -> None:
    open_store(up.env["DAVY_URL"]).close()
    good = up.command("doctor")
    assert "ok" in good.stdout
    up.env["DAVY_URL"] = "ftp://nowhere"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        up.command("doctor")
    assert caught.value.returncode == 2
    assert "sqlite:///directory" in caught.value.stderr


def test_the_two_lines_reach_the_gateway_over_http(up: Up, tmp_path: Path) -> None:
    up.start()
    program = (
        "import davy\n"
        "predict = davy.watch(lambda x: {'value': 2 * x}, 'double:1')\n"
        "assert [predict(x=float(i))['value'] for i in range(300)][-1] == 598.0\n"
        "assert davy.flush(20)\n"
        "assert davy.stats()['sent'] == 300, davy.stats()\n"
    )
    env = {**up.env, "DAVY_URL": up.address}
    subprocess.run([sys.executable, "-W", "error", "-c", program], env=env, check=True, timeout=60)
    wait_until(
        lambda: up.metric('davy_inferences_total{model="double:1"}') == 300, "300 inferences over HTTP"
    )


def test_without_label_studio_it_says_how_pip_gets_one_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_app(["up", "--label-studio"]) == 2
    (wanted,) = re.findall(r"`(\.labelstudio/bin/pip install .+?)`", capsys.readouterr().err)
    pinned = (ROOT / "requirements" / "labelstudio.txt").read_text(encoding="utf-8").splitlines()
    assert wanted.rpartition(" ")[2] in pinned
    assert list(tmp_path.iterdir()) == []
