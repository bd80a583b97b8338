"""Tests that need a real service: where it comes from, and what happens when it is missing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Service:
    """A real service: the one that is given, else a container, else a process of this machine.

    Parameters
    ----------
    name
        What `DAVY_REQUIRE_SERVICES` and the marker ``service`` call it. ``DAVY_TEST_<NAME>`` gives one that runs
        already, by its address.
    container
        Starts it with testcontainers and gives its address; asked only where a container engine answers.
    missing
        Why no process can be started here; empty when one can.
    """

    name: str
    container: Callable[[], AbstractContextManager[str]]
    missing: str

    def marks(self) -> Any:
        """Return the marks of a test, class or module that needs the service."""
        present = bool(self._given) or engine_answers() or not self.missing
        return service_or_skip(self.name, present, self.missing)

    @contextmanager
    def running(self, process: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
        """Return the address of the service; `process` starts it where nothing else is there. Stopped at the end."""
        if self._given:
            yield self._given
            return
        with self.container() if engine_answers() else process() as address:
            yield address

    @property
    def _given(self) -> str:
        return os.environ.get(f"DAVY_TEST_{self.name.upper()}", "")


@cache
def engine_answers() -> bool:
    """Whether containers can be started here."""
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        return False
    from docker import from_env
    from docker.errors import DockerException

    try:
        from_env(timeout=5).close()
    except DockerException:
        return False
    return True


def freeze(process: int) -> None:
    """Stop a child from running; SIGCONT lets it go on.

    On a busy machine its threads run for a while after the signal: until the one that takes it gets its turn.
    """
    os.kill(process, signal.SIGSTOP)
    os.waitid(os.P_PID, process, os.WSTOPPED)


def service_or_skip(name: str, present: bool, reason: str) -> Any:
    """Return the marks of a test, class or module that needs the service `name`.

    ``pytestmark = service_or_skip("prometheus", shutil.which("prometheus"), "apt install prometheus")``. Where the
    service is missing the test is skipped with the reason, unless the environment variable DAVY_REQUIRE_SERVICES
    names it (separated by commas; ``all`` names every service): then collecting the test is an error.
    """
    required = {part.strip() for part in os.environ.get("DAVY_REQUIRE_SERVICES", "").split(",")}
    if not present and required & {name, "all"}:
        raise RuntimeError(f"DAVY_REQUIRE_SERVICES names {name}, but it is missing: {reason}")
    return [pytest.mark.service(name), pytest.mark.skipif(not present, reason=f"{name} is missing: {reason}")]


def needs(name: str, present: bool, reason: str) -> Any:
    """Return a decorator with the marks of `service_or_skip`."""
    marks = service_or_skip(name, present, reason)

    def decorate(test: Any) -> Any:
        for mark in marks:
            test = mark(test)
        return test

    return decorate
