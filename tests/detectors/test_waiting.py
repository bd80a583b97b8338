"""`davy incidents --wait`: a script may believe what it says once it ends with 0."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.streams import MODEL, envelopes, give_reference, rows

from davy.cli import run_app
from davy.event import INFERENCES
from davy.log import Message
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy_detectors.stream.role import DetectTarget

pytestmark = pytest.mark.fast


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}/davy")
    monkeypatch.setenv("DAVY_DETECT_FALSE_ALARM_EVERY", "100000")
    monkeypatch.setenv("DAVY_DETECT_LATENESS_SECONDS", "0.2")
    with open_runtime() as opened:
        yield opened


@contextmanager
def detecting(runtime: Runtime) -> Iterator[None]:
    thread = threading.Thread(target=DetectTarget(runtime).run)
    thread.start()
    try:
        yield
    finally:
        runtime.stop.set()
        thread.join()


def append(runtime: Runtime, *, model: str = MODEL, count: int = 2_000, drifts: bool = False) -> None:
    columns = rows(count, 7, shifted=np.arange(count) >= count // 2 if drifts else None)
    producer = runtime.log.producer()
    producer.append([Message(INFERENCES, model, one) for one in envelopes(columns, [100], model=model)])
    producer.close()


def test_what_was_in_the_log_when_it_was_called_is_tested_when_it_ends(
    runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    give_reference(runtime)
    append(runtime, drifts=True)
    append(runtime, model="new:1", count=10)
    with detecting(runtime):
        assert run_app(["incidents", "--wait", "--json"]) == 0
        said = capsys.readouterr()
        assert run_app(["models", "list", "--json"]) == 0
    assert [one["model"] for one in json.loads(said.out)] == [MODEL]
    assert "unwatched, for they have no reference: new:1;" in said.err
    models = json.loads(capsys.readouterr().out)["models"]
    tested = {one["model"]: (one["state"], one["tested_until"]) for one in models}
    assert tested[MODEL][0] == "drifting"
    assert tested[MODEL][1] > time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - 3600))
    assert tested["new:1"][0] == "unwatched"


def test_without_a_detector_it_gives_up_with_one_and_says_what_to_start(
    runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    append(runtime, count=10)
    assert run_app(["incidents", "--wait", "--timeout", "0.2"]) == 1
    said = capsys.readouterr()
    assert said.out == "incidents: none\n"
    assert "is `davy up` or `davy run detect` up?" in said.err


def test_only_the_model_that_was_asked_for_is_waited_for(
    runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    append(runtime, count=10)
    append(runtime, model="other:1", count=10)
    with detecting(runtime):
        assert run_app(["incidents", "--wait", "--model", "other:1", "--json"]) == 0
        assert run_app(["incidents", "--wait"]) == 0
    assert f"unwatched, for they have no reference: other:1, {MODEL};" in capsys.readouterr().err
