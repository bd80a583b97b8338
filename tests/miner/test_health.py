"""Labelling that does not move is said, by whoever asks, from soon after it stopped until it moves again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.fake_labelstudio import LEGACY_KEY, FakeLabelStudio
from support.gateway_rig import LocalClient, opened
from support.streams import SECOND, Clock

from davy.config import LabelStudioSettings
from davy.errors import DavyError
from davy.event import FLAGS
from davy.gateway.app import make_health_app
from davy.health import attempt
from davy.runtime import Pulse, Runtime
from davy_miner.health import QUEUE_SECONDS, Notes, checks, label_studio
from davy_miner.labelstudio.client import SdkTool

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


STRANGE = (
    *("null", "[]", "{}", "1", '"lamp"', "true", "[null]", "<html>", "", '{"id": null}'),
    *('{"results": null}', '{"results": 1}', '{"results": [null]}', '{"tasks": {"a": 1}}'),
    '{"count": 1, "results": [[]], "tasks": [null]}',
)
ASKED: dict[str, Callable[[SdkTool], object]] = {
    "projects": lambda tool: tool.projects("davy"),
    "has_project": lambda tool: tool.has_project(1),
    "create_project": lambda tool: tool.create_project("title", "davy", "<View/>"),
    "project_config": lambda tool: tool.project_config(1),
    "find_tasks": lambda tool: tool.find_tasks(1, ["c"]),
    "changed_tasks": lambda tool: tool.changed_tasks(1, 0, 1),
    "has_task": lambda tool: tool.has_task(1),
}


@contextmanager
def something_else(body: str) -> Iterator[str]:
    """Answer every request with 200 and a body."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.mark.parametrize("key", [LEGACY_KEY, "a.b.c"], ids=["legacy", "personal"])
@pytest.mark.parametrize("body", STRANGE)
def test_what_answers_in_its_place_is_named_by_its_address_and_never_called_a_mistake_of_davys(
    body: str, key: str
) -> None:
    with something_else(body) as url, opened() as runtime:
        labelstudio = LabelStudioSettings(url=url, api_key=key)
        runtime = replace(runtime, settings=replace(runtime.settings, labelstudio=labelstudio))
        (found,) = attempt("Label Studio", lambda: label_studio(runtime))
        assert "mistake of Davy" not in found.remedy
        assert found.state == "wrong"
        assert url in found.found
        tool = SdkTool(url, key, timeout=5)
        try:
            for ask in ASKED.values():
                with suppress(DavyError):
                    ask(tool)
        finally:
            tool.close()
