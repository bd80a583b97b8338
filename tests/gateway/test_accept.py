"""A gateway whose descriptors are used up says so, to who connects, in its log and to who asks Davy how it is."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from support.descriptors import allowed_no_more, no_more_files
from support.gateway_server import GatewayServer

from davy.config import Settings
from davy.demo.processes import wait_until
from davy.gateway.accept import Listener
from davy.health.status import told_checks
from davy.meter import Meter
from davy.runner import open_runtime


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.meter = Meter()
        made.bind(("127.0.0.1", 0))
        made.listen(16)
        made.setblocking(False)
        yield made


def connected(listener: Listener) -> socket.socket:
    made = socket.create_connection(listener.getsockname(), timeout=10)
    made.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    return made


@pytest.mark.fast
def test_who_connects_is_answered_503_while_no_file_can_be_opened_and_taken_afterwards(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(listener) as first:
        taken, _ = listener.accept()
        taken.recv(10_000)
        taken.close()
        assert first.recv(1) == b""
    waiting = [connected(listener) for _ in range(10)]
    with no_more_files():
        for one in waiting:
            with pytest.raises(BlockingIOError, match="turned away"):
                listener.accept()
            answer = one.recv(10_000)
            assert answer.startswith(b"HTTP/1.1 503 Service Unavailable")
            assert b"open files" in answer
            assert b"retry-after" in answer
        assert not listener.takes()
        with pytest.raises(BlockingIOError):
            listener.accept()
    for one in waiting:
        one.close()
    assert listener.takes()
    with connected(listener):
        listener.accept()[0].close()
    (said,) = caplog.records
    assert (said.levelno, "ulimit" in said.getMessage()) == (logging.ERROR, True)
    assert 'route="none",status="503"} 10.0' in listener.meter.exposition().decode()


@pytest.mark.fast
def test_who_waits_is_not_lost_when_even_the_spare_file_is_taken(listener: Listener) -> None:
    with connected(listener) as one:
        listener._drop_spare()
        with no_more_files(), pytest.raises(BlockingIOError):
            listener.accept()
        taken, _ = listener.accept()
        with taken:
            taken.sendall(b"lamp")
            assert one.recv(4) == b"lamp"


@pytest.mark.fast
def test_nothing_stays_open(listener: Listener) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with Listener(socket.AF_INET, socket.SOCK_STREAM) as other:
        other._hold_spare()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def told(server: GatewayServer) -> dict[str, str]:
    """Return what `davy doctor` is told of the gateway by its process."""
    with open_runtime(Settings(url=server.log_url)) as runtime:
        found = told_checks(runtime, {"gateway": ()})
        return {check.what.partition(" of ")[0]: check.state for check in found}


@pytest.mark.timeout(180)
def test_a_gateway_without_descriptors_says_one_line_a_minute_and_tells_the_doctor(tmp_path: Path) -> None:
    with GatewayServer(tmp_path) as server:
        answers = set()

        def probed(what: str) -> bool:
            with suppress(httpx.HTTPError):
                answers.add(httpx.get(f"{server.url}/readyz", timeout=5).status_code)
            return told(server).get(what) == "wrong"

        with allowed_no_more(server.process.pid):
            wait_until(lambda: probed("open files"), "its process to tell of it", seconds=60)
            wait_until(lambda: probed("role gateway"), "the gateway to be missed", seconds=60)
        wait_until(server._ready, "the gateway to answer again", seconds=60)
        said = (tmp_path / "gateway.out").read_text().splitlines()
    assert 503 in answers
    assert 1 <= len([line for line in said if "turned away" in line]) <= 2
    assert len(said) < 10, said
