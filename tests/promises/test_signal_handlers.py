"""A signal handler, which interrupts its thread anywhere, may capture and flush like anybody else."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")

INTERRUPTED = """
import json, signal, sys, davy

interruptions = 0
def handler(*_):
    global interruptions
    interruptions += 1
    davy.capture("signal:1", {"x": 1.0}, {})
    davy.feedback("ab" * 16, 1)
    davy.flush(0.0)

davy.init(sys.argv[1])
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
for number in range(20_000):
    davy.capture("m:1", {"x": 1.0}, {})
    if number % 20 == 0:
        davy.flush(0.0)
signal.setitimer(signal.ITIMER_REAL, 0)
assert davy.flush(30)
print(json.dumps({"interruptions": interruptions, **davy.stats()}))
"""


def test_a_handler_captures_while_its_thread_captures(tmp_path: Path) -> None:
    """Interrupted every 0.2 ms wherever it is; a lock that its own thread holds would end the test in a minute."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, f"sqlite:///{tmp_path}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["interruptions"] > 100
    assert told["captured"] + told["thinned"] == 20_000 + told["interruptions"]
    assert told["sent"] == told["captured"]
    assert told["depth"] == told["depth_bytes"] == 0
    assert told["feedback"]["sent"] == told["interruptions"]
