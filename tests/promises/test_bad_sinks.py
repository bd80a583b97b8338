"""Whatever a sink does, the caller does not notice: it never waits, nothing raises, and everything is accounted for."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import trustme
from support.bad_sinks import BAD, Sink, encrypted, plain, refused, reset, unread, untrusted
from support.gateway_server import GatewayServer
from support.sdk_rig import balanced
from support.services import freeze

import davy
from davy.demo.processes import wait_until

pytestmark = [
    pytest.mark.alone,
    # Before CPython 3.13, ssl leaves a socket to the garbage collector that is reset right before its handshake.
    pytest.mark.filterwarnings("ignore:.*unclosed <ssl.SSLSocket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*<ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"),
]

FEATURES = {f"f{number}": float(number) for number in range(30)}
ROOM = {"queue_items": 1_000_000, "queue_bytes": 2**30}
"""Nothing is thinned: a capture costs what it costs while the queue is nearly empty."""


def slow_captures(count: int) -> float:
    """The 99th percentile of the seconds that a capture takes."""
    took = np.empty(count)
    for number in range(count):
        begun = time.perf_counter()
        davy.capture("m:1", FEATURES, {"value": 0.5})
        took[number] = time.perf_counter() - begun
    return float(np.quantile(took, 0.99))


def test_a_frozen_gateway_costs_the_caller_no_more_than_one_that_answers(tmp_path: Path) -> None:
    """While it answers, the sender's thread competes for the interpreter; frozen, it only waits.

    So a frozen sink should cost less, and three times as much leaves room for noise: the least of five runs each,
    in turns, against one process. A capture that waited for the sink would cost seconds.
    """
    answering, frozen = [], []
    with GatewayServer(tmp_path) as gateway:
        davy.init(gateway.url, exit_seconds=0.0, **ROOM)
        slow_captures(2_000)
        for _ in range(5):
            answering.append(slow_captures(5_000))
            assert davy.flush(30)
            freeze(gateway.process.pid)
            try:
                frozen.append(slow_captures(5_000))
                assert davy.stats()["depth"] >= 4_000
            finally:
                os.kill(gateway.process.pid, signal.SIGCONT)
            assert davy.flush(30)
        davy.shutdown()
    stats = davy.stats()
    assert (stats["captured"], stats["sent"], stats["thinned"]) == (52_000, 52_000, 0)
    assert min(frozen) < 3 * min(answering)


@pytest.mark.parametrize("sink", BAD)
def test_nothing_waits_or_raises_and_what_is_not_sent_is_counted(sink: Sink) -> None:
    with sink() as url:
        davy.init(url, **ROOM)
        assert slow_captures(2_000) < 0.001
        davy.feedback("ab" * 16, 1)
        assert not davy.flush(0.3)
        begun = time.monotonic()
        davy.shutdown()
        assert time.monotonic() - begun < 1.1
    stats = davy.stats()
    assert (stats["sent"], stats["dropped"], stats["depth"]) == (0, {"shutdown": 2_000}, 0)
    assert stats["feedback"]["dropped"] == {"shutdown": 1}
    assert balanced(stats)
    assert balanced(stats["feedback"])


@pytest.mark.parametrize("sink", BAD)
def test_a_loop_is_never_held_up(sink: Sink) -> None:
    """A heart that should beat every millisecond beats within a quarter of a second, in the median of three lives.

    Whoever waited for one of these sinks would miss seconds; one longer gap may be the work of a busy machine.
    """

    @davy.watch("m:1")
    async def predict(x: int) -> float:
        await asyncio.sleep(0)
        return float(x)

    async def serve() -> None:
        for first in range(0, 5_000, 50):
            xs = range(first, first + 50)
            assert await asyncio.gather(*map(predict, xs)) == list(xs)

    async def beat(gaps: list[float]) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.001)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    async def live() -> float:
        gaps: list[float] = []
        heart = asyncio.create_task(beat(gaps))
        await serve()
        heart.cancel()
        return max(gaps)

    with sink() as url:
        davy.init(url, exit_seconds=0.0)
        assert sorted(asyncio.run(live()) for _ in range(3))[1] < 0.25
        assert davy.stats()["captured"] + davy.stats()["thinned"] == 15_000
        davy.shutdown()


MEMORY = """
import davy
from pathlib import Path
def resident():
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])
features = {f"f{number}": float(number) for number in range(30)}
def capture(count, id=None):
    for _ in range(count):
        davy.capture("m:1", features, {"value": 0.5}, id=id)
capture(20_000, bytes(16))  # an id that no thinning leaves out
capture(100_000)
before = resident()
capture(1_000_000)
print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell its memory so")
@pytest.mark.parametrize("sink", [refused, unread])
def test_memory_is_flat_over_a_million_captures_into_a_dead_sink(sink: Sink) -> None:
    """With the queue full, and everything used once, a byte a capture would show as a megabyte."""
    with sink() as url:
        done = subprocess.run(
            [sys.executable, "-c", MEMORY],
            env={"DAVY_URL": url, "PATH": "", "DAVY_SDK_EXIT_SECONDS": "0"},
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
    assert int(done.stdout) < 2**19


def test_a_certificate_that_is_trusted_lets_captures_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with encrypted(authority) as url:
        davy.init(url)
        davy.capture("m:1", {"x": 1.0}, {})
        assert davy.flush(20)
    assert davy.stats()["sent"] == 1


@pytest.mark.parametrize(
    ("sink", "reason"),
    [(untrusted, "SSLCertVerificationError"), (plain, "SSLError"), (reset, "ConnectionResetError")],
)
def test_the_log_says_why_a_sink_cannot_be_used(
    sink: Sink, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with sink() as url:
        davy.init(url)
        davy.capture("m:1", {"x": 1.0}, {})
        wait_until(lambda: reason in caplog.text, "the log to say why")
        davy.shutdown()
