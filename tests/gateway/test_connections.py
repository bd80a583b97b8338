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
from support.gateway_rig import opened
from support.gateway_server import GatewayServer

from davy.errors import SettingError
from davy.gateway import GatewayTarget

BODY = json.dumps({"model": "m:1", "inputs": {"x": 1.0}})
JSON = {"content-type": "application/json"}
POST = b"POST /v1/inferences HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n"
POST += b"content-length: %d\r\n" % len(BODY)
HEAD = b"GET /healthz HTTP/1.1\r\nHost: davy\r\n"


@contextmanager
def gateway(directory: Path, **settings: object) -> Iterator[GatewayServer]:
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


def test_when_it_is_full_whoever_says_nothing_makes_room_the_longest_silent_first(tmp_path: Path) -> None:
    with gateway(tmp_path, connections=3) as server, ExitStack() as held:
        client = HTTPConnection("127.0.0.1", server.port)
        assert posts(client) == 202
        kept = client.sock
        silent = [held.enter_context(connected(server)) for _ in range(2)]
        assert lets_in(server)
        status, headers, body = answer(silent[0])
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert json.loads(body)["field"] == "connections"
        silent[1].sendall(HEAD + b"connection: close\r\n\r\n")  # it was not asked to go
        assert answer(silent[1])[0] == 200
        assert posts(client) == 202
        assert client.sock is kept
        client.request("GET", "/metrics")
        text = client.getresponse().read().decode()
        assert 'davy_gateway_requests_total{route="none",status="503"} 1.0' in text
        client.close()


def test_one_connection_too_many_is_answered_503_while_all_others_are_at_work(tmp_path: Path) -> None:
    with gateway(tmp_path, connections=3) as server, ExitStack() as held:
        working = [held.enter_context(connected(server)) for _ in range(3)]
        for one in working:
            one.sendall(POST + b"expect: 100-continue\r\n\r\n")
            assert one.recv(100).startswith(b"HTTP/1.1 100")  # its body is waited for
        for _ in range(5):
            with connected(server) as refused:
                status, headers, body = answer(refused)
            assert (status, headers["retry-after"], json.loads(body)["field"]) == (503, "1", "connections")
        for one in working:
            one.sendall(BODY.encode())
            assert answer(one)[0] == 202
        assert lets_in(server)


@pytest.mark.timeout(180)
def test_ten_thousand_half_open_connections_keep_nobody_out(tmp_path: Path) -> None:
    """They are held open for all that time, a hundred new ones a look; health, metrics and writing answer all along."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with gateway(tmp_path, connections=500, api_key="lamp") as server, ExitStack() as held:
            looks = []
            for number in range(10_000):
                half = held.enter_context(connected(server))
                if number % 2:
                    half.sendall(HEAD + b"x: ")
                if number % 100 == 99:
                    begun = time.monotonic()
                    assert lets_in(server)
                    looks.append(time.monotonic() - begun)
            for path, method in (("/metrics", "GET"), ("/readyz", "GET"), ("/v1/inferences", "POST")):
                client = HTTPConnection("127.0.0.1", server.port, timeout=10)
                client.request(method, path, BODY, JSON | {"authorization": "Bearer lamp"})
                assert client.getresponse().status in {200, 202}
                client.close()
            assert max(looks) < 2.0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.alone
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


@pytest.mark.parametrize("how", ["one field", "many fields", "a path"])
def test_a_head_that_is_too_long_is_refused_also_when_it_is_sent_at_once(how: str, tmp_path: Path) -> None:
    path, fields = b"/healthz", b""
    if how == "a path":
        path += b"?" + b"y" * 70_000
    elif how == "many fields":
        fields = b"".join(b"x%d: %s\r\n" % (n, b"y" * 100) for n in range(700))
    else:
        fields = b"x: " + b"y" * 100_000 + b"\r\n"
    head = b"GET " + path + b" HTTP/1.1\r\nHost: davy\r\n" + fields + b"\r\n"
    with gateway(tmp_path) as server:
        with connected(server) as long:
            long.sendall(head)
            status, headers, body = answer(long)
        found = json.loads(body)
        assert (status, found["error"], found["field"], headers["connection"]) == (
            413,
            "TooLarge",
            "head",
            "close",
        )
        with connected(server) as short:
            short.sendall(HEAD + b"x: " + b"y" * 60_000 + b"\r\nconnection: close\r\n\r\n")
            assert answer(short)[0] == 200


def test_nobody_is_taken_for_somebody_else_by_a_header_of_his_own(tmp_path: Path) -> None:
    with gateway(tmp_path, requests_per_second=0.01) as server:
        client = HTTPConnection("127.0.0.1", server.port)
        assert posts(client) == 202
        client.request("POST", "/v1/inferences", BODY, JSON | {"x-forwarded-for": "192.0.2.7"})
        assert client.getresponse().status == 429
        client.close()


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
