"""The exit of the serving app is held up by a second at most, whatever the sink does."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.bad_sinks import BAD, Sink, good, refused, unread

from davy.codec import decode
from davy.event import FEEDBACK, INFERENCES
from davy.log import open_log

pytestmark = pytest.mark.alone

NOISE_SECONDS = 0.25
"""What a process of this size takes to end varies by so much on a busy machine."""

CAPTURE = "for i in range(500): davy.capture('m:1', {'x': float(i)}, {'value': 1.0})"

LATE = {
    "capture": "davy.capture('m:1', {'x': 1.0}, {})",
    "later": "import atexit; atexit.register(lambda: davy.capture('m:1', {'x': 1.0}, {}))",
    "last": """class Last:
    def __del__(self): davy.capture('m:1', {'x': 1.0}, {})
last = Last()
last.itself = last""",
    "forever": """import threading
def forever():
    while True: davy.capture('m:1', {'x': 1.0}, {})
threading.Thread(target=forever, daemon=True).start()""",
}


def run(code: str, url: str, **env: str) -> tuple[float, str]:
    """Run a program that uses davy; return the seconds between its last line and its end, and what it printed."""
    last = "import time as _t; print(_t.monotonic(), flush=True)"
    program = f"import davy\n{code}\n{last}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={"DAVY_URL": url, "PATH": "", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ended = time.monotonic()
    assert done.returncode == 0, done.stderr
    *printed, moment = done.stdout.splitlines()
    assert "Traceback" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    return ended - float(moment), "\n".join(printed)


@pytest.fixture(scope="module")
def usual() -> float:
    """The seconds a process that captured nothing takes to end."""
    return statistics.median(run("", "memory://x")[0] for _ in range(3))


@pytest.mark.parametrize("sink", [good, *BAD])
@pytest.mark.parametrize("wait", [0.0, 0.5])
def test_the_exit_is_not_held_up(sink: Sink, wait: float, usual: float) -> None:
    most = 0.3 if sink in {good, refused} else 1.0
    program = f"{CAPTURE}\nimport time; time.sleep({wait})"
    with sink() as url:  # once more, if need be: a busy machine holds things up as well
        assert any(run(program, url)[0] - usual <= most + NOISE_SECONDS for _ in range(2))


def test_a_sink_that_stops_reading_in_a_large_envelope_does_not_hold_up_the_exit(usual: float) -> None:
    large = "import numpy; x = numpy.zeros(30_000)\nfor _ in range(200): davy.capture('m:1', {'x': x}, {})"
    with unread() as url:
        took = run(f"{large}\nimport time; time.sleep(0.5)", url)[0]
    assert took - usual <= 1.0 + NOISE_SECONDS


def test_a_log_that_is_locked_does_not_hold_up_the_exit(tmp_path: Path, usual: float) -> None:
    import sqlite3

    url = f"sqlite:///{tmp_path}/log"
    run(CAPTURE, url)
    with sqlite3.connect(tmp_path / "log" / "log.db", isolation_level=None) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert run(CAPTURE, url)[0] - usual <= 1.0 + NOISE_SECONDS
        connection.execute("ROLLBACK")
    connection.close()


def test_what_was_captured_before_the_exit_is_stored(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log"
    run(CAPTURE, url)
    log = open_log(url)
    records = log.read(INFERENCES, 0, log.start(INFERENCES)[INFERENCES, 0])
    assert sum(decode(record.value).count for record in records) == 500
    log.close()


HOOKS = """
import atexit
def hook(): davy.capture('m:1', {'x': 1.0}, {})
def feedback(): davy.feedback('0' * 32, 'cat', model='m:1')
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (f"{HOOKS}atexit.register(hook)\n{LATE['capture']}", 2),
        (
            f"{HOOKS}atexit.register(hook)\natexit.register(hook)\n{CAPTURE}\ndavy.flush()\natexit.register(hook)",
            503,
        ),
        (f"{HOOKS}atexit.register(hook)", 1),
        (f"{HOOKS}atexit.register(lambda: [hook() for _ in range(10)])\n{LATE['capture']}", 11),
        (f"{HOOKS}atexit.register(feedback)\natexit.register(hook)\n{LATE['capture']}", 2),
    ],
    ids=["after Davy's", "after and before", "the only one", "several", "after feedback"],
)
@pytest.mark.parametrize("spool", ["", "spool"])
def test_what_hooks_of_the_exit_capture_is_stored_whenever_they_run(
    code: str, expected: int, spool: str, tmp_path: Path, usual: float
) -> None:
    url = f"sqlite:///{tmp_path}/log"
    took, _ = run(code, url, DAVY_SDK_SPOOL=spool and str(tmp_path / spool))
    assert took - usual <= 1.0 + NOISE_SECONDS
    log = open_log(url)
    records = log.read(INFERENCES, 0, log.start(INFERENCES)[INFERENCES, 0])
    assert sum(decode(record.value).count for record in records) == expected
    told = log.read(FEEDBACK, 0, log.start(FEEDBACK)[FEEDBACK, 0])
    assert len(list(told)) == ("feedback)" in code)
    log.close()


@pytest.mark.parametrize("sink", BAD)
def test_a_hook_that_captures_for_ever_holds_the_exit_up_no_longer(sink: Sink, usual: float) -> None:
    code = f"{HOOKS}atexit.register(lambda: [hook() for _ in range(300)])\n{LATE['capture']}"
    with sink() as url:
        assert any(run(code, url)[0] - usual <= 1.0 + NOISE_SECONDS for _ in range(2))


def test_the_settings_say_how_long_the_exit_may_be_held_up(usual: float) -> None:
    with unread() as url:
        took = run(CAPTURE, url, DAVY_SDK_EXIT_SECONDS="0")[0]
    assert took - usual <= 0.1 + NOISE_SECONDS


def test_what_is_left_at_the_exit_is_counted() -> None:
    code = f"""
import atexit
def tell():  # registered first, so it runs last
    found = davy.stats()
    print(found["captured"], found["sent"], found["dropped"], found["depth"])
    import time; print(time.monotonic(), flush=True)
atexit.register(tell)
{CAPTURE}"""
    with refused() as url:
        _, printed = run(code, url)
    assert printed.splitlines()[-1] == "500 0 {'shutdown': 500} 0"


@pytest.mark.parametrize(
    "code",
    ["{later}", "{capture}; {later}", "{last}", "{capture}\n{last}", "{forever}"],
    ids=["atexit", "atexit after a capture", "finaliser", "finaliser after a capture", "daemon thread"],
)
@pytest.mark.parametrize("sink", [good, unread])
def test_capturing_while_the_interpreter_goes_down_is_silent(sink: Sink, code: str) -> None:
    with sink() as url:
        took, _ = run(code.format(**LATE), url)
    assert took < 10
