"""The SDK in a test: a client of its own, sinks that fail on demand, and no exception swallowed in silence."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import davy
from davy.codec import decode, load
from davy.config import Settings
from davy.config import load as load_settings
from davy.errors import LogError
from davy.event import FEEDBACK, INFERENCES, Envelope, Feedback, Inference
from davy.log import Message, open_log
from davy.sdk import guard
from davy.sdk.client import Client
from davy.sdk.home import HOME

URL = "memory://"
ALWAYS_IN = bytes(16)
"""An id that every rate above zero keeps."""


@pytest.fixture(autouse=True)
def nothing_is_swallowed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which the SDK swallowed an exception, unless it is marked ``swallows``: then one must be.

    A property test marked ``may_swallow`` draws values of which some raise, or none.
    """
    found: list[str] = []

    def observe(reason: str, error: BaseException) -> None:
        found.append(f"{reason}: {error!r}")

    guard.observers.append(observe)
    try:
        yield
    finally:
        guard.observers.remove(observe)
    if request.node.get_closest_marker("may_swallow") is not None:
        return
    if bool(found) != (request.node.get_closest_marker("swallows") is not None):
        pytest.fail(f"the SDK swallowed {found or 'nothing'}")


@pytest.fixture(autouse=True)
def own_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return a test a memory log of its own by DAVY_URL, and a process in which nothing was captured yet."""
    url = f"{URL}{uuid.uuid4()}"
    monkeypatch.setenv("DAVY_URL", url)
    monkeypatch.setattr(HOME, "client", None)
    monkeypatch.setattr(HOME, "not_begun", 0)
    monkeypatch.setattr(HOME, "not_watchable", 0)
    monkeypatch.setattr(HOME, "integration_failed", 0)
    monkeypatch.setattr(guard, "_last_said", {})
    yield url
    if HOME.client is not None:
        HOME.client.sender.stop(5.0)


class Store:
    """A sink that keeps what it is given, or does first what `before` says: raise, or wait."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.before = before
        self.messages: list[Message] = []
        self.attempts = 0
        self.tried = threading.Semaphore(0)
        self.closed = False
        self.together = 1

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        self.attempts += 1
        self.tried.release()
        self.before()
        self.messages += messages

    def close(self, *, timeout: float = 5.0) -> None:
        self.closed = True

    def open(self) -> Store:
        """Open the sink, as the SDK does."""
        return self

    @property
    def envelopes(self) -> list[Envelope]:
        return [decode(message.value) for message in self.messages if message.topic == INFERENCES]

    @property
    def inferences(self) -> list[Inference]:
        return [one for envelope in self.envelopes for one in envelope.inferences()]

    @property
    def feedback(self) -> list[Feedback]:
        return [load(Feedback, message.value) for message in self.messages if message.topic == FEEDBACK]


class Stuck(Store):
    """A sink that takes nothing until `release` is set."""

    def __init__(self) -> None:
        self.release = threading.Event()
        super().__init__(self._wait)

    def _wait(self) -> None:
        self.release.wait(60)


@contextmanager
def stuck() -> Iterator[Stuck]:
    """A sink that takes a batch and never answers, until the test is over."""
    sink = Stuck()
    try:
        yield sink
    finally:
        sink.release.set()


def refuse() -> None:
    """Fail as a log does that cannot be reached."""
    raise LogError("log", "test", "is down")


def settings(**overrides: Any) -> Settings:
    """Settings of the SDK by name, without an environment."""
    return load_settings(env={}, overrides={f"sdk.{name}": value for name, value in overrides.items()})


def start(
    sink: Any, *, random: Callable[[], float] = lambda: 0.0, payloads: bool = False, **overrides: Any
) -> Client:
    """Make the client of this process, with a sink of the test's choice and no waiting between retries."""
    HOME.client = Client(settings(**overrides), sink.open, payloads=payloads, random=random)
    return HOME.client


def envelopes_in(url: str) -> list[Envelope]:
    """Read every envelope in a memory log."""
    log = open_log(url)
    return [decode(record.value) for record in log.read(INFERENCES, 0, log.start(INFERENCES)[INFERENCES, 0])]


def inferences_in(url: str) -> list[Inference]:
    """Read every inference in a memory log."""
    return [one for envelope in envelopes_in(url) for one in envelope.inferences()]


def balanced(stats: dict[str, Any]) -> bool:
    """Whether everything captured is accounted for."""
    return bool(stats["captured"] == stats["sent"] + sum(stats["dropped"].values()) + stats["depth"])


class Answers(BaseHTTPRequestHandler):
    """Answers requests as its server says, and remembers them."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), body, self.client_address))
        status, headers = self.server.answers.pop(0) if self.server.answers else (202, {})
        self.send_response(status)
        for name, value in {"Content-Length": "2", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"ok")
        self.close_connection = headers.get("Connection") == "close" or self.server.hang_up

    def log_message(self, format: str, *args: Any) -> None: ...


@contextmanager
def http_server(*answers: tuple[int, dict[str, str]], hang_up: bool = False) -> Iterator[Any]:
    """Run a server that gives these answers, then 202; `hang_up` closes each connection without saying so."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.answers, server.requests, server.hang_up = list(answers), [], hang_up
    server.daemon_threads = True
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def capture_in_process(url: str) -> None:
    """What a child of multiprocessing does; it must be found by import."""
    davy.init(url, exit_seconds=10.0)
    for value in range(50):
        davy.capture("m:1", {"x": float(value)}, {})
