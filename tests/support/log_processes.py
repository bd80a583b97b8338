"""Processes that write to a log, for the tests that need several, or one to kill: ``log_processes.py VERB URL …``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from davy.log import Message, open_log
from davy.log.sqlite import SqliteLog

TOPIC = "davy.inferences"


@contextmanager
def process(verb: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a verb of this file; what is still running at the end is killed."""
    command = [sys.executable, __file__, verb, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def batch(key: str, number: int, size: int) -> list[Message]:
    """Make the messages of one append: each says which batch it is of and which place it has there."""
    return [Message(TOPIC, key, f"{number}/{place}".encode().ljust(5000)) for place in range(size)]


def say(text: object) -> None:
    """Tell the parent at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def append(url: str, key: str, batches: str, size: str) -> None:
    """Append batches and acknowledge each; for ever when `batches` is ``-``."""
    producer = open_log(url).producer()
    for number in count() if batches == "-" else range(int(batches)):
        producer.append(batch(key, number, int(size)))
        say(number)


def die(url: str, statement: str, size: str) -> None:
    """Append one batch, then a second that is killed just before its SQL statement of that number."""
    log = SqliteLog(url)
    producer = log.producer()
    producer.append(batch("first", 0, int(size)))
    left = count(int(statement), -1)
    with log._database.reading() as connection:
        connection.set_trace_callback(lambda _: next(left) or os.kill(os.getpid(), signal.SIGKILL))
    producer.append(batch("second", 0, int(size)))
    say("survived")


def fork(url: str, batches: str) -> None:
    """Append on both sides of a fork, after the parent used the log."""
    producer = open_log(url).producer()
    producer.append(batch("before", 0, 1))
    child = os.fork()
    key = "parent" if child else "child"
    for number in range(int(batches)):
        producer.append(batch(key, number, 1))
    if child:
        os.waitpid(child, 0)
    os._exit(0)


def fork_while_writing(url: str, forks: str) -> None:
    """Fork while another thread writes without pause; every child appends once and is waited for."""
    log = open_log(url)
    stop = threading.Event()

    def write() -> None:
        producer = log.producer()
        for number in count():
            if stop.is_set():
                return
            producer.append(batch("thread", number, 1))

    writer = threading.Thread(target=write)
    writer.start()
    for number in range(int(forks)):
        child = os.fork()
        if not child:
            log.producer().append(batch("child", number, 1), timeout=10)
            os._exit(0)
        say(os.waitpid(child, 0)[1])
    stop.set()
    writer.join()


if __name__ == "__main__":
    verbs = {"append": append, "die": die, "fork": fork, "fork_while_writing": fork_while_writing}
    verbs[sys.argv[1]](*sys.argv[2:])
