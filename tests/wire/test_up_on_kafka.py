"""`davy up` with its log on Kafka: it watches, it is looked over, it goes on after a restart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from support.kafka_server import PASSWORD, USER, Cluster, fresh_prefix, needs_brokers

from davy.demo.processes import free_port, wait_until

pytestmark = needs_brokers()

CAPTURE = "import davy; [davy.capture('m:1', {'x': float(i)}, {}) for i in range(300)]; assert davy.flush(30)"


class Up:
    """A `davy up` on a log that asks for a password."""

    def __init__(self, servers: str, scheme: str, directory: Path) -> None:
        self.address = f"http://127.0.0.1:{free_port()}"
        login = f"{USER}:{quote(PASSWORD, safe='')}"
        self.output = directory / "output.txt"
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DAVY_")},
            "DAVY_URL": f"{scheme}://{login}@{servers}/{fresh_prefix()}?security=SASL_PLAINTEXT&partitions=3",
            "DAVY_STORE_URL": f"sqlite:///{directory}/store",
            "DAVY_BLOB_URL": f"file:///{directory}/blobs",
            "DAVY_GATEWAY_PORT": self.address.rpartition(":")[2],
        }
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.output.open("ab") as output:
            command = [sys.executable, "-m", "davy", "up"]
            self.child = subprocess.Popen(command, env=self.env, stdout=output, stderr=output)
        wait_until(self._ready, "davy up to answer", seconds=60)

    def stop(self) -> int:
        assert self.child is not None
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(timeout=60)

    def run(self, *command: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, *command], env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr + done.stdout
        return done.stdout + done.stderr

    def counted(self) -> float:
        text = httpx.get(f"{self.address}/metrics").text
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("davy_inferences_total")
        )

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.address}/readyz").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(params=["kafka", "kafka+librdkafka"])
def up(request: pytest.FixtureRequest, kafka_broker: Cluster, tmp_path: Path) -> Iterator[Up]:
    made = Up(kafka_broker.servers_of("sasl"), request.param, tmp_path)
    yield made
    if made.child is not None and made.child.poll() is None:
        made.child.kill()
        made.child.wait()


def test_it_counts_what_the_sdk_sends_and_goes_on_after_a_restart(up: Up) -> None:
    up.start()
    up.run("-W", "error", "-c", CAPTURE)
    wait_until(lambda: up.counted() == 300, "the first inferences to be counted", seconds=60)
    assert up.stop() == 0
    up.run("-W", "error", "-c", CAPTURE)
    up.start()
    wait_until(lambda: up.counted() == 600, "the later inferences to be counted", seconds=60)
    page = httpx.get(f"{up.address}/").text
    assert up.stop() == 0
    shown = up.output.read_text() + page
    assert PASSWORD not in shown
    assert quote(PASSWORD, safe="") not in shown
    assert "Traceback" not in shown


def test_doctor_looks_the_topics_over_and_shows_no_password(up: Up) -> None:
    for name in ("store", "blobs"):
        (up.output.parent / name).mkdir()
    up.run("-W", "error", "-c", CAPTURE)
    told = up.run("-m", "davy", "doctor", "--json", code=1)  # nobody detects what waits
    found = {check["what"]: check for check in json.loads(told)}
    assert found["topic davy.inferences"]["found"] == "3 partitions, 1 copies"
    listed = up.run("-m", "davy", "doctor", "--settings", "--json")
    for shown in (told, listed):
        assert f"{USER}@" in shown
        assert PASSWORD not in shown
        assert quote(PASSWORD, safe="") not in shown
