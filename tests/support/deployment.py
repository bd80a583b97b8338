"""Davy on three Kafka brokers and a Redis with a replica, every role a process, watched while things break."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, Self

import pytest

from davy.codec import decode, load, load_any
from davy.config import Settings
from davy.config import load as load_settings
from davy.consume import stored_position
from davy.demo.processes import free_port, wait_until
from davy.errors import DecodeError
from davy.event import FLAGS, INFERENCES, dead_letters
from davy.log import Log, Record
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy.store import Store
from davy_miner.candidates import CANDIDATES, Candidate
from support.jumping import jump
from support.kafka_server import Cluster, fresh_prefix
from support.network import Proxy
from support.partitions import Cluster as Simulated
from support.partitions import answer
from support.redis_server import RedisServer
from support.streams import MODEL, give_reference

TESTS = Path(__file__).parents[1]
SETTLES = 120.0
"""Seconds a deployment may take to come back to rest after the worst."""


class TaskList(Protocol):
    """A labelling tool that says what it holds."""

    url: str
    api_key: str

    def candidates(self) -> list[str]:
        """Return the candidate of every task."""


class Process:
    """A Python program with a clock of its own, in a process of its own."""

    def __init__(
        self, name: str, folder: Path, env: dict[str, str], *command: str, pipe: bool = False
    ) -> None:
        self.name, self._env, self._command = name, env, command
        self._clock = folder / f"{name}.clock"
        self._output = folder / f"{name}.txt"
        self._pipe = subprocess.PIPE if pipe else None
        self.child: subprocess.Popen[str] | None = None
        jump(self._clock, 0.0)

    def start(self) -> None:
        """Start it, without waiting; one that runs is left alone."""
        if self.child is not None and self.child.poll() is None:
            return
        with self._output.open("a") as output:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "support.jumping", str(self._clock), *self._command],
                env=self._env,
                stdin=self._pipe,
                stdout=self._pipe or output,
                stderr=output,
                text=True,
            )

    def jump(self, seconds: float) -> None:
        """Set its clock off by so much."""
        jump(self._clock, seconds)

    def kill(self) -> None:
        """End it as a crash does."""
        if self.child is not None:
            with self.child:  # closes its pipes and waits
                self.child.kill()

    def stop(self) -> int:
        """End it in order; return its exit code."""
        assert self.child is not None
        self.child.terminate()
        return self.child.wait(timeout=60)

    def said(self) -> str:
        """Return the end of what it printed."""
        return self._output.read_text()[-3000:]


class App(Process):
    """The serving app, which captures on request."""

    def capture(self, count: int, seconds: float, *, shifted: bool = False) -> None:
        """Let it capture so many, without waiting."""
        assert self.child is not None
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps({"count": count, "seconds": seconds, "shifted": shifted}) + "\n")
        self.child.stdin.flush()

    def account(self) -> dict[str, Any]:
        """Wait until all it was asked for is captured and sent; return the SDK's statistics."""
        assert self.child is not None
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        assert line, f"the app ended\n{self.said()}"
        found: dict[str, Any] = json.loads(line)
        return found


