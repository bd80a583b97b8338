"""Where one run of the demo happens: a directory, settings, processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from davy.demo.processes import Process, free_port


@dataclass(slots=True)
class Stage:
    """Where one run happens: its directory, its processes and their addresses."""

    directory: Path
    env: dict[str, str]
    processes: list[Process] = field(default_factory=list)
    gateway: str = ""
    serving: str = ""

    def start(self, name: str, *command: str, ready: str) -> None:
        """Start a process and wait until it answers."""
        process = Process(name, command, env=self.env, log=self.directory / f"{name}.log")
        self.processes.append(process)
        process.wait_for(ready)

    def stop(self) -> None:
        """End every process, last started first."""
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()


@contextmanager
def stage(directory: Path, settings: Mapping[str, str]) -> Iterator[Stage]:
    """Prepare a directory and the settings of every process of one run; stop them at the end."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    env = {
        "DAVY_URL": f"sqlite:///{directory.resolve()}",
        "DAVY_GATEWAY_PORT": str(port),
        "DAVY_MINE_ROUND_SECONDS": "0",
        "DAVY_MINE_POLL_SECONDS": "0.5",
        "DAVY_DETECT_QUIET_EVENTS": "2000",
        **settings,
    }
    made = Stage(directory, env, gateway=f"http://127.0.0.1:{port}")
    try:
        yield made
    finally:
        made.stop()
