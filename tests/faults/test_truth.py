"""Davy broken in ways that only what it does can tell: it says what is wrong, and when it is over."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.damage import damage_structure
from support.embedded import Embedded
from support.fake_labelstudio import FakeLabelStudio
from support.kafka_server import Cluster, needs_brokers
from support.on_services import OnServices
from support.redis_server import LOCAL, RedisServer
from support.rounds import ROUNDS, write_down
from support.services import freeze
from support.truth import Fault, Mend, struck

from davy.demo.processes import wait_until

UP_WEDGED = {"up": ("support.wedging", "{wedge}", "davy", "up")}
APART = {name: ("davy", "run", name) for name in ("gateway", "detect", "mine", "retain")}
TEN_MINUTES = 600.0

STRIKES = min(ROUNDS, 5)
"""How often a fault strikes one deployment: starting a deployment costs as much as several strikes."""

_POISON = """
import sys
import davy
for number in range(600):
    davy.capture(sys.argv[1], {"x": number / 600}, {"probs": [0.4, 0.6]})
assert davy.flush(60)
"""


def fill_disk(world: Embedded, rng: random.Random) -> Mend:
    """Take every byte of the data directory's own disk."""
    filler = world.directory / "filler"
    # Without a buffer: closing would write what is left of it, and fail.
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(rng.randbytes(2**16))
        except OSError:
            pass
    return filler.unlink


def damage_store(world: Embedded, rng: random.Random) -> Mend:
    """Flip 60 bytes of the store; then follow the remedy that Davy names: stop it and put a backup in the place.

    Writing the old bytes back would mend nothing: until Davy finds the damage it may write by what it read there.
    """
    store, backup = world.directory / "store.db", world.folder / "backup.db"
    backup.unlink(missing_ok=True)
    with closing(sqlite3.connect(store, timeout=30)) as source, closing(sqlite3.connect(backup)) as copy:
        source.backup(copy)
    damage_structure(store, seed=rng.randrange(1000))

    def mend() -> None:
        world.down()
        for path in world.directory.glob("store.db*"):
            path.unlink()
        shutil.copyfile(backup, store)
        world.start()

    return mend


