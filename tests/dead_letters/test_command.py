"""``davy dlq`` as a user types it, and what `davy doctor` says of dead letters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from davy.cli import run_app
from davy.codec import Encoder, dump, pack
from davy.config import load
from davy.dead_letters import explain
from davy.dlq import checks
from davy.event import FEEDBACK, INFERENCES, Feedback, dead_letters
from davy.log import Message
from davy.runner import open_runtime
from davy.runtime import Runtime

pytestmark = pytest.mark.fast
Run: TypeAlias = Callable[..., tuple[int, Any]]
SECRET = "mrs-miller"


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}")
    with open_runtime(load()) as opened:
        yield opened


@pytest.fixture
def run(runtime: Runtime, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, Any]:
        code = run_app(["dlq", *arguments, "--json"])
        told = capsys.readouterr()
        return code, json.loads(told.out) if told.out else told.err

    return command


def set_aside(runtime: Runtime, topic: str, value: bytes, error: Exception, component: str) -> None:
    headers = explain(error, topic=topic, component=component)
    runtime.log.producer().append([Message(dead_letters(topic), "m:1", value, headers)])


@pytest.fixture
def letters(runtime: Runtime) -> None:
    set_aside(runtime, INFERENCES, b"\xff\x00", ValueError("first"), "detect")
    set_aside(runtime, FEEDBACK, dump(Feedback(bytes(16), SECRET, 7, model="m:1")), KeyError("k"), "mine")
    set_aside(runtime, INFERENCES, b"\xfe", ValueError("second"), "detect")


def values(runtime: Runtime, topic: str) -> list[bytes]:
    return [record.value for record in runtime.log.read(topic, 0, 0)]


@pytest.mark.usefixtures("letters")
def test_letters_are_grouped_by_topic_error_and_component(run: Run) -> None:
    code, rows = run("list")
    assert code == 0
    assert [(r["topic"], r["error"], r["component"], r["letters"]) for r in rows] == [
        (FEEDBACK, "KeyError", "mine", 1),
        (INFERENCES, "ValueError", "detect", 2),
    ]
    assert all(row["first"] <= row["last"] for row in rows)
    assert [row["letters"] for row in run("list", "--error", "KeyError")[1]] == [1]
    assert [row["letters"] for row in run("list", "--topic", INFERENCES)[1]] == [2]


@pytest.mark.usefixtures("letters")
def test_the_offset_that_list_gives_is_the_one_that_show_takes(run: Run) -> None:
    row = run("list", "--topic", INFERENCES)[1][0]
    code, shown = run("show", str(row["offset"]))
    assert code == 0
    assert (shown["davy.message"], shown["davy.attempts"]) == ("second", "1")
    assert (shown["begins"], shown["bytes"], shown["state"]) == ("fe", 1, "waiting")


@pytest.mark.usefixtures("letters")
def test_what_can_be_decoded_is_named_without_its_contents(run: Run, runtime: Runtime) -> None:
    chunk = Encoder().encode("m:1", bytes(16), 7, {"name": SECRET, "x": np.ones((2, 3), "f4")}, {})
    set_aside(runtime, INFERENCES, pack([chunk]), ZeroDivisionError("z"), "archive")
    event = run("show", str(run("list", "--topic", FEEDBACK)[1][0]["offset"]))[1]
    envelope = run("show", str(run("list", "--error", "ZeroDivisionError")[1][0]["offset"]))[1]
    assert event["holds"] == "Feedback of m:1"
    assert envelope["holds"] == "1 inferences of m:1: inputs.name object, inputs.x float32[2, 3]"
    assert SECRET not in str(event) + str(envelope)


@pytest.mark.usefixtures("letters")
def test_a_dry_run_says_what_a_replay_does_and_does_nothing(run: Run, runtime: Runtime) -> None:
    planned = run("replay", "--error", "ValueError", "--dry-run")
    assert values(runtime, INFERENCES) == []
    assert run("replay", "--error", "ValueError") == planned
    assert values(runtime, INFERENCES) == [b"\xff\x00", b"\xfe"]
    assert [row["error"] for row in run("list")[1]] == ["KeyError"]
    assert {row["state"] for row in run("list", "--all")[1]} == {"waiting", "replayed"}


@pytest.mark.usefixtures("letters")
def test_what_is_dropped_is_listed_with_all_only(run: Run, runtime: Runtime) -> None:
    offset = str(run("list", "--topic", INFERENCES)[1][0]["offset"])
    assert run("drop", "--offset", offset, "--dry-run")[1] == run("drop", "--offset", offset)[1]
    assert [row["letters"] for row in run("list", "--topic", INFERENCES)[1]] == [1]
    assert run("show", offset)[1]["state"].startswith("dropped ")
    assert run("replay", "--offset", offset) == (1, [])
    assert values(runtime, INFERENCES) == []


@pytest.mark.parametrize(
    "arguments", [("show", "7"), ("replay", "--error", "KeyError"), ("drop", "--topic", FEEDBACK)]
)
def test_exit_code_1_means_that_nothing_matched(arguments: tuple[str, ...], run: Run) -> None:
    assert run(*arguments) == (1, [])


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (("replay",), "give --topic"),
        (("drop", "--dry-run"), "give --topic"),
        (("list", "--topic", "inferences"), "davy.inferences"),
        (("show", "first"), "valid integer"),
        (("replay", "--offset", "-1"), "greater than"),
    ],
)
def test_wrong_input_gets_exit_code_2_and_a_remedy(arguments: tuple[str, ...], remedy: str, run: Run) -> None:
    code, told = run(*arguments)
    assert code == 2
    assert remedy in told


@pytest.mark.usefixtures("letters")
def test_doctor_counts_what_waits_until_it_is_dealt_with(run: Run, runtime: Runtime) -> None:
    (found,) = checks(runtime)
    assert found.state == "warning"
    assert found.found == "3 wait: 2 ValueError in davy.inferences, 1 KeyError in davy.feedback"
    run("drop", "--topic", INFERENCES)
    run("replay", "--topic", FEEDBACK)
    assert checks(runtime)[0].state == "ok"
