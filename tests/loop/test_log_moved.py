"""A log that goes away under roles that read it: said once, in words for whoever moved it."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path

import pytest
from support.reading_role import Reading

from davy.config import Settings
from davy.consume import Loop
from davy.demo.processes import wait_until
from davy.event import INFERENCES
from davy.log import Message
from davy.runner import open_runtime

pytestmark = pytest.mark.fast


class Named(Reading):
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.mark.parametrize("gone", ["moved", "deleted"])
def test_it_is_one_warning_a_file_however_many_roles_read_it(
    gone: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(url=f"sqlite:///{tmp_path}/davy")
    with open_runtime(settings) as runtime, caplog.at_level(logging.INFO):
        loops = [Loop(runtime, Named(name)) for name in ("detect", "mine", "archive")]
        runtime.log.producer().append([Message(INFERENCES, "m:1", b"x") for _ in range(9)])
        assert [loop.drain() for loop in loops] == [9, 9, 9]
        if gone == "moved":
            (tmp_path / "davy").rename(tmp_path / "away")
        else:
            shutil.rmtree(tmp_path / "davy")
        threads = [threading.Thread(target=loop.run) for loop in loops]
        for thread in threads:
            thread.start()
        wait_until(lambda: caplog.text.count("works again, after 1 failure in") == 3, "every role to go on")
        runtime.stop.set()
        for thread in threads:
            thread.join(timeout=20)
        for loop in loops:
            loop.close()
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert sorted(one.partition(";")[0] for one in said) == [
        f"{tmp_path}/davy/{name} was moved or deleted while open" for name in ("log.db", "store.db")
    ]
