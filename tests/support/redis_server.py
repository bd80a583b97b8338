"""A real Redis in a process of its own, and one that the tests of a session share."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

import pytest
import redis

from davy.store.redis import RedisStore
from support.services import freeze, service_or_skip

BINARY = shutil.which("redis-server")
GIVEN = os.environ.get("DAVY_TEST_REDIS", "")
LOCAL = service_or_skip("redis", BINARY is not None, "apt install redis-server")
SLOTS = 16384
_HIGHEST_PORT = 55536  # the nodes of a cluster talk to each other ten thousand above
ANY = service_or_skip("redis", bool(GIVEN or BINARY), "apt install redis-server, or set DAVY_TEST_REDIS")


class RedisServer:
    """Redis on a port of its own; a context manager that starts and stops it.

    Parameters
    ----------
    folder
        Where its data and its log lie; made when it is not there.
    options
        Directives of ``redis.conf``, underscores for dashes.
    """

    def __init__(self, folder: Path, **options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._options = {
            "dir": str(folder),
            "bind": "127.0.0.1",
            "save": "",
            "repl_diskless_sync_delay": "0",
            **options,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it is, without user and password."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start it and wait until it answers and has loaded its data."""
        assert BINARY is not None
        words = [
            f"--{name.replace('_', '-')} {value or chr(34) * 2}" for name, value in self._options.items()
        ]
        with (self._folder / "log.txt").open("ab") as log:
            command = [BINARY, *" ".join([f"--port {self.port}", *words]).split()]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self.wait_for(self._ready)
        return self

    def client(self) -> redis.Redis:
        """Return a client of the default user."""
        return redis.Redis(port=self.port, socket_timeout=10)

    def kill(self) -> None:
        """End it as a crash does."""
        self._signal(signal.SIGKILL)
        self._process = None

    def pause(self) -> None:
        """Stop it from answering, as a process that hangs."""
        assert self._process is not None
        freeze(self._process.pid)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the process this object started; calling it twice is harmless."""
        if self._process is not None:
            self.resume()
            self._signal(signal.SIGTERM)
            self._process = None

    def wait_for(self, condition: Callable[[], object], *, timeout: float = 20.0) -> None:
        """Ask until `condition` is true; an error with the log of Redis at the deadline."""
        deadline, pause = time.monotonic() + timeout, threading.Event()
        while not condition():
            ended = self._process is not None and self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise AssertionError((self._folder / "log.txt").read_text()[-2000:])
            pause.wait(0.01)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(timeout=20)

    def _ready(self) -> bool:
        with closing(self.client()) as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:
                return True
            except redis.ConnectionError:
                return False


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a Redis that every test uses in a namespace of its own."""
    with ExitStack() as stack:
        yield GIVEN or stack.enter_context(RedisServer(tmp_path_factory.mktemp("redis"))).url


@pytest.fixture(scope="session")
def shared_redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a cluster of one node."""
    with RedisServer(tmp_path_factory.mktemp("cluster"), cluster_enabled="yes") as server:
        form_cluster(server)
        yield server.url


def form_cluster(*servers: RedisServer) -> None:
    """Share the slots of a cluster among these servers."""
    clients = [server.client() for server in servers]
    share = SLOTS // len(servers)
    for number, client in enumerate(clients):
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * share, (number + 1) * share - 1)
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port)
    for server, client in zip(servers, clients, strict=True):
        server.wait_for(lambda client=client: client.cluster("INFO")["cluster_state"] == "ok")


def own_namespace(url: str) -> str:
    """Return the URL of an empty store on this server."""
    return f"{url}{'&' if '?' in url else '?'}namespace=test-{uuid.uuid4().hex}"


def let_leases_age(store: RedisStore, seconds: float) -> None:
    """Take time off every lease of a store: the clock of a server cannot be set, and only the difference counts."""
    client = store._client
    for key in client.scan_iter(match=f"{store._prefix}:lease:*"):
        for moment in ("until", "taken"):
            client.hincrby(key, moment, -round(seconds * 1000))


def free_port() -> int:
    """Return a port nobody listens on."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            if (port := int(probe.getsockname()[1])) < _HIGHEST_PORT:
                return port
