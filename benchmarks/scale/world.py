"""Where the benchmark runs: one Kafka broker and one Redis, fresh topics and state for each part, real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from redis import Redis

from benchmarks.scale.traffic import MODEL
from benchmarks.services import kafka_and_redis
from davy.codec import load_any
from davy.event import FLAGS, INFERENCES
from davy.log import Log, open_log
from davy.store import Store, open_store
from davy_detectors.reference.active import put as put_reference

ROOT: Final = Path(__file__).parents[2]
_PATIENCE_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.01
_SETTLES_SECONDS: Final = 15.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class World:
    """The two services: addresses of the brokers, and the URL of Redis."""

    servers: str
    redis: str

    def place(self, library: str = "kafka", *, partitions: int = 1, shards: int = 1) -> Place:
        """Return topics and state that nothing else uses; `library` is the scheme of the log's URL."""
        name = f"scale{uuid.uuid4().hex[:8]}"
        url = f"{library}://{self.servers}/{name}?partitions={partitions}&shards={shards}"
        return Place(url, f"{self.redis}/0?namespace={name}", name, partitions)


@contextmanager
def world() -> Iterator[World]:
    """Start the services; they are gone at the end."""
    with tempfile.TemporaryDirectory() as folder, kafka_and_redis(Path(folder)) as (servers, redis):
        yield World(servers, redis)


@dataclass(frozen=True)
class Place:
    """One installation of Davy: a log and a store with nothing in them yet."""

    url: str
    store_url: str
    namespace: str
    partitions: int

    @cached_property
    def log(self) -> Log:
        """The log, read from outside any group."""
        return open_log(self.url)

    @cached_property
    def store(self) -> Store:
        """The store."""
        return open_store(self.store_url)

    @cached_property
    def redis(self) -> Redis:
        """The server of the store."""
        return Redis.from_url(self.store_url.partition("?")[0])

    def give_references(self, references: dict[str, bytes]) -> None:
        """Put references where the detectors find them, by model."""
        for model, data in references.items():
            put_reference(self.store, model, data)

    def records(self) -> int:
        """How many envelopes the log holds."""
        return sum(self.log.end(INFERENCES).values())

    def flags(self) -> int:
        """How many flags the log holds."""
        return sum(self.log.end(FLAGS).values())

    def handled(self) -> int:
        """How many envelopes the detectors have handled: their positions, written with what they counted."""
        found = self.redis.hgetall(f"{{{self.namespace}}}:records:positions")
        return sum(int(load_any(position)) for position in found.values())

    def totals(self, model: str = MODEL) -> dict[str, Any]:
        """What was counted and tested of a model."""
        found = self.store.get("detect", model)
        return {} if found is None else dict(load_any(found))

    def wait_until_handled(self, records: int) -> float:
        """Wait until so many envelopes are handled; return the time (seconds since 1970)."""
        wait_for(lambda: self.handled() >= records, f"{records} envelopes to be handled")
        return time.time()

    def verify(self, sent: int, model: str = MODEL) -> None:
        """Refuse figures of a run in which an inference was lost, or counted twice."""
        deadline = time.monotonic() + _SETTLES_SECONDS
        while self.totals(model).get("events") != sent:
            if time.monotonic() > deadline:
                found = self.totals(model).get("events")
                raise RuntimeError(f"{sent} inferences were sent and {found} are counted in the store")
            time.sleep(0.05)

    def holders(self) -> Sequence[bytes]:
        """The processes that hold partitions, one for each partition held."""
        names = [f"{{{self.namespace}}}:lease:role/detect/{INFERENCES}/{i}" for i in range(self.partitions)]
        return [owner for owner in (self.redis.hget(name, "owner") for name in names) if owner]


class Detector:
    """A ``davy run detect`` process."""

    def __init__(self, place: Place) -> None:
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DAVY_")},
            "DAVY_URL": place.url,
            "DAVY_STORE_URL": place.store_url,
            "DAVY_BLOB_URL": "memory://scale",
        }
        command = [sys.executable, "-m", "davy", "run", "detect"]
        self._process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)

    def hold(self) -> None:
        """Keep it from running, as if the machine had stopped."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        self._process.send_signal(signal.SIGCONT)

    def processor_seconds(self) -> float:
        """Return the time it has used of a processor."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_mb(self) -> float:
        """Return its resident memory."""
        lines = self._proc("status").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024

    def stop(self) -> None:
        """End it, as a deployment does."""
        self.go_on()
        self._process.send_signal(signal.SIGTERM)
        if self._process.wait(60):
            raise RuntimeError(f"davy run detect ended with code {self._process.returncode}")

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self._process.pid}/{name}").read_text(encoding="utf-8")


@contextmanager
def detecting(place: Place, processes: int = 1) -> Iterator[list[Detector]]:
    """Run detectors; they have shared out the partitions when this begins."""
    detectors: list[Detector] = []
    try:
        detectors += [Detector(place) for _ in range(processes)]
        wait_for(lambda: _shared_out(place, processes), f"{processes} processes to share out the partitions")
        yield detectors
    finally:
        for detector in detectors:
            detector.stop()


def _shared_out(place: Place, processes: int) -> bool:
    holders = place.holders()
    return len(holders) == place.partitions and len(set(holders)) == processes


def serving(place: Place, task: str, *numbers: float) -> subprocess.Popen[str]:
    """Start a serving app; see `benchmarks.scale.serving`."""
    command = [sys.executable, "-m", "benchmarks.scale.serving", place.url, task, *map(json.dumps, numbers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def accounts(app: subprocess.Popen[str], *, thinned: bool = False) -> dict[str, Any]:
    """Wait for a serving app and give its accounts; refuse them when it lost something.

    What overload thins out was never sent; only where `thinned` allows it.
    """
    output = app.communicate(timeout=_PATIENCE_SECONDS)[0]
    if app.returncode:
        raise RuntimeError(f"the serving app ended with code {app.returncode}")
    found: dict[str, Any] = json.loads(output)
    lost = found["dropped"] or found["depth"] or found["captured"] != found["sent"]
    if lost or (found["thinned"] and not thinned):
        raise RuntimeError(f"the serving app did not send everything: {found}")
    return found


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Look a hundred times a second."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {_PATIENCE_SECONDS:g} s for {what}")
        time.sleep(_LOOK_SECONDS)


@contextmanager
def closed(place: Place) -> Iterator[Place]:
    """Use a place and let go of it."""
    with closing(place.log), closing(place.store), closing(place.redis):
        yield place
