"""What a sink that is down does not take survives on disk, in order, within bounds, and is sent once it answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.sdk_rig import ALWAYS_IN, Store, balanced, inferences_in, refuse, start, stuck

import davy
from davy.event import INFERENCES
from davy.log import Message
from davy.sdk.journal import Entry, Journal
from davy.sdk.spool import Spool

pytestmark = pytest.mark.fast


class Switch(Store):
    """A sink that is down until it is switched on."""

    def __init__(self) -> None:
        self.on = False
        super().__init__(lambda: None if self.on else refuse())


def capture(first: int, count: int) -> None:
    for value in range(first, first + count):
        davy.capture("m:1", {"x": float(value)}, {}, id=ALWAYS_IN)


def values(sink: Store) -> list[float]:
    return [one.inputs["x"] for one in sink.inferences]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def spooled() -> int:
    return int(davy.stats()["spooled"])


def file_spool(directory: Path, **overrides: Any) -> tuple[Spool, list[Entry]]:
    expired: list[Entry] = []
    bounds = {"most_bytes": 2**20, "hours": 24.0, **overrides}
    return Spool(directory, expired=expired.append, **bounds), expired


def message(number: int, size: int = 100) -> Message:
    return Message(INFERENCES, "m:1", number.to_bytes(4, "big") * (size // 4))


def drained(spool: Spool) -> list[bytes]:
    found = []
    while (oldest := spool.first()) is not None:
        assert oldest[0] is not None
        found.append(oldest[0].value)
        assert spool.advance(oldest[1])
    return found


def test_envelopes_a_sink_refuses_are_sent_in_order_once_it_answers(tmp_path: Path) -> None:
    sink = Switch()
    start(sink, spool=str(tmp_path), envelope_rows=10, flush_seconds=0.01)
    for first in range(0, 300, 100):
        capture(first, 100)
        assert davy.flush()
    davy.feedback(ALWAYS_IN, 1)
    assert davy.flush()
    stats = davy.stats()
    assert (stats["spooled"], stats["sent"], stats["depth"], balanced(stats)) == (300, 0, 300, True)
    assert stats["depth_bytes"] == 0
    sink.on = True
    capture(300, 5)
    davy.flush()
    wait_for(lambda: davy.stats()["sent"] == 305)
    assert values(sink) == [float(value) for value in range(305)]
    stats = davy.stats()
    assert (stats["spooled"], stats["dropped"], balanced(stats)) == (0, {}, True)
    assert len(sink.feedback) == stats["feedback"]["sent"] == 1
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".head"]
    davy.shutdown()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.alone
def test_a_sink_that_never_answers_does_not_keep_the_exit_from_spooling(tmp_path: Path) -> None:
    with stuck() as sink:
        start(sink, spool=str(tmp_path), flush_seconds=0.001, exit_seconds=1.0)
        capture(0, 1)
        assert sink.tried.acquire(timeout=5)
        capture(1, 500)
        begun = time.monotonic()
        davy.shutdown()
        assert time.monotonic() - begun < 1.2
        stats = davy.stats()
        assert (stats["spooled"], stats["dropped"], balanced(stats)) == (501, {}, True)
    other = Store()
    start(other, spool=str(tmp_path))
    capture(501, 1)
    wait_for(lambda: davy.stats()["sent"] == 502)
    assert values(other) == [float(value) for value in range(502)]
    assert balanced(davy.stats())


KILLED = """
import os, davy, time
for value in range(10**9):
    davy.capture("m:1", {"x": float(value)}, {})
    if value % 500 == 499:
        davy.flush()
        print(davy.stats()["spooled"], flush=True)