class Deployment:
    """Two detect processes, one that mines and an app, on a cluster of three brokers, a Redis and its replica.

    The roles and the app reach Kafka and Redis through networks that can be cut; the tests look at both directly.

    Parameters
    ----------
    cluster
        The brokers.
    folder
        Where everything else lies.
    tool
        The labelling tool.
    settings
        More settings of the roles, as environment variables.
    """

    def __init__(self, cluster: Cluster, folder: Path, tool: TaskList, **settings: str) -> None:
        self.cluster, self.tool, self._folder = cluster, tool, folder
        self.prefix = fresh_prefix()
        self.servers = [RedisServer(folder / name, appendonly="yes") for name in ("redis-a", "redis-b")]
        self.network = Proxy(self.servers[0].port)
        self._options = f"{self.prefix}?partitions=4&replication=3"
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DAVY_")},
            "PYTHONPATH": str(TESTS),
            "DAVY_URL": f"kafka://{cluster.servers_of('distant')}/{self._options}",
            "DAVY_STORE_URL": f"redis://127.0.0.1:{self.network.port}/0",
            "DAVY_BLOB_URL": f"file://{folder}/blobs",
            "DAVY_LABELSTUDIO_URL": tool.url,
            "DAVY_LABELSTUDIO_API_KEY": tool.api_key,
            "DAVY_LABELSTUDIO_TIMEOUT_SECONDS": "2",
            "DAVY_LABELSTUDIO_SETTLE_SECONDS": "1",
            "DAVY_DETECT_FALSE_ALARM_EVERY": "100000",
            "DAVY_DETECT_QUIET_EVENTS": "500",
            "DAVY_DETECT_RESTATE_SECONDS": "300",
            "DAVY_DETECT_CONTROL_SHARE": "0.05",
            "DAVY_MINE_ROUND_SECONDS": "1",
            "DAVY_MINE_BUDGET": "25",
            "DAVY_MINE_POLL_SECONDS": "0.2",
            **settings,
        }
        self.health = {name: free_port() for name in ("detect-1", "detect-2", "mine")}
        self.roles = {name: self.role(name, port) for name, port in self.health.items()}
        self.app = App("app", folder, self.env, "run", str(TESTS / "support" / "serving_app.py"), pipe=True)
        self.asked = 0
        self.poisoned = 0
        self._stack = ExitStack()

    def role(self, name: str, port: int) -> Process:
        """Make a process of the role that the name begins with, without starting it."""
        env = {**self.env, "DAVY_HEALTH_PORT": str(port)}
        return Process(name, self._folder, env, "-m", "davy", "run", name.partition("-")[0])

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            stack.enter_context(self.network)
            self.follow(self.servers[1], self.servers[0])
            with self.looking() as runtime:
                give_reference(runtime)
            self.copied(self.servers[0])
            for process in (*self.roles.values(), self.app):
                process.start()
                stack.callback(process.kill)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def follow(self, replica: RedisServer, primary: RedisServer) -> None:
        """Let one Redis copy the other, and wait until it has what the other has."""
        with closing(replica.client()) as client:
            client.replicaof("127.0.0.1", str(primary.port))
        self.copied(primary)

    def copied(self, primary: RedisServer) -> None:
        """Wait until the replica has everything that was written so far."""
        with closing(primary.client()) as client:
            client.set("copied", 1)
            primary.wait_for(lambda: client.wait(1, 100) == 1)

    @contextmanager
    def looking(self) -> Iterator[Runtime]:
        """Open log and store as an onlooker, past the networks."""
        own = {
            "DAVY_URL": f"kafka://{self.cluster.servers}/{self._options}",
            "DAVY_STORE_URL": f"{self.servers[0].url}/0",
        }
        shared = {name: value for name, value in self.env.items() if name.startswith("DAVY_")}
        with open_runtime(load_settings(env={**shared, **own})) as runtime:
            yield runtime

    def capture(self, count: int, seconds: float, *, shifted: bool = False) -> None:
        """Let the app capture so many, without waiting."""
        self.app.capture(count, seconds, shifted=shifted)
        self.asked += count

    def counted(self) -> int:
        """Return how many inferences the detectors have taken in."""
        with self.looking() as runtime:
            return counted(runtime.store)

    def lag(self) -> int:
        """Return how many records of inferences are not counted yet."""
        with self.looking() as runtime:
            return behind(runtime, "detect", INFERENCES)

    def rest(self, sent: int) -> float:
        """Wait until what was sent is counted and tested, and what was flagged is with the labelling tool.

        Gives the seconds that took.
        """
        begun = time.monotonic()
        with self.looking() as runtime:
            for what, reached in {
                f"{sent} inferences to be counted": lambda: counted(runtime.store) >= sent,
                "every record to be read": lambda: not behind(runtime, "detect", INFERENCES),
                "every window to be tested": lambda: tested(runtime.store),
                "every flag to be read": lambda: not behind(runtime, "mine", FLAGS),
                "a task for every candidate": lambda: self._each_has_its_task(runtime.store),
            }.items():
                wait_until(reached, what, seconds=SETTLES)
        return time.monotonic() - begun

    def check(self, account: dict[str, Any], *, compare: bool = True) -> dict[str, int]:
        """Hold every promise against the SDK's account, log, store and labelling tool; return what was counted.

        With `compare`, the log is also read by one process that nothing disturbs, and the answers must be the same.
        """
        dropped = sum(account["dropped"].values())
        assert account["captured"] + account["thinned"] == self.asked
        assert account["captured"] == account["sent"] + dropped
        assert account["depth"] == 0
        with self.looking() as runtime:
            found = answer(runtime.store)
            assert found["state"]["events"] == account["sent"]
            state = load_any(runtime.store.get("detect", MODEL) or b"")
            letters = everything(runtime.log, dead_letters(INFERENCES))
            assert len({place_of(letter) for letter in letters}) == self.poisoned
            if compare:
                records = everything(runtime.log, INFERENCES)
                assert len(numbers(records)) == account["sent"]
                assert_same(found, undisturbed(records, runtime.settings))
        return {
            "captured": account["captured"],
            "dropped": dropped,
            "sent_again": state["repeated"],
            "late": state["late"],
            "incidents": len(found["incidents"]),
            "tasks": len(self.tool.candidates()),
        }

    def _each_has_its_task(self, store: Store) -> bool:
        """Say whether every chosen candidate has one task, and nothing else has one.

        For a moment there may be two of one: a killed process may have sent what another one sends.
        """
        found = [load(Candidate, data) for _, data in store.items(CANDIDATES.name)]
        chosen = Counter(one.id for one in found if one.state in {"selected", "pushing", "pushed"})
        return bool(chosen) and Counter(self.tool.candidates()) == chosen


