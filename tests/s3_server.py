"""A real S3 server (moto) in a process of its own, with a bucket."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from services import service_or_skip

LOCAL = service_or_skip("s3", find_spec("moto") is not None, "make dev, for moto")
_RUNNING = re.compile(r"Running on (http://127\S+)")


class S3Server:
    """S3 with the bucket ``davy`` on a port of its own; a context manager that starts and stops it.

    Parameters
    ----------
    folder
        Where its log lies.
    """

    def __init__(self, folder: Path) -> None:
        self._log = folder / "s3.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = ""

    @property
    def environment(self) -> dict[str, str]:
        """What a client of this server needs."""
        return {
            "AWS_ACCESS_KEY_ID": "davy",
            "AWS_SECRET_ACCESS_KEY": "s3cret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        deadline, pause = time.monotonic() + 30, threading.Event()
        while not (found := _RUNNING.search(self._log.read_text())):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(self._log.read_text()[-2000:])
            pause.wait(0.02)
        self.endpoint = found[1]
        request = urllib.request.Request(f"{self.endpoint}/davy", method="PUT")
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status == 200
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=10)
