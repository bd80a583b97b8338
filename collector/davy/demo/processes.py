"""The demo's processes: started, awaited, and stopped again, each by its own id."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import httpx

from davy.errors import DavyError

_SHORTEST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.3


class Process:
    """A child process with its output in a file; stopped with SIGTERM, and SIGKILL after ten seconds."""

    def __init__(self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                command,
                env={**os.environ, **env},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def wait_for(self, url: str, *, seconds: float = 60.0) -> Self:
        """Wait until `url` answers 200."""

        def answers() -> bool:
            if self._child.poll() is not None:
                raise DavyError(
                    self.name, self._child.returncode, f"ended early; its output is in {self._log}"
                )
            try:
                return httpx.get(url, timeout=5).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        wait_until(answers, f"{self.name} to answer at {url}", seconds=seconds)
        return self

    def stop(self) -> None:
        """End it; harmless when it has ended."""
        self._child.terminate()
        try:
            self._child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def davy_command(*arguments: str, env: Mapping[str, str]) -> Any:
    """Run a ``davy`` command as a user would and give what it printed as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "davy", *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DavyError(
            f"davy {' '.join(arguments)}", done.returncode, done.stderr.strip() or done.stdout.strip()
        )
    return json.loads(done.stdout) if done.stdout.strip() else None


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = 60.0) -> None:
    """Ask until `condition` holds, ever more rarely up to every 0.3 s; raises DavyError after `seconds`."""
    deadline, pause = time.monotonic() + seconds, _SHORTEST_PAUSE
    while not condition():
        if time.monotonic() > deadline:
            raise DavyError("waited for", what, f"did not happen within {seconds:g} s")
        time.sleep(pause)
        pause = min(1.3 * pause, _LONGEST_PAUSE)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
