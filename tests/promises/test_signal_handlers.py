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
    if number < COUNT - 1:  # not by an interval: where this takes longer, handlers would interrupt handlers without end
        signal.setitimer(signal.ITIMER_REAL, 0.0002)

COUNT = 20_000
davy.init(sys.argv[1])
signal.signal(signal.SIGALRM, handler)
number = 0
signal.setitimer(signal.ITIMER_REAL, 0.0002)
for number in range(COUNT):
    davy.capture("m:1", {"x": 1.0}, {})
    if number % 20 == 0:
        davy.flush(0.0)
signal.setitimer(signal.ITIMER_REAL, 0)
assert davy.flush(30)
print(json.dumps({"interruptions": interruptions, **davy.stats()}))
"""


def test_a_handler_captures_while_its_thread_captures(tmp_path: Path) -> None:
    """Interrupted 0.2 ms after each interruption; a lock that its own thread holds would end the test in a minute."""
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


HANDLERS = {
    "interrupt": ("SIGINT", "signal.default_int_handler", "KeyboardInterrupt"),
    "exit": ("SIGUSR1", "lambda number, frame: sys.exit(3)", "SystemExit"),
    "whatever it is given": ("SIGUSR1", "lambda *_: sys.exit(3)", "SystemExit"),
    "the rest of it": ("SIGUSR1", "lambda number, *rest, code=3: sys.exit(code)", "SystemExit"),
    "once": ("SIGUSR1", "once", "SystemExit"),
}
ENDED = """
import os, signal, sys, davy

def once(number, frame):
    signal.signal(number, signal.SIG_DFL)
    raise SystemExit(3)

class Slow:
    def __getattr__(self, name):
        os.kill(os.getpid(), signal.{number})
        raise AttributeError(name)

davy.init("memory://here")
signal.signal(signal.{number}, {handler})
try:
    {call}
except BaseException as error:
    print(type(error).__name__)
else:
    print("went on")
"""


@pytest.mark.parametrize(
    "call", ["davy.capture('m:1', {'x': Slow()}, {})", "davy.watch(lambda x: 1.0, 'm:1')(Slow())"]
)
@pytest.mark.parametrize("name", HANDLERS)
def test_what_a_signal_handler_raises_while_a_value_is_looked_at_ends_the_app(name: str, call: str) -> None:
    number, handler, error = HANDLERS[name]
    code = ENDED.format(number=number, handler=handler, call=call)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == f"{error}\n", done.stderr
