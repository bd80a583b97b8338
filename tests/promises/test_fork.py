"""A forked child captures as if it were alone: no deadlock, nothing inherited, no id twice."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.sdk_rig import Store, balanced, capture_in_process, start

import davy
from davy.codec import decode
from davy.event import INFERENCES
from davy.log import open_log
from davy.sdk import forksafe
from davy.sdk.home import HOME

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition)


def in_child(work: Callable[[], object], fork: Callable[[], int] = os.fork) -> int:
    """Run `work` in a forked child for ten seconds at most; return its exit code."""
    child = fork()
    if child == 0:
        signal.alarm(10)
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def stored(url: str) -> list[tuple[str, float, str]]:
    """The source, value and id of every inference in a log."""
    log = open_log(url)
    records = log.read(INFERENCES, 0, log.start(INFERENCES)[INFERENCES, 0])
    found = [
        (one.source, one.inputs["x"], one.id.hex())
        for record in records
        for one in decode(record.value).inferences()
    ]
    log.close()
    return found


def capture(first: int, count: int) -> None:
    for value in range(first, first + count):
        davy.capture("m:1", {"x": float(value)}, {})


def attributes(thing: object) -> Iterator[object]:
    """What an object holds, in its dictionary and its slots."""
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    yield from getattr(thing, "__dict__", {}).values()
    yield from (getattr(thing, name) for name in slots if name != "__weakref__" and hasattr(thing, name))


def locks() -> list[Any]:
    """Every lock the SDK has, also those inside its events."""
    found = [
        value._cond if isinstance(value, threading.Event) else value
        for each in forksafe._living
        for value in attributes(each)
        if isinstance(value, (*LOCKS, threading.Event))
    ]
    assert len(found) >= 10
    return found


def test_whoever_has_a_lock_renews_it_in_a_child(tmp_path: Path) -> None:
    """The tests below hold the locks of what is fork-safe; nobody else in the SDK may have one."""
    start(Store(), spool=str(tmp_path))
    davy.watch(lambda x: x, "m:1")(1)
    assert davy.flush()
    owners = [each for each in gc.get_objects() if str(type(each).__module__).startswith("davy.sdk")]
    locked = {type(each) for each in owners if any(isinstance(value, LOCKS) for value in attributes(each))}
    assert {kind.__name__ for kind in locked} >= {"Home", "Ids", "Lane", "Sender", "Spool", "Thinning"}
    assert all(issubclass(kind, forksafe.ForkSafe) for kind in locked)


@pytest.mark.parametrize("spooling", [False, True])
def test_a_child_forked_while_every_lock_is_held_captures_and_flushes(spooling: bool, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log"
    davy.init(url, spool=str(tmp_path / "spool") if spooling else "")
    capture(0, 10)
    assert davy.flush()
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            for lock in locks():
                stack.enter_context(lock)
            held.set()
            release.wait(20)

    def work() -> None:
        capture(100, 10)
        davy.feedback("ab" * 16, 1)
        assert davy.flush(8)
        stats = davy.stats()
        assert (stats["captured"], stats["sent"]) == (10, 10), stats

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(5)
    try:
        assert in_child(work) == 0
    finally:
        release.set()
        holder.join()
    assert sorted(value for _, value, _ in stored(url)) == [*range(10), *range(100, 110)]


def test_a_child_never_sends_what_its_parent_captured(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log"
    davy.init(url, flush_seconds=60.0)
    capture(0, 10)

    def work() -> None:
        assert davy.stats()["captured"] == 0
        capture(100, 5)
        assert davy.flush(8)

    assert in_child(work) == 0
    assert davy.flush()
    found = Counter(source for source, _, _ in stored(url))
    assert sorted(found.values()) == [5, 10]


def test_workers_forked_from_a_loaded_app_lose_nothing_and_share_no_id(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log"
    program = """
import os, davy
def capture(first):
    for value in range(first, first + 500):
        davy.capture("m:1", {"x": float(value)}, {})
capture(0)
children = []
for worker in range(1, 5):
    child = os.fork()
    if child == 0:
        capture(1000 * worker)
        raise SystemExit
    children.append(child)
capture(5000)
for child in children:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    env = {"DAVY_URL": url, "PATH": "", "DAVY_SDK_EXIT_SECONDS": "10"}
    warned = "ignore:This process:DeprecationWarning"  # the sender's thread lives when it forks
    done = subprocess.run(
        [sys.executable, "-W", warned, "-c", program],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = stored(url)
    assert sorted(value for _, value, _ in found) == sorted(
        float(first + offset) for first in (0, 1000, 2000, 3000, 4000, 5000) for offset in range(500)
    )
    assert len({id for _, _, id in found}) == len(found)
    assert len({source for source, _, _ in found}) == 5


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_children_of_multiprocessing_send_before_they_end(method: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log"
    davy.init(url)
    capture(100, 1)
    assert davy.flush()
    process = multiprocessing.get_context(method).Process(target=capture_in_process, args=(url,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert len(stored(url)) == 51


def test_children_of_children_capture_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log"
    davy.init(url)

    def grandchild() -> None:
        capture(200, 1)
        assert davy.flush(8)

    def child() -> None:
        capture(100, 1)
        assert in_child(grandchild) == 0
        assert davy.flush(8)

    capture(0, 1)
    assert in_child(child) == 0
    assert davy.flush()
    assert sorted(value for _, value, _ in stored(url)) == [0, 100, 200]


def test_a_fork_that_ran_no_hooks_is_noticed(tmp_path: Path) -> None:
    """As a server written in C forks: Python is not told."""
    url = f"sqlite:///{tmp_path}/log"
    davy.init(url)
    capture(0, 3)
    assert davy.flush()

    def work() -> None:
        capture(100, 1)
        assert davy.flush(8)
        assert balanced(davy.stats())

    assert in_child(work, ctypes.PyDLL(None).fork) == 0
    assert [value for _, value, _ in stored(url)] == [0, 1, 2, 100]


def test_the_handler_in_the_child_takes_no_lock_and_starts_nothing() -> None:
    start(Store())
    capture(0, 1)
    davy.flush()
    threads = threading.active_count()
    done = threading.Event()

    def renew() -> None:
        forksafe.renew_all()
        done.set()

    with ExitStack() as stack:
        for lock in locks():
            stack.enter_context(lock)
        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        assert done.wait(5), "the handler waited for a lock"
    thread.join()
    assert threading.active_count() == threads


def test_a_client_that_is_gone_does_not_disturb_a_later_fork() -> None:
    start(Store())
    HOME.client = None
    assert in_child(lambda: None) == 0
