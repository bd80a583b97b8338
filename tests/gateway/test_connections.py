"""The gateway holds so many connections and no more; who is connected goes on, and who says nothing makes room."""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from gateway_rig import opened
from gateway_server import GatewayServer

from davy.errors import SettingError
from davy.gateway import GatewayTarget

BODY = json.dumps({"model": "m:1", "inputs": {"x": 1.0}})
JSON = {"content-type": "application/json"}
HEAD = b"GET /healthz HTTP/1.1\r\nHost: davy\r\n"


@contextmanager
def gateway(directory: Path, **settings: float) -> Iterator[GatewayServer]:
    env = {f"DAVY_GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}
    with GatewayServer(directory, **env) as server:
        yield server


def connected(server: GatewayServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one answer, and the end of the connection."""
    found = HTTPResponse(connection)
    found.begin()
    body = found.read()
    assert connection.recv(1) == b""
    return found.status, dict(found.getheaders()), body


def posts(client: HTTPConnection) -> int:
    client.request("POST", "/v1/inferences", BODY, JSON)
    found = client.getresponse()
    found.read()
    return found.status


def resident(server: GatewayServer) -> int:
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def lets_in(server: GatewayServer) -> bool:
    with connected(server) as one:
        one.sendall(HEAD + b"connection: close\r\n\r\n")
        try:
            return answer(one)[0] == 200
        except OSError:  # refused before what we sent was read
            return False


def test_one_connection_too_many_is_answered_503_and_closed_and_the_others_go_on(tmp_path: Path) -> None:
    with gateway(tmp_path, connections=3) as server, ExitStack() as held:
        client = HTTPConnection("127.0.0.1", server.port)
        assert posts(client) == 202
        idle = [held.enter_context(connected(server)) for _ in range(2)]
        for _ in range(5):
            with connected(server) as refused:
                status, headers, body = answer(refused)
            assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
            assert json.loads(body)["field"] == "connections"
            assert posts(client) == 202
        idle[0].close()
        assert lets_in(server)
        client.request("GET", "/metrics")
        assert (
            'davy_gateway_requests_total{route="none",status="503"} 5.0'
            in client.getresponse().read().decode()
        )
        client.close()


def test_thousands_of_connections_that_drip_leave_memory_flat_and_a_client_served(tmp_path: Path) -> None:
    with gateway(tmp_path, connections=100, read_seconds=2) as server, ExitStack() as held:
        client = HTTPConnection("127.0.0.1", server.port, timeout=10)
        assert posts(client) == 202
        before, slowest = resident(server), 0.0
        for number in range(3_000):
            slow = connected(server)
            if number < 200:
                held.enter_context(slow)
            with suppress(OSError):  # refused already
                slow.sendall(HEAD + b"x: ")
            if number >= 200:
                slow.close()
            if number % 100 == 0:
                begun = time.monotonic()
                assert posts(client) == 202
                slowest = max(slowest, time.monotonic() - begun)
        assert slowest < 1.0
        assert resident(server) - before < 16 * 2**20
        deadline = time.monotonic() + 20
        while not lets_in(server):
            assert posts(client) == 202
            assert time.monotonic() < deadline
            time.sleep(0.1)
        client.close()


@pytest.mark.parametrize("sent", [HEAD, HEAD + b"x: y", b"G"], ids=["a head", "half a field", "a letter"])
def test_a_head_that_does_not_end_in_time_is_answered_408(sent: bytes, tmp_path: Path) -> None:
    with gateway(tmp_path, read_seconds=0.5) as server, connected(server) as slow:
        slow.sendall(sent)
        begun = time.monotonic()
        status, _, body = answer(slow)
        assert (status, json.loads(body)["field"]) == (408, "head")
        assert 0.3 < time.monotonic() - begun < 5


def test_dripping_bytes_do_not_buy_time(tmp_path: Path) -> None:
    """Neither within a head nor within the body of a request that was answered before its body was there."""
    with gateway(tmp_path, read_seconds=1) as server, connected(server) as head, connected(server) as body:
        head.sendall(HEAD + b"x: ")
        body.sendall(HEAD + b"content-length: 1000000\r\n\r\n")
        begun = time.monotonic()
        open_ones = {head, body}
        while open_ones:
            assert time.monotonic() - begun < 10
            for one in list(open_ones):
                try:
                    one.sendall(b"x")
                except OSError:
                    open_ones.remove(one)
            time.sleep(0.05)


def test_a_connection_that_says_nothing_is_closed_without_an_answer(tmp_path: Path) -> None:
    with gateway(tmp_path, read_seconds=0.5) as server, connected(server) as silent:
        assert silent.recv(1) == b""


def test_a_head_that_never_ends_is_refused_before_memory_grows(tmp_path: Path) -> None:
    with gateway(tmp_path) as server, connected(server) as endless:
        before = resident(server)
        with pytest.raises(OSError, match=r"reset|Broken pipe"):  # noqa: PT012
            endless.sendall(HEAD)
            for _ in range(1_000):
                endless.sendall(b"x: " + bytes(2**16).replace(b"\0", b"y") + b"\r\n")
        assert resident(server) - before < 16 * 2**20
        assert lets_in(server)


def test_requests_sent_ahead_are_all_answered(tmp_path: Path) -> None:
    with gateway(tmp_path, read_seconds=0.5) as server, connected(server) as client:
        client.sendall((HEAD + b"\r\n") * 2 + HEAD + b"connection: close\r\n\r\n")
        received = b""
        while part := client.recv(65536):
            received += part
        assert received.count(b"200 OK") == 3


def test_more_connections_than_the_system_allows_files_are_refused_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    with opened(port=0, connections=100_000) as runtime, pytest.raises(SettingError, match="ulimit"):
        GatewayTarget(runtime)
