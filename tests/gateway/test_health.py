"""A process without a gateway shows its health and its metrics, to whom it may concern."""

from __future__ import annotations

import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from support.gateway_rig import LocalClient, opened

from davy.config import HealthSettings
from davy.errors import BlobError, SettingError
from davy.event import INFERENCES, BlobRef
from davy.gateway import HealthTarget
from davy.gateway.app import make_health_app
from davy.runtime import Pulse

READY = {"status": "ready", "findings": []}


@contextmanager
def role(directory: Path, name: str, **env: str) -> Iterator[str]:
    """Run one role in a process; return the address it says."""
    process = subprocess.Popen(
        [sys.executable, "-m", "davy", "run", name],
        env={"DAVY_URL": f"sqlite:///{directory}", "PATH": "", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+:\d+", process.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        process.stdout.close()


@pytest.mark.parametrize("name", ["detect", "retain"])
def test_a_role_alone_serves_health_and_metrics_on_loopback(name: str, tmp_path: Path) -> None:
    with role(tmp_path, name) as address, httpx.Client(base_url=address) as client:
        assert "127.0.0.1" in address
        for path in ("/healthz", "/readyz"):
            assert client.get(path).status_code == 200
        assert "davy_role_errors_total" in client.get("/metrics").text
        assert client.post("/v1/inferences", json={}).status_code == 404
        assert client.get("/openapi.json").status_code == 404


def test_metrics_need_the_key_where_there_is_one(tmp_path: Path) -> None:
    with (
        role(tmp_path, "detect", DAVY_GATEWAY_API_KEY="lamp") as address,
        httpx.Client(base_url=address) as client,
    ):
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer lamp"}).status_code == 200
        assert client.get("/healthz").status_code == 200


@pytest.mark.fast
def test_beyond_loopback_a_key_is_needed() -> None:
    with opened() as runtime:
        everywhere = replace(runtime.settings, health=HealthSettings(host="0.0.0.0"))
        with pytest.raises(SettingError, match=r"health\.host"):
            HealthTarget(replace(runtime, settings=everywhere))


@pytest.mark.fast
def test_a_role_that_does_nothing_any_more_is_not_ready() -> None:
    now = 100.0
    pulse = Pulse(clock=lambda: now)
    for name in ("detect", "mine", "gateway", "retain"):
        pulse.begin(name, [INFERENCES])
    with opened() as runtime, LocalClient(make_health_app(replace(runtime, pulse=pulse))) as client:
        assert (client.get("/readyz").status_code, client.get("/readyz").json()) == (200, READY)
        now = 121.0
        answer = client.get("/readyz")
        (found,) = (one for one in answer.json()["findings"] if one["what"] == "role detect")
        assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
        assert (found["what"], found["state"], bool(found["remedy"])) == ("role detect", "wrong", True)
        text = client.get("/metrics").text
        assert 'davy_role_silent_seconds{role="detect"} 21.0' in text
        assert 'davy_check_failing{check="role detect"} 1.0' in text
        assert 'davy_check_failing{check="store"} 0.0' in text
        assert client.get("/healthz").status_code == 200


@pytest.mark.fast
def test_what_cannot_be_written_is_not_ready_and_says_what_to_do() -> None:
    with opened() as runtime:

        def refuse(data: bytes, media_type: str) -> BlobRef:
            raise BlobError("blob", "0f", "cannot be kept (No space left on device): free space")

        runtime.blobs.put = refuse  # type: ignore[method-assign]
        with LocalClient(make_health_app(runtime)) as client:
            answer = client.get("/readyz")
    assert answer.status_code == 503
    assert [one for one in answer.json()["findings"] if one["state"] == "wrong"] == [
        {
            "what": "blobs",
            "state": "wrong",
            "found": "0f",
            "remedy": "cannot be kept (No space left on device): free space",
        }
    ]


@pytest.mark.fast
def test_metrics_tell_of_build_and_process_and_not_when_a_counter_was_made() -> None:
    with opened() as runtime, LocalClient(make_health_app(runtime)) as client:
        text = client.get("/metrics").text
    assert f'davy_build_info{{python="{platform.python_version()}",version="{version("davy")}"}} 1.0' in text
    assert "process_resident_memory_bytes" in text
    assert "_created" not in text
