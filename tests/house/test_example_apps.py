"""The examples run as they stand."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import davy
from davy.codec import decode, load
from davy.event import FEEDBACK, INFERENCES, Feedback
from davy.log import open_log

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.fast


def test_two_lines_capture_every_call(tmp_path: Path) -> None:
    env = {**os.environ, "DAVY_URL": f"sqlite:///{tmp_path}"}
    command = [sys.executable, "-W", "error", str(EXAMPLES / "two_lines.py")]
    subprocess.run(command, env=env, check=True, capture_output=True, timeout=60)
    log = open_log(env["DAVY_URL"])
    stored = [decode(record.value) for record in log.read(INFERENCES, 0, 0)]
    log.close()
    assert sum(envelope.count for envelope in stored) == 1_000
    assert {envelope.model for envelope in stored} == {"fraud:3"}


def test_the_fastapi_app_captures_under_the_callers_id_and_takes_feedback() -> None:
    url, name = f"memory://{uuid.uuid4()}", "ab" * 16
    davy.init(url)
    spec = importlib.util.spec_from_file_location("fastapi_app", EXAMPLES / "fastapi_app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with TestClient(module.app) as client:
        client.post("/predict", json=[1.0, 2.0], headers={"X-Davy-Id": name}).raise_for_status()
        client.post(f"/feedback/{name}", params={"label": 1}).raise_for_status()
    assert davy.flush()
    log = open_log(url)
    (record,) = log.read(INFERENCES, 0, 0)
    (told,) = log.read(FEEDBACK, 0, 0)
    assert decode(record.value).inference(0).id.hex() == name
    assert load(Feedback, told.value).truth == 1
    davy.shutdown()