def lock_store(world: Embedded, rng: random.Random) -> Mend:
    """Hold the store's lock."""
    connection = sqlite3.connect(world.directory / "store.db", timeout=30, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection.close


def wedge_plugin(world: Embedded, rng: random.Random) -> Mend:
    """Let a plug-in of detection not return."""
    world.wedge.touch()
    return world.wedge.unlink


def stop_process(name: str, world: Embedded, rng: random.Random) -> Mend:
    """Stop the process of a role from running."""
    freeze(world.processes[name].pid)
    return lambda: world.signal(name, signal.SIGCONT)


def kill_process(name: str, world: Embedded, rng: random.Random) -> Mend:
    """Kill the process of a role."""
    world.processes[name].kill()
    world.processes[name].wait()
    return lambda: world.start(name)


stop_detect, kill_detect = partial(stop_process, "detect"), partial(kill_process, "detect")


def hang_redis(world: Embedded, rng: random.Random) -> Mend:
    """Let Redis answer nothing, with its connections open."""
    assert isinstance(world, OnServices)
    world.redis.pause()
    return world.redis.resume


def kill_redis(world: Embedded, rng: random.Random) -> Mend:
    """Kill Redis, which then has what its append-only file holds."""
    assert isinstance(world, OnServices)
    world.redis.kill()
    return world.redis.start


def hang_broker(world: Embedded, rng: random.Random) -> Mend:
    """Let the broker answer nothing, with its connections open."""
    assert isinstance(world, OnServices)
    process = world.cluster.brokers[0].process
    freeze(process)
    return lambda: os.kill(process, signal.SIGCONT)


def break_labelling(world: Embedded, rng: random.Random) -> Mend:
    """Let Label Studio answer everything with an error."""
    fake = world.labelling
    assert fake is not None
    fake.broken = True
    return lambda: setattr(fake, "broken", False)


def poison_labelling(world: Embedded, rng: random.Random) -> Mend:
    """Let another model give answers of which Label Studio refuses every form."""
    fake = world.labelling
    assert fake is not None
    model = f"other{rng.randrange(10**9)}:1"
    fake.refuse_titles.add(f"Davy {model} · tabular-classification")
    subprocess.run([sys.executable, "-c", _POISON, model], env=world.env, check=True, timeout=60)
    before = len(fake.tasks)

    def mend() -> None:
        wait_until(lambda: len(fake.tasks) > before, "tasks of the first model to be made meanwhile")
        fake.refuse_titles.clear()

    return mend


ON_FILES = {
    "disk of the data directory full": Fault(fill_disk, {"disk"}, disk_bytes=64 * 2**20),
    "store damaged": Fault(damage_store, {"store", "store file"}),
    "store locked": Fault(lock_store, {"store"}, lasts=True),
    "plug-in that never returns": Fault(wedge_plugin, {"role detect"}, UP_WEDGED),
    "detect stopped": Fault(stop_detect, {"role detect"}, APART, "gateway", 200),
    "detect killed": Fault(kill_detect, {"role detect"}, APART, "gateway", 200),
    "gateway stopped": Fault(partial(stop_process, "gateway"), {"role gateway"}, APART, "detect", 200),
    "gateway killed": Fault(partial(kill_process, "gateway"), {"role gateway"}, APART, "detect", 200),
    "retain killed": Fault(partial(kill_process, "retain"), {"role retain"}, APART, "gateway", 200),
    "labelling answers errors": Fault(
        break_labelling, {"labelling: pushing tasks", "labelling: reading labels"}, labelling=True
    ),
    "labelling poisoned": Fault(poison_labelling, {"labelling: models"}, labelling=True),
}
ON_SERVICES = {
    "redis hangs": Fault(hang_redis, {"store"}),
    "redis killed": Fault(kill_redis, {"store"}),
    "broker hangs": Fault(hang_broker, {"log"}),
    "plug-in that never returns, on services": Fault(wedge_plugin, {"role detect"}, UP_WEDGED),
    "detect stopped, on services": Fault(stop_detect, {"role detect"}, APART, "gateway", 200),
    "detect killed, on services": Fault(kill_detect, {"role detect"}, APART, "gateway", 200),
    "labelling poisoned, on services": Fault(poison_labelling, {"labelling: models"}, labelling=True),
}


@contextmanager
def disk_of(size: int, place: Path) -> Iterator[None]:
    """Put a directory on a disk of its own with this many bytes, unless that is 0."""
    if not size:
        yield
        return
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "davy-test", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"a disk of its own cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def world_of(fault: Fault, folder: Path, cluster: Cluster | None) -> Iterator[Embedded]:
    """Let the processes of a fault's deployment be ready to begin: over files, or a broker and a Redis of its own."""
    with ExitStack() as stack:
        stack.enter_context(disk_of(fault.disk_bytes, folder / "davy"))
        more: dict[str, Any] = {"pause": 0.1}
        if fault.labelling:
            more["labelling"] = stack.enter_context(FakeLabelStudio())
        roles = {
            name: [part.format(wedge=folder / "wedge") for part in parts]
            for name, parts in fault.roles.items()
        }
        if cluster is None:
            yield stack.enter_context(Embedded(folder, roles, **more))
            return
        redis = stack.enter_context(RedisServer(folder / "redis", appendonly="yes"))
        yield stack.enter_context(OnServices(folder, roles, cluster=cluster, redis=redis, **more))


@pytest.mark.timeout(600 + TEN_MINUTES)
@pytest.mark.parametrize("number", range(ROUNDS // STRIKES))
@pytest.mark.parametrize("name", ON_FILES)
def test_what_davy_says_of_itself_is_right_within_half_a_minute(
    name: str, number: int, tmp_path: Path
) -> None:
    fault = ON_FILES[name]
    with world_of(fault, tmp_path, None) as world:
        lasting = TEN_MINUTES if fault.lasts and number % 2 == 1 else 0.0
        rng = random.Random(f"{name} {number}")
        write_down(name, *struck(fault, world, rng, times=STRIKES, lasting=lasting))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(ROUNDS // STRIKES))
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[*needs_brokers(), *LOCAL]) for name in ON_SERVICES]
)
def test_it_is_right_on_kafka_and_redis(
    name: str, number: int, kafka_broker: Cluster, tmp_path: Path
) -> None:
    fault = ON_SERVICES[name]
    with world_of(fault, tmp_path, kafka_broker) as world:
        write_down(name, *struck(fault, world, random.Random(f"{name} {number}"), times=STRIKES))
