"""The gateway as a sink: what is posted, and what its answers mean."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support.sdk_rig import balanced, http_server, inferences_in

import davy
from davy.codec import load
from davy.config import GatewaySettings, Settings
from davy.errors import LogError, Refused, SettingError
from davy.event import FEEDBACK, INFERENCES, Feedback
from davy.gateway import GatewayTarget
from davy.gateway.keys import KeyRing
from davy.log import Message
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy.sdk.http_sink import HttpSink
from davy.sdk.sink import SinkBusy
from davy.secret import Secret

pytestmark = pytest.mark.fast

MESSAGE = Message(INFERENCES, "m:1", b"envelope")


def post(url: str, *messages: Message, api_key: str = "", timeout: float = 30.0) -> None:
    with closing(HttpSink(url, Secret(api_key))) as sink:
        sink.append(messages or [MESSAGE], timeout=timeout)


@contextmanager
def served(runtime: Runtime) -> Iterator[str]:
    """Run a gateway; return its address."""
    target = GatewayTarget(runtime)
    thread = threading.Thread(target=target.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{target._socket.getsockname()[1]}"
    finally:
        runtime.stop.set()
        thread.join()


def wait_until_refused(url: str, key: str) -> None:
    """Post nothing, which a gateway refuses, until it knows that this key ended."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            post(url, Message(INFERENCES, "m:1", b""), api_key=key)
        except Refused:
            continue
        except SinkBusy:
            return
    pytest.fail("the gateway still takes the key")


def test_envelopes_and_feedback_are_posted_with_their_types_and_the_key() -> None:
    with http_server() as server:
        post(server.url + "/davy/", MESSAGE, Message(FEEDBACK, "m:1", b"feedback"), api_key="secret")
    first, second = server.requests
    assert (first[0], first[2], second[0], second[2]) == (
        "/davy/v1/envelopes",
        b"envelope",
        "/davy/v1/feedback",
        b"feedback",
    )
    assert first[1]["Content-Type"] == "application/vnd.davy.envelope"
    assert second[1]["Content-Type"] == "application/vnd.davy.feedback"
    assert {request[1]["Authorization"] for request in server.requests} == {"Bearer secret"}


def test_the_connection_is_kept() -> None:
    with http_server() as server:
        sink = HttpSink(server.url)
        for _ in range(5):
            sink.append([MESSAGE])
        sink.close()
    assert len({address for _, _, _, address in server.requests}) == 1
    assert "Authorization" not in server.requests[0][1]


@pytest.mark.parametrize("says_so", [True, False])
def test_a_connection_the_gateway_closed_is_opened_again_without_an_error(says_so: bool) -> None:
    answers = [(202, {"Connection": "close"} if says_so else {})] * 3
    with http_server(*answers, hang_up=not says_so) as server:
        sink = HttpSink(server.url)
        for _ in range(3):
            sink.append([MESSAGE])
            time.sleep(0.05)  # the server's end of the connection is gone by then
        sink.close()
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_answer_of_success_means_stored(status: int) -> None:
    headers = {"Content-Length": "0"} if status == 204 else {}
    with http_server((status, headers)) as server:
        post(server.url)


@pytest.mark.parametrize("status", [301, 400, 404, 413, 415, 422])
def test_answers_that_time_will_not_change_are_refusals(status: int) -> None:
    with http_server((status, {})) as server, pytest.raises(Refused, match=str(status)):
        post(server.url)