def everything(log: Log, topic: str) -> list[Record]:
    """Return the records of a topic in the order of their append."""
    found = [
        record
        for (_, partition), start in log.start(topic).items()
        for record in log.read(topic, partition, start)
    ]
    return sorted(found, key=lambda record: (record.at, record.partition, record.offset))


def numbers(records: Sequence[Record]) -> set[int]:
    """Return the numbers of the inferences in records, those that can be read."""
    found: set[int] = set()
    for record in records:
        with suppress(DecodeError):
            found.update(map(int, decode(record.value)["tags", "n"].values.tolist()))
    return found


def place_of(letter: Record) -> str:
    """Say where a dead letter was."""
    return f"{letter.headers['davy.partition']}/{letter.headers['davy.offset']}"


def counted(store: Store) -> int:
    """Return how many inferences the testing half has taken in."""
    data = store.get("detect", MODEL)
    return int(load_any(data)["events"]) if data is not None else 0


def tested(store: Store) -> bool:
    """Say whether the newest window is tested."""
    data = store.get("detect", MODEL)
    starts = [load_any(window)[0] for _, window in store.items(f"windows/{MODEL}")]
    return data is not None and load_any(data)["tested"] >= max(starts, default=0)


def behind(runtime: Runtime, role: str, topic: str) -> int:
    """Return how many records of a topic a role has yet to handle."""
    starts = runtime.log.start(topic)
    found = 0
    for place, end in runtime.log.end(topic).items():
        stored = stored_position(runtime.store, role, place)
        found += max(0, end - max(starts.get(place, 0), stored.offset if stored is not None else 0))
    return found


def undisturbed(records: Sequence[Record], settings: Settings) -> dict[str, Any]:
    """Return the answer of one process that reads the same records, one by one, while nothing breaks."""
    cluster = Simulated(1, settings.detect)
    cluster.clock.now = records[0].at
    give_reference(cluster.runtime)
    process = cluster.start()
    for record in records:
        cluster.send(record.at, record.key, record.value)
        cluster.run(process)
    cluster.finish()
    return answer(cluster.runtime.store)


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Hold counts to be equal and statistics to be within 1e-9."""
    for name in ("events", "tested", "alarmed", "calm_since", "incidents"):
        assert found["state"][name] == expected["state"][name], name
    assert found["state"]["ratio"] == pytest.approx(expected["state"]["ratio"], rel=1e-9)
    shared = min(
        len(found["windows"]), len(expected["windows"])
    )  # when old ones are forgotten is a matter of timing
    assert shared > 0
    for name in ("windows", "counts"):
        assert found[name][-shared:] == expected[name][-shared:], name
    assert len(found["incidents"]) == len(expected["incidents"])
    for mine, other in zip(found["incidents"], expected["incidents"], strict=True):
        assert mine.statistic == pytest.approx(other.statistic, rel=1e-9)
        assert replace(mine, statistic=0.0) == replace(other, statistic=0.0)
