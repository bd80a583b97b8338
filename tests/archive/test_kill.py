"""``kill -9`` of an archiving process, ten times, at random moments: every inference is in the archive once."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from support.archive_processes import archiving
from support.archived import envelope, ids, numbered, send

from davy.config import Settings
from davy.demo.processes import wait_until
from davy.runner import open_runtime

KILLS = 10
ROWS = 50


@pytest.mark.timeout(240)
def test_ten_kills_leave_every_inference_once(tmp_path: Path) -> None:
    generator, root, log = random.Random(5), tmp_path / "archive", tmp_path / "log"
    sent = 0
    with open_runtime(Settings(url=f"sqlite:///{log}")) as runtime:
        stop = threading.Event()

        def serve() -> None:
            nonlocal sent
            while not stop.wait(0.01):
                send(runtime, [envelope(sent, ROWS)])
                sent += ROWS

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            for _ in range(KILLS):
                with archiving(log, root) as process:
                    assert process.stdout is not None
                    for _ in range(generator.randint(1, 8)):  # killed while a file is written, or between two
                        assert process.stdout.readline()
                    process.kill()
        finally:
            stop.set()
            serving.join()
        with archiving(log, root):
            wait_until(lambda: sum(ids(root).values()) >= sent, "everything to be archived", seconds=60)
    assert ids(root) == numbered(sent)