@pytest.mark.parametrize(
    ("status", "retry_after", "seconds"),
    [
        (401, "", 0.0),
        (403, "", 0.0),
        (429, "7", 7.0),
        (408, "", 0.0),
        (503, "0.5", 0.5),
        (503, "", 0.0),
        (500, "soon", 0.0),
        (502, "-3", 0.0),
        (503, "1e9", 300.0),
        (503, "nan", 0.0),
        (503, "Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        (503, "Wed, 21 Oct 2065 07:28:00 GMT", 300.0),
    ],
)
def test_answers_that_ask_for_patience_say_how_much(status: int, retry_after: str, seconds: float) -> None:
    with http_server((status, {"Retry-After": retry_after})) as server, pytest.raises(SinkBusy) as asked:
        post(server.url)
    assert asked.value.seconds == seconds


def test_a_refused_connection_is_an_error_of_the_log_that_names_no_password() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://user:password@127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(LogError, match="ConnectionRefusedError") as error:
        post(url, timeout=5)
    assert "password" not in str(error.value)


def test_a_silent_gateway_costs_no_more_than_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        with pytest.raises(LogError, match="Timeout"):
            post(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2)
        assert 0.2 <= time.monotonic() - begun < 2


def test_a_gateway_that_talks_nonsense_is_an_error_of_the_log() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            with server.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        with pytest.raises(LogError, match="BadStatusLine"):
            post(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=5)
        thread.join()


@pytest.mark.parametrize("url", ["http://", "https:///path"])
def test_a_url_without_a_host_is_refused(url: str) -> None:
    with pytest.raises(SettingError, match="url"):
        HttpSink(url)


@pytest.mark.parametrize("url", ["http://", "http://host:port", "http://host:99999"])
def test_a_wrong_address_of_a_gateway_disables_the_sdk(url: str, caplog: pytest.LogCaptureFixture) -> None:
    davy.init(url)
    davy.capture("m:1", {"x": 1.0}, {})
    assert davy.stats()["dropped"] == {"disabled": 1}
    assert len(caplog.records) == 1


def test_captures_reach_the_gateway_and_its_log(own_client: str) -> None:
    settings = Settings(url=own_client, gateway=GatewaySettings(port=0, api_key="secret"))
    with open_runtime(settings) as runtime:
        with served(runtime) as url:
            davy.init(url, **{"gateway.api_key": "secret"})
            id = davy.capture("m:1", {"x": 1.0}, {"value": 2.0})
            davy.feedback(id, 3, model="m:1")
            assert davy.flush(20)
            davy.shutdown()
        assert [one.id.hex() for one in inferences_in(own_client)] == [id]
        (record,) = runtime.log.read(FEEDBACK, 0, 0)
        assert load(Feedback, record.value).truth == 3


def test_a_wrong_key_keeps_what_was_captured_until_there_is_a_good_one(
    own_client: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = tmp_path / "key"
    settings = Settings(url=own_client, gateway=GatewaySettings(port=0))
    with open_runtime(settings) as runtime:
        ring = KeyRing(runtime.store)
        old, secret = ring.create("shop", ["write"])
        key.write_text(secret + "\n")
        with served(runtime) as url:
            davy.init(url, **{"gateway.api_key_file": str(key)})
            davy.capture("m:1", {"x": 0.0}, {})
            assert davy.flush(20)
            _, secret = ring.rotate(old.id, overlap_hours=0)
            wait_until_refused(url, key.read_text().strip())
            for row in range(5):
                davy.capture("m:1", {"x": float(row)}, {})
            assert not davy.flush(0.5)
            assert "unauthorised" in caplog.text
            assert "davy keys" in caplog.text
            key.write_text(secret + "\n")
            assert davy.flush(20)
            stats = davy.stats()
            davy.shutdown()
    assert (stats["sent"], stats["dropped"], balanced(stats)) == (6, {}, True)
    assert len(inferences_in(own_client)) == 6


def test_a_key_file_may_appear_after_the_start_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "key"
    secret = Secret("fallback", str(path))
    assert secret.current() == "fallback"
    path.write_text("first\nsecond line\n")
    assert secret.current() == "first"
    path.write_bytes(b"\xff\xfe")
    assert secret.current() == "first"
    path.unlink()
    assert secret.current() == "first"
    assert "first" not in repr(secret)
