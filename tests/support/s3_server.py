"""A real S3 server (moto) in a process of its own, and a bucket that the tests of a session share."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import obstore
import pytest
from obstore.store import S3Store

from support.services import freeze, service_or_skip

GIVEN = os.environ.get("DAVY_TEST_S3", "")
_MOTO = find_spec("moto") is not None
LOCAL = service_or_skip("s3", _MOTO, "make dev, for moto")
ANY = service_or_skip("s3", bool(GIVEN) or _MOTO, "make dev, for moto, or set DAVY_TEST_S3")
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

    def pause(self) -> None:
        """Stop it from answering, as a process that hangs."""
        assert self._process is not None
        freeze(self._process.pid)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

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
        self._call("PUT", "/davy")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=10)

    def refuse_strangers(self) -> None:
        """Ask for credentials it knows from now on; it knows none."""
        self._call("POST", "/moto-api/reset-auth", b"0")

    def read(self, path: str) -> bytes:
        """Return an object of the bucket as it lies there."""
        return bytes(obstore.get(self._bucket(), path).bytes())

    def write(self, path: str, data: bytes) -> None:
        """Put an object into the bucket, behind Davy's back."""
        obstore.put(self._bucket(), path, data)

    def _bucket(self) -> S3Store:
        return S3Store("davy", endpoint=self.endpoint, client_options={"allow_http": True})

    def _call(self, method: str, path: str, body: bytes | None = None) -> None:
        headers = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{self.endpoint}{path}", body, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status == 200

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@pytest.fixture(scope="session")
def shared_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server | None]:
    """Start the server that every test of the session uses, unless one is given."""
    with ExitStack() as stack:
        yield None if GIVEN else stack.enter_context(S3Server(tmp_path_factory.mktemp("s3")))


@pytest.fixture
def s3_url(shared_s3: S3Server | None, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of an empty blob store, with an environment that lets this process in."""
    for name, value in (shared_s3.environment if shared_s3 else {}).items():
        monkeypatch.setenv(name, value)
    return f"{GIVEN or 's3://davy'}/{uuid.uuid4().hex}"
