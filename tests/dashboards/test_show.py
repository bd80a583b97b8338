"""`davy show ID`: any inference by its id, as a person and as a program reads it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from support.mining import make_candidate, make_flag

from davy.cli import run_app
from davy.codec import Encoder, dump, pack
from davy.event import FLAGS, INFERENCES, BlobRef, Evidence, Label
from davy.fields.payloads import png
from davy.log import Message
from davy.models import MODELS
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy.sdk.ids import fresh
from davy.store import Batch
from davy_detectors.history.lookup import find
from davy_detectors.incidents.incident import INCIDENTS, Incident
from davy_miner.candidates import CANDIDATES
from davy_miner.labels import REVISIONS, Revisions
from davy_miner.labelstudio.records import TASKS, Sent

pytestmark = pytest.mark.fast
MODEL = "digits:1"
Show = Callable[..., dict[str, Any]]
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2028]")


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}/data")
    with open_runtime() as opened:
        opened.store.apply(MODELS.put(Batch(), MODEL, ""))
        yield opened


@pytest.fixture
def show(runtime: Runtime, capsys: pytest.CaptureFixture[str]) -> Show:
    def call(id: bytes | str, *arguments: str) -> Any:
        text = id if isinstance(id, str) else id.hex()
        assert run_app(["show", text, *arguments]) == 0
        out = capsys.readouterr().out
        if "--json" not in arguments:
            return out
        return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    return call


def append(
    runtime: Runtime, inputs: dict[str, Any], outputs: dict[str, Any] | None = None, *,
    id: bytes = b"", model: str = MODEL, **more: Any,
) -> bytes:  # fmt: skip
    """Append an inference among others; return its id."""
    ids = [fresh(time.time_ns()), id or fresh(time.time_ns()), fresh(time.time_ns())]
    encoder, now = Encoder(), time.time_ns()
    chunks = [encoder.encode(model, one, now, inputs, outputs or {"label": 3}, **more) for one in ids]
    producer = runtime.log.producer()
    producer.append([Message(INFERENCES, model, pack(chunks))])
    producer.close()
    return ids[1]


def test_an_inference_is_shown_by_its_id(runtime: Runtime, show: Show) -> None:
    id = append(
        runtime,
        {"age": 41, "name": "Ada", "gap": None, "x": float("nan"), "v": np.array([1.5, np.inf], np.float32)},
        {"probs": np.array([0.25, 0.75]), "class_names": ["cat", "dog"]},
        tags={"country": "AT"},
        group="g",
    )
    found = show(id, "--json")
    assert (found["id"], found["model"], found["group"]) == (id.hex(), MODEL, "g")
    assert found["record"] == "davy.inferences/0/1 row 1"
    assert found["inputs"] | {"x": None} == {
        "age": 41,
        "name": "Ada",
        "gap": None,
        "x": None,
        "v": {"datatype": "FP32", "shape": [2], "data": [1.5, "Infinity"]},
    }
    assert found["inputs"]["x"] in {None, "NaN"}
    assert found["tags"] == {"country": "AT"}
    assert (found["answer"]["value"], found["answer"]["task"]) == ("dog", "classification")
    assert (found["flags"], found["candidates"], found["incidents"]) == ([], [], [])
    said = show(str(id.hex()))
    assert "Ada" in said
    assert "dog (classification)" in said


def test_it_says_what_every_room_knows(runtime: Runtime, show: Show) -> None:
    id = append(runtime, {"age": 41})
    flag = replace(make_flag(1, scores={"msp": 0.01}, incident="i1", model=MODEL), inference_id=id)
    producer = runtime.log.producer()
    producer.append([Message(FLAGS, MODEL, dump(flag))])
    producer.close()
    candidate = make_candidate(flag, state="labelled", arm="greedy", probability=1.0, task=7)
    label = Label(candidate.id, id, MODEL, "5", 1, 2, "Eve", verdict="wrong")
    incident = Incident(
        "i1", MODEL, "drift", "open", "r", 1, 1, 1, 1, 1, 10, [Evidence("age", "higher", 0.1, 0.9, 9.0)], 2.0, 1.0, [id]
    )  # fmt: skip
    batch = CANDIDATES.put(Batch(), candidate.id, candidate)
    REVISIONS.put(batch, candidate.id, Revisions([label]))
    TASKS.put(batch, candidate.id, Sent(3, 1, "3", 7))
    INCIDENTS.put(batch, "i1", incident)
    runtime.store.apply(batch)
    found = show(id, "--json")
    (one,) = found["candidates"]
    assert (one["state"], one["project"], one["task"], one["label"], one["verdict"]) == (
        "labelled", 3, 7, "5", "failure",
    )  # fmt: skip
    assert [answer["annotator"] for answer in one["answers"]] == ["Eve"]
    assert [one["id"] for one in found["flags"]] == [flag.id]
    assert [one["id"] for one in found["incidents"]] == ["i1"]
    said = show(id)
    for text in ("failure", "drift", "greedy", candidate.id):
        assert text in said


def test_what_the_log_no_longer_has_is_shown_as_it_was_flagged(runtime: Runtime, show: Show) -> None:
    flag = make_flag(5, inputs={"age": 41}, model=MODEL)
    candidate = make_candidate(flag)
    runtime.store.apply(CANDIDATES.put(Batch(), candidate.id, candidate))
    found = show(flag.inference_id, "--json")
    assert (found["record"], found["inputs"]) == (None, {"age": 41})
    assert "no longer in the log" in show(flag.inference_id, "--model", MODEL)


def test_an_id_of_an_app_is_found_too(runtime: Runtime, show: Show) -> None:
    id = append(runtime, {"age": 41}, id=uuid4().bytes)
    assert show(id, "--json")["inputs"] == {"age": 41}
    old = append(
        runtime, {"age": 42}, id=fresh(time.time_ns() - 3 * 3_600 * 10**9)
    )  # from a spool, hours later
    assert show(old, "--json")["inputs"] == {"age": 42}
    assert find(runtime.log, old, seconds=0.0) is not None  # a short log is read whole whatever the time


def test_one_id_of_two_models_is_told_apart(runtime: Runtime, show: Show) -> None:
    id = append(runtime, {"age": 41})
    runtime.store.apply(MODELS.put(Batch(), "digits:2", ""))
    append(runtime, {"age": 42}, id=id, model="digits:2")
    assert show(id, "--json", "--model", "digits:2")["inputs"] == {"age": 42}
    assert show(id, "--json", "--model", MODEL)["inputs"] == {"age": 41}


@pytest.mark.parametrize(
    ("id", "says"),
    [
        ("xyz", "give a UUID or 32 hexadecimal digits"),
        (uuid4().hex, "its time is not in it"),
        (fresh(10**18).hex(), "it has expired"),
        (fresh(time.time_ns() + 3_600 * 10**9).hex(), "searches the log for longer"),
        (fresh(4 * 10**18).hex(), "that is in the future"),
    ],
)
def test_an_unknown_id_is_an_error_with_what_to_do(
    id: str, says: str, runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    append(runtime, {"age": 41})
    assert run_app(["show", id]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert says in said


def test_the_archive_is_named_where_there_is_one(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    append(runtime, {"age": 41})
    monkeypatch.setenv("DAVY_ARCHIVE_URL", "file:///srv/archive")
    assert run_app(["show", fresh(10**18).hex()]) == 2
    assert "archive at file:///srv/archive may have it, day 2001-09-09" in capsys.readouterr().err


def test_an_unknown_model_is_refused(runtime: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    id = append(runtime, {"age": 41})
    assert run_app(["show", id.hex(), "--model", "digit:1"]) == 2
    assert "did you mean digits:1" in capsys.readouterr().err


def test_pictures_and_payloads_are_saved(runtime: Runtime, show: Show, tmp_path: Path) -> None:
    picture = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    stored = runtime.blobs.put(png(picture), "image/png")
    sound = runtime.blobs.put(b"RIFF", "audio/wav")
    gone = BlobRef("ab" * 32, 4, "audio/wav")
    id = append(
        runtime, {"image": stored, "raw": png(picture), "../sly": picture, "sound": sound, "gone": gone}
    )
    found = show(id, "--json", "--save", str(tmp_path / "out"))
    files = {one["field"]: one["file"] for one in found["files"]}
    assert files.pop("inputs.gone") is None
    assert {Path(file).parent for file in files.values()} == {tmp_path / "out"}
    assert Path(files["inputs.image"]).read_bytes() == png(picture)
    assert Path(files["inputs.sound"]).read_bytes() == b"RIFF"
    assert set(files) == {"inputs.image", "inputs.raw", "inputs.../sly", "inputs.sound"}
    assert {one["field"] for one in found["pictures"]} == {"inputs.image", "inputs.raw", "inputs.../sly"}


def test_no_control_character_reaches_a_terminal(runtime: Runtime, show: Show) -> None:
    evil = "\x1b[2J\u202e\x07\u2028\x9b31m"
    id = append(
        runtime,
        {evil: evil, "list": [evil, {evil: evil}], "bytes": evil.encode()},
        {"label": evil},
        tags={evil: evil},
        group=evil,
    )
    for said in (show(id), json.dumps(show(id, "--json"))):
        assert not CONTROL.search(said)


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """Return what a command writes to a terminal."""
    leader, follower = pty.openpty()
    settings = {
        **os.environ,
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "COLUMNS": "100",
        **environment,
    }
    with subprocess.Popen(
        [sys.executable, "-m", "davy", *arguments], stdout=follower, stderr=follower, env=settings
    ) as process:
        os.close(follower)
        parts = []
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # the last writer has gone
                break
            if not part:
                break
            parts.append(part)
        process.wait(timeout=60)
    os.close(leader)
    said = b"".join(parts).decode()
    assert process.returncode == 0, said
    return said


def test_a_picture_is_drawn_on_a_terminal_with_half_blocks(runtime: Runtime) -> None:
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[0], picture[1] = (255, 0, 0), (0, 0, 255)
    id = append(runtime, {"image": png(picture)})
    said = on_a_terminal("show", id.hex(), NO_COLOR="")
    assert said.count("▀") == 12
    assert "38;2;255;0;0;48;2;0;0;255m" in said
    assert "▀" not in on_a_terminal("show", id.hex(), TERM="dumb", COLORTERM="")
    assert "▀" not in on_a_terminal("show", id.hex(), PYTHONIOENCODING="ascii")
