"""What is secret shows nowhere: not in output, errors, logs, metrics or pages, whatever goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import davy
from davy.config import Settings, describe

SECRET = "s3cr3t-lamp-0451"
SETTINGS = {one.variable: SECRET for one in describe(Settings()) if one.secret}
URLS = {
    "store": {"DAVY_STORE_URL": f"redis://ann:{SECRET}@127.0.0.1:1/0?timeout=0.2"},
    "store of another kind": {"DAVY_STORE_URL": f"postgres://ann:{SECRET}@127.0.0.1:1/0"},
    "log": {"DAVY_URL": f"kafka://ann:{SECRET}@127.0.0.1:1"},
    "log of another kind": {"DAVY_URL": f"amqp://ann:{SECRET}@127.0.0.1:1"},
    "blobs": {"DAVY_BLOB_URL": f"ftp://ann:{SECRET}@127.0.0.1:1"},
    "gateway": {"DAVY_URL": f"http://ann:{SECRET}@127.0.0.1:1"},
    "label studio": {"DAVY_LABELSTUDIO_URL": f"http://ann:{SECRET}@127.0.0.1:1"},
}
COMMANDS = (
    ["doctor"], ["doctor", "--json"], ["doctor", "--settings"], ["doctor", "--settings", "--json"], ["run", "nothing"],
    ["incidents"], ["candidates"],
)  # fmt: skip


def said(arguments: list[str], directory: Path, env: dict[str, str]) -> str:
    """Return all that a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "davy", *arguments],
        env={"PATH": os.environ["PATH"], "DAVY_URL": f"sqlite:///{directory}", "COLUMNS": "400", **env},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def test_there_are_secrets_to_hide() -> None:
    assert {"DAVY_GATEWAY_API_KEY", "DAVY_LABELSTUDIO_API_KEY", "DAVY_SDK_SALT"} <= set(SETTINGS)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_command_prints_a_secret_setting(arguments: list[str], tmp_path: Path) -> None:
    found = said(arguments, tmp_path, SETTINGS)
    assert found
    assert SECRET not in found


@pytest.mark.parametrize("where", list(URLS))
@pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--settings"], ["run", "retain"]], ids=" ".join)
def test_no_error_prints_the_password_of_an_address(where: str, arguments: list[str], tmp_path: Path) -> None:
    if arguments[0] == "run" and where == "label studio":
        pytest.skip("retain knows no Label Studio, and runs")
    found = said(arguments, tmp_path, URLS[where])
    assert found
    assert SECRET not in found


@pytest.mark.fast
@pytest.mark.parametrize("where", ["log of another kind", "gateway"])
def test_the_sdk_logs_no_password(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    davy.init(URLS[where]["DAVY_URL"], exit_seconds=0.1)
    davy.capture("m:1", {"x": 1.0}, {})
    davy.flush(0.5)
    assert SECRET not in caplog.text
    davy.init("memory://nobody")


def test_metrics_and_pages_show_no_secret(tmp_path: Path) -> None:
    env = {**os.environ, **SETTINGS, "DAVY_URL": f"sqlite:///{tmp_path}", "DAVY_GATEWAY_PORT": "0"}
    with (tmp_path / "out").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "davy", "run", "gateway"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().partition("http://")[2].partition(";")[0]
        headers = {"Authorization": f"Bearer {SECRET}"}
        with httpx.Client(base_url=f"http://{address}", headers=headers) as client:
            for path in ("/", "/status.json", "/metrics", "/openapi.json", "/nowhere"):
                assert SECRET not in client.get(path).text
            refused = client.post("/v1/inferences", json={"model": "x"}, headers={"X-Other": SECRET})
            assert (refused.status_code, SECRET in refused.text) == (422, False)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()
    assert SECRET not in (tmp_path / "out").read_text()
