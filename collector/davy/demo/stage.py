"""Where one run of the demo happens: a directory, settings, processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from davy.demo.processes import Process, free_port
from davy.errors import SettingError

_ROLES: Final = ("gateway", "detect", "mine", "retain")
_ADDRESSES: Final = ("DAVY_URL", "DAVY_STORE_URL", "DAVY_BLOB_URL")


@dataclass(slots=True)
class Stage:
    """Where one run happens: its directory, its processes and their addresses.

    `apart` runs every role in a process of its own; `counts` is where the detectors show their metrics.
    """

    directory: Path
    env: dict[str, str]
    apart: bool
    processes: list[Process] = field(default_factory=list)
    gateway: str = ""
    serving: str = ""
    counts: str = ""

    def start(self, name: str, *command: str, ready: str) -> None:
        """Start a process and wait until it answers."""
        process = Process(name, command, env=self.env, log=self.directory / f"{name}.log")
        self.processes.append(process)
        process.wait_for(ready)

    def start_davy(self) -> None:
        """Start Davy, whole or role by role, and wait until all of it is ready."""
        davy = (sys.executable, "-m", "davy")
        if not self.apart:
            self.start("up", *davy, "up", ready=f"{self.gateway}/readyz")
            self.counts = self.gateway
            return
        for role in _ROLES:
            address = self.gateway if role == "gateway" else f"http://127.0.0.1:{free_port()}"
            port = address.rpartition(":")[2]
            self.start(role, *davy, "run", role, "--port", port, ready=f"{address}/readyz")
            if role == "detect":
                self.counts = address

    def stop(self) -> None:
        """End every process, last started first."""
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()


@contextmanager
def stage(directory: Path, settings: Mapping[str, str], *, apart: bool = False) -> Iterator[Stage]:
    """Prepare a directory and the settings of every process of one run; stop them at the end.

    With `apart`, log, store and blobs are those of the environment, each in a place of this run's own.

    Raises
    ------
    SettingError
        `apart` is asked for and the environment does not say where log, store and blobs are.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    env = {
        **(_places() if apart else {"DAVY_URL": f"sqlite:///{directory.resolve()}"}),
        "DAVY_GATEWAY_PORT": str(port),
        "DAVY_MINE_ROUND_SECONDS": "0",
        "DAVY_MINE_POLL_SECONDS": "0.5",
        "DAVY_MINE_DATASETS": str(directory.resolve() / "datasets"),
        "DAVY_DETECT_QUIET_EVENTS": "2000",
        **settings,
    }
    made = Stage(directory, env, apart, gateway=f"http://127.0.0.1:{port}")
    try:
        yield made
    finally:
        made.stop()


def _places() -> dict[str, str]:
    """Return the addresses of the environment with a name of this run's own behind each."""
    for name in _ADDRESSES:
        if not os.environ.get(name):
            raise SettingError(name, "", "--apart needs a log, a store and blobs that processes share")
    log, store, blobs = (os.environ[name] for name in _ADDRESSES)
    own = f"demo-{os.urandom(4).hex()}"
    namespace = "&" if "?" in store else "?"
    return {
        "DAVY_URL": f"{log}/{own}",
        "DAVY_STORE_URL": f"{store}{namespace}namespace={own}" if store.startswith("redis") else store,
        "DAVY_BLOB_URL": f"{blobs}/{own}",
    }
