"""What roles log is for a person: a line an event, nothing again and again, no traceback of what was foreseen."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.gateway_rig import opened
from support.reading_role import Reading

from davy import logs
from davy.consume import Loop
from davy.demo.processes import free_port, wait_until
from davy.errors import LogError, StoreError
from davy.event import INFERENCES
from davy.runner import run
from davy.runtime import Runtime, Target

pytestmark = pytest.mark.fast


class Written:
    """A logger whose records go through what a role's process has, at a time moved by hand."""

    def __init__(self) -> None:
        self.now, self._text = 0.0, io.StringIO()
        handler = logging.StreamHandler(self._text)
        handler.addFilter(logs.Sparing(clock=lambda: self.now))
        handler.setFormatter(logs.TextFormatter("%(levelname)s %(message)s"))
        self.logger = logging.Logger("written")  # noqa: LOG001 - known to nobody else
        self.logger.addHandler(handler)

    def lines(self) -> list[str]:
        """Return what was written since the last look."""
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        return text.splitlines()


@pytest.fixture
def written() -> Written:
    return Written()


def test_what_repeats_comes_once_a_minute_with_how_often_it_came(written: Written) -> None:
    for second in range(150):
        written.now = float(second)
        written.logger.warning("offset %d of 10.0.0.%d cannot be read", second, second % 3)
    first, *later = written.lines()
    assert first == "WARNING offset 0 of 10.0.0.0 cannot be read"
    assert later == [
        "WARNING offset 60 of 10.0.0.0 cannot be read (and 59 more like it since it was last logged)",
        "WARNING offset 120 of 10.0.0.0 cannot be read (and 59 more like it since it was last logged)",
    ]


def test_what_differs_in_more_than_numbers_is_another_event(written: Written) -> None:
    written.logger.warning("the log cannot be read")
    written.logger.error("the log cannot be read")
    written.logger.warning("the store cannot be read")
    written.logger.info("made project 3")
    written.logger.info("made project 4")
    assert len(written.lines()) == 5
    for text in ("line a", "line b"):
        written.logger.warning(text, extra={"reason": "lines"})
    assert written.lines() == ["WARNING line a"]


def test_models_whose_names_differ_in_digits_alone_are_told_apart(written: Written) -> None:
    for number in range(4):
        for model in ("m:1", "m:2", "team/v2:3"):
            written.logger.warning("%s: %d of %s from 10.0.0.%d left out", "detect", number, model, number)
            written.logger.error("detect: %s: offset %d", f"testing {model} goes on", number)
        written.logger.warning("%s is slow", f"127.0.0.1:{number}")
    assert len(written.lines()) == 7


def test_only_the_first_of_a_reason_has_a_traceback(written: Written) -> None:
    for second in (0.0, 1.0, 61.0):
        written.now = second
        try:
            raise ZeroDivisionError("nobody foresaw this")
        except ZeroDivisionError:
            written.logger.exception("failed")
    lines = written.lines()
    assert lines[0] == "ERROR failed"
    assert all(line.startswith("  ") for line in lines[1:-1])
    assert lines[-1] == "ERROR failed (and 1 more like it since it was last logged)"


def test_the_memory_of_reasons_is_bounded(written: Written) -> None:
    sparing = logs.Sparing()
    for number in range(3000):
        text = f"{number:b}".translate({48: "a", 49: "b"}) + "x" * 100_000
        sparing.filter(logging.LogRecord("davy", logging.WARNING, "", 0, text, (), None))
    assert len(sparing._told) == 1000


def test_a_handover_is_a_line_of_information_on_each_side(caplog: pytest.LogCaptureFixture) -> None:
    with opened() as runtime, caplog.at_level(logging.INFO, logger="davy.consume"):
        one, other = Loop(runtime, Reading()), Loop(runtime, Reading())
        one.step()
        other.step()
        other.step()
        assert caplog.messages == ["detect: another process has it; waits to take over"]
        one.close()
        other.step()
        other.close()
    assert caplog.messages[1:] == ["detect: takes over"]
    assert {(one.levelno, one.exc_info) for one in caplog.records} == {(logging.INFO, None)}


def test_a_role_that_is_told_to_stop_while_the_store_is_away_ends_in_order(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened() as runtime:
        loop = Loop(runtime, Reading())
        loop.step()

        def refuse(lease: object) -> None:
            raise StoreError("store", "redis://shelf", "cannot be reached: start it")

        monkeypatch.setattr(runtime.store, "release", refuse)
        loop.close()
    assert caplog.records == []


class Dying(Target):
    """A role that dies of what was foreseen."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def run(self) -> None:
        raise LogError("log", "kafka://broker", "failed; are the brokers up and within reach?")


def test_a_role_that_dies_of_what_was_foreseen_says_so_in_a_line(caplog: pytest.LogCaptureFixture) -> None:
    with opened() as runtime, caplog.at_level(logging.INFO, logger="davy.runner"):
        assert run({"dying": Dying(runtime)}, runtime) == 1
    start, death = caplog.records
    assert (start.levelname, death.levelname, death.exc_info) == ("INFO", "CRITICAL", None)
    assert "kafka://broker" in death.getMessage()


@contextmanager
def writing(file: Path, *arguments: str, **env: str) -> Iterator[None]:
    """Let a role write what it logs, and everything else, to a file."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("DAVY_")}
    with file.open("wb") as output:
        command = [sys.executable, "-m", "davy", "run", *arguments]
        process = subprocess.Popen(command, env={**inherited, **env}, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_a_start_says_what_is_used_where_and_what_is_waited_for_and_a_wrong_broker_is_one_line(
    tmp_path: Path,
) -> None:
    broker, file = f"kafka://127.0.0.1:{free_port()}", tmp_path / "output"
    places = {"DAVY_STORE_URL": f"sqlite:///{tmp_path}", "DAVY_BLOB_URL": f"file:///{tmp_path}/blobs"}
    with writing(file, "detect", DAVY_URL=broker, DAVY_KAFKA_ANSWER_SECONDS="0.5", **places):
        wait_until(lambda: "ERROR" in file.read_text(), "the broker to be missed")
    announced, *rest = file.read_text().splitlines()
    assert announced.startswith("davy: detect on kafka://")
    (start,) = (line for line in rest if "detect starts" in line)
    for told in (INFERENCES, broker, *places.values(), "waits for"):
        assert told in start
    (failed,) = (line for line in rest if " ERROR " in line)
    assert broker in failed
    assert "are the brokers up and within reach?" in failed
    assert "Traceback" not in file.read_text()


def test_json_on_request_is_an_object_a_line(tmp_path: Path) -> None:
    file = tmp_path / "output"
    data = {"DAVY_URL": f"sqlite:///{tmp_path}"}
    with writing(file, "retain", "--log-format", "json", **data):
        wait_until(lambda: "starts" in file.read_text(), "it to start")
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(one.keys() == {"at", "level", "logger", "message"} for one in told)
    assert {one["message"].split()[0] for one in told} == {"retain", "health"}
    with writing(file, "retain", DAVY_LOG_FORMAT="json", **data):
        wait_until(lambda: "starts" in file.read_text(), "it to start")
    assert json.loads(file.read_text().splitlines()[0])["level"] == "info"