"""


def test_what_was_spooled_survives_kill_9_and_comes_back_in_order(tmp_path: Path, own_client: str) -> None:
    env = {"DAVY_URL": "http://127.0.0.1:9", "DAVY_SDK_SPOOL": str(tmp_path), "PATH": ""}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], env=env, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        told = 0
        while told < 3_000:
            told = int(child.stdout.readline())
        os.kill(child.pid, signal.SIGKILL)
    davy.init(own_client, spool=str(tmp_path))
    davy.capture("m:2", {"x": 1.0}, {})
    wait_for(lambda: spooled() == 0 and davy.stats()["captured"] > told)
    davy.flush()
    found = [one.inputs["x"] for one in inferences_in(own_client) if one.model == "m:1"]
    assert found == [float(value) for value in range(len(found))]
    assert len(found) >= told
    stats = davy.stats()
    assert (stats["sent"], balanced(stats)) == (len(found) + 1, True)
    assert stats["dropped"].get("spool_torn", 0) <= 200


def test_a_kill_between_sending_and_noting_it_repeats_one_message_at_most(tmp_path: Path) -> None:
    spool, _ = file_spool(tmp_path)
    for number in range(10):
        spool.append(message(number), 1)
    for _ in range(4):
        oldest = spool.first()
        assert oldest is not None
        spool.advance(oldest[1])
    assert spool.first() is not None  # in flight when the process dies
    spool.close()  # as a death would: the files stay, and the lock goes
    reader, _ = file_spool(tmp_path)
    entries, torn = reader.adopt()
    assert (len(entries), torn) == (6, 0)
    assert drained(reader) == [message(number).value for number in range(4, 10)]


@pytest.mark.parametrize("cut", [1, 20, 60, 129])
def test_a_torn_end_is_cut_off_and_counted(tmp_path: Path, cut: int) -> None:
    spool, _ = file_spool(tmp_path)
    for number in range(3):
        spool.append(message(number), 7)
    spool.close()
    (segment,) = tmp_path.glob("*.segment")
    record = segment.stat().st_size // 3
    os.truncate(segment, 2 * record + cut)
    for expected in (7 if cut >= 27 else 1, 0):
        reader, _ = file_spool(tmp_path)
        entries, torn = reader.adopt()
        assert (len(entries), torn, segment.stat().st_size) == (2, expected, 2 * record)
        reader.close()


def test_a_record_with_a_flipped_bit_is_not_sent(tmp_path: Path) -> None:
    spool, _ = file_spool(tmp_path)
    for number in range(3):
        spool.append(message(number), 1)
    spool.close()
    (segment,) = tmp_path.glob("*.segment")
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    reader, _ = file_spool(tmp_path)
    assert reader.adopt()[1] == 1
    assert drained(reader) == [message(0).value, message(1).value]


def test_the_oldest_expires_when_the_spool_is_full(tmp_path: Path) -> None:
    spool, expired = file_spool(tmp_path, most_bytes=64 * 1024)
    for number in range(500):
        spool.append(message(number, 1000), 3)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 64 * 1024
    assert all(entry.rows == 3 for entry in expired)
    assert drained(spool) == [message(number, 1000).value for number in range(len(expired), 500)]
    assert 0 < 500 - len(expired) <= 64


def test_the_old_expires_and_is_counted(tmp_path: Path) -> None:
    sink = Switch()
    start(sink, spool=str(tmp_path), spool_hours=0.0, flush_seconds=0.01)
    capture(0, 50)
    davy.flush()
    wait_for(lambda: davy.stats()["dropped"] == {"spool_expired": 50})
    assert balanced(davy.stats())


def test_processes_share_a_directory_and_nobody_takes_what_the_living_hold(tmp_path: Path) -> None:
    spool, _ = file_spool(tmp_path)
    spool.append(message(1), 1)
    program = f"""
from pathlib import Path
from davy.sdk.spool import Spool
spool = Spool(Path({str(tmp_path)!r}), 2**20, 24.0, print)
print(len(spool.adopt()[0]))
"""
    for expected in ("0", "1"):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
        spool.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_leaves_the_files_of_its_parent_alone(tmp_path: Path) -> None:
    spool, _ = file_spool(tmp_path)
    spool.append(message(1), 1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert len(spool) == 0
            assert spool.adopt() == ([], 0)
            spool.append(message(2), 1)
            spool.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    spool.append(message(3), 1)
    assert drained(spool) == [message(1).value, message(3).value]
    assert len(spool.adopt()[0]) == 1


def test_a_disk_that_fails_leaves_everything_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Journal, *_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "append", full)
    sink = Switch()
    start(sink, spool=str(tmp_path), flush_seconds=0.01, random=lambda: 0.1)
    capture(0, 50)
    wait_for(lambda: sink.attempts > 2)
    stats = davy.stats()
    assert (stats["depth"], stats["spooled"], stats["dropped"]) == (50, 0, {})
    sink.on = True
    assert davy.flush()
    assert values(sink) == [float(value) for value in range(50)]


def test_a_write_that_stops_half_way_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, _ = file_spool(tmp_path)
    spool.append(message(1), 1)
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
        with pytest.raises(OSError, match="a part"):
            spool.append(message(2), 1)
    spool.append(message(3), 1)
    assert drained(spool) == [message(1).value, message(3).value]


def test_without_the_setting_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    start(Store(refuse), exit_seconds=0.0)
    capture(0, 10)
    davy.shutdown()
    assert list(tmp_path.iterdir()) == []
