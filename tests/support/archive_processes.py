"""A process that archives until it is killed: ``-m support.archive_processes LOG ARCHIVE``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from davy.archive.places import FilePlace, open_place
from davy.archive.role import Archive
from davy.config import ArchiveSettings, Settings
from davy.consume import Loop
from davy.runner import open_runtime
from support.streams import bury


@contextmanager
def archiving(log: Path, root: Path) -> Iterator[subprocess.Popen[str]]:
    """Run this file; it says a line before and after every file. What still runs at the end is killed."""
    command = [sys.executable, "-m", "support.archive_processes", str(log), str(root)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as running:
        try:
            yield running
        finally:
            running.kill()


class Told:
    """A place that says what it does."""

    def __init__(self, inner: FilePlace) -> None:
        self._inner = inner
        self.paths, self.open = inner.paths, inner.open

    def put(self, path: str, data: bytes) -> None:
        sys.stdout.write("begins\n")
        sys.stdout.flush()
        self._inner.put(path, data)
        sys.stdout.write("ends\n")
        sys.stdout.flush()


def main(log: str, root: str) -> None:
    """Archive for ever; the lease of the one that was killed before is taken as run out."""
    settings = Settings(url=f"sqlite:///{log}", archive=ArchiveSettings(rows=300, seconds=0.3))
    with open_runtime(settings) as runtime:
        bury(runtime, "role/archive")
        loop = Loop(runtime, Archive(runtime, Told(open_place(f"file:///{root}"))), max_records=3)
        while True:
            loop.step(timeout=0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
