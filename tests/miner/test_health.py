"""Labelling that does not move is said, by whoever asks, from soon after it stopped until it moves again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fake_labelstudio import LEGACY_KEY, FakeLabelStudio
from gateway_rig import LocalClient, opened
from streams import SECOND, Clock

from davy.config import LabelStudioSettings
from davy.event import FLAGS
from davy.gateway.app import make_health_app
from davy.runtime import Pulse, Runtime
from davy_miner.health import QUEUE_SECONDS, Notes, checks, label_studio

pytestmark = pytest.mark.fast


class Bench:
    """Notes of one process, and what another one finds."""

    def __init__(self, runtime: Runtime) -> None:
        self.clock = Clock()
        labelstudio = LabelStudioSettings(url="http://labels.example", api_key="k")
        self.runtime = replace(
            runtime, clock=self.clock, settings=replace(runtime.settings, labelstudio=labelstudio)
        )
        self.notes = Notes(self.runtime)
        self.notes.begin()

    def pass_time(self, seconds: float) -> None:
        self.clock.now += int(seconds * SECOND)

    def wrong(self) -> list[str]:
        return [check.what for check in checks(self.runtime) if check.state == "wrong"]


@pytest.fixture
def bench() -> Iterator[Bench]:
    with opened() as runtime:
        yield Bench(runtime)


def test_a_failure_counts_when_it_lasts_and_ends_with_the_first_success(bench: Bench) -> None:
    bench.notes.failed("pushing tasks", "timed out")
    assert bench.wrong() == []
    bench.pass_time(16)
    bench.notes.failed("pushing tasks", "timed out")
    assert bench.wrong() == ["labelling: pushing tasks"]
    bench.notes.works("pushing tasks")
    assert bench.wrong() == []


def test_a_queue_that_does_not_move_counts_though_nothing_fails(bench: Bench) -> None:
    for _ in range(2):
        bench.notes.queue(moved=True)
        bench.pass_time(QUEUE_SECONDS)
        bench.notes.queue(moved=False)
        assert bench.wrong() == []
        bench.pass_time(1)
        bench.notes.queue(moved=False)
        assert bench.wrong() == ["labelling: queue"]
        bench.notes.queue(moved=True)
        assert bench.wrong() == []


def test_who_takes_over_finds_out_anew(bench: Bench) -> None:
    bench.notes.failed("pushing tasks", "timed out")
    bench.pass_time(60)
    assert bench.wrong() == ["labelling: pushing tasks"]
    Notes(bench.runtime).begin()
    assert bench.wrong() == []


def test_without_a_tool_there_is_nothing_to_say(bench: Bench) -> None:
    bench.notes.failed("pushing tasks", "timed out")
    bench.pass_time(60)
    assert (
        checks(
            replace(
                bench.runtime, settings=replace(bench.runtime.settings, labelstudio=LabelStudioSettings())
            )
        )
        == []
    )


def test_a_label_studio_that_fails_is_a_warning_of_readyz_though_nothing_waits_for_it() -> None:
    with FakeLabelStudio() as server, opened() as runtime:
        server.broken = True
        labelstudio = LabelStudioSettings(url=server.url, api_key=LEGACY_KEY)
        pulse = Pulse()
        for name in ("detect", "mine", "gateway", "retain"):
            pulse.begin(name, [FLAGS])
        runtime = replace(runtime, settings=replace(runtime.settings, labelstudio=labelstudio), pulse=pulse)
        (wrong,) = label_studio(runtime)
        assert (wrong.state, "answered 500" in wrong.remedy) == ("wrong", True)
        with LocalClient(make_health_app(runtime)) as client:
            answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["findings"]) == (200, [wrong.softened().shown()])


def test_an_answer_that_does_not_end_is_told_by_its_status() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def fail() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(2**16)
                connection.sendall(b"HTTP/1.1 500 Broken\r\ncontent-length: 9\r\n\r\n")
                connection.recv(1)

        thread = threading.Thread(target=fail, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        settings = LabelStudioSettings(url=url, api_key=LEGACY_KEY, timeout_seconds=0.2)
        with opened() as runtime:
            (wrong,) = label_studio(
                replace(runtime, settings=replace(runtime.settings, labelstudio=settings))
            )
        thread.join(5)
    assert "answered 500 (ReadTimeout)" in wrong.remedy
