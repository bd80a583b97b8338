"""Clocks that jump by hours, logs and stores that go away: everything is counted once, or what is missing is told."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from support.embedded import MODEL, Embedded, some_seconds
from support.kafka_server import Cluster, needs_brokers
from support.on_services import OnServices
from support.redis_server import LOCAL, RedisServer
from support.rounds import ROUNDS, write_down

from davy.demo.processes import wait_until

HOUR = 3600.0
MOVED = "was moved or deleted while open"
Fault: TypeAlias = Callable[[Embedded, random.Random], dict[str, float]]

pytestmark = pytest.mark.timeout(240)


def clock(seconds: float, *, restart: bool = False) -> Fault:
    """Let all clocks be off for a while, then right again, and then let drift begin; by nothing for comparison."""

    def strike(world: Embedded, rng: random.Random) -> dict[str, float]:
        world.wait_for(500)
        world.jump(seconds)
        world.wait_for(1_000)
        if restart:
            world.down(kill=rng.random() < 0.5)
        some_seconds(rng)
        world.jump(0.0)
        if restart:
            world.start()
        world.wait_for(500)
        assert world.incidents() == []
        world.drift()
        begun = time.monotonic()
        wait_until(lambda: bool(world.incidents()), "an incident", seconds=30)
        noticed = time.monotonic() - begun
        captured = world.stop()
        world.wait_counted(captured["captured"])
        by_the_app = not isinstance(
            world, OnServices
        )  # else the broker's clock tells when a record was appended
        assert world.said("has been set back to") == (by_the_app and seconds != 0)
        return {"captured": captured["captured"], "counted": world.counted(), "seconds_to_incident": noticed}

    return strike


def log_replaced_while_down(world: Embedded, rng: random.Random) -> dict[str, float]:
    """Another log stands where the old one was, and is longer than that."""
    world.wait_for(200 + rng.randrange(300))
    before = world.pause()["captured"]
    world.wait_counted(before)
    world.down(kill=rng.random() < 0.5)
    old = len(world.stored())
    world.lose_log()
    world.go_on()
    wait_until(lambda: len(world.stored()) > 2 * old, "a longer log", seconds=90)
    world.start()
    account = world.stop()
    world.wait_counted(account["captured"])
    told = 0 if isinstance(world, OnServices) else 1  # to whom sends to Kafka, a topic made anew is the same
    assert account["log_replaced"] == world.said(MOVED) == told
    assert world.said("detect: davy.inferences/0 of") == world.said("mine: davy.flags/0 of") == 1
    return {"captured": account["captured"], "counted": world.counted()}


def directory_removed(world: Embedded, rng: random.Random) -> dict[str, float]:
    """The whole directory goes away under the app and `davy up`."""
    world.wait_for(200 + rng.randrange(300))
    before = world.pause()["captured"]
    world.wait_counted(before)
    away = world.folder / "away"
    world.directory.rename(away)
    shutil.rmtree(away)
    world.go_on()
    wait_until(lambda: world.counted() > 0, "the count to begin anew", seconds=60)
    account = world.stop()
    world.wait_counted(account["captured"] - before)
    assert account["log_replaced"] == 1
    assert world.said(MOVED) == 3  # the app its log, `davy up` log and store
    return {"captured": account["captured"], "counted": world.counted(), "told_to_be_gone": before}


def log_moved_under_load(world: Embedded, rng: random.Random) -> dict[str, float]:
    """The log is moved away while the app and `davy up` are at it: what nobody counted lies in the old file."""
    world.wait_for(200)
    some_seconds(rng)
    away = world.folder / "away"
    away.mkdir()
    for path in sorted(world.directory.glob("log.db*")):
        path.rename(away / path.name)
    wait_until(lambda: world.said(MOVED) == 2, "both to notice", seconds=60)
    world.wait_for(300)
    account = world.stop()
    uncounted = rows_behind(world, away)
    world.wait_counted(account["captured"] - uncounted)
    assert sum(account["dropped"].values()) == 0
    return {"captured": account["captured"], "counted": world.counted(), "told_to_be_gone": uncounted}


def store_lost(world: Embedded, rng: random.Random) -> dict[str, float]:
    """The store is gone, the log is not; then everything is counted once more by command."""
    world.wait_for(200 + rng.randrange(300))
    world.down(kill=rng.random() < 0.5)
    world.lose_store()
    world.start()
    world.wait_for(300)
    captured = world.pause()["captured"]
    world.wait_counted(captured)
    (told,) = json.loads(world.davy("recount", "--model", MODEL, "--json"))
    assert told == {"model": MODEL, "before": captured, "now": captured, "gone": 0, "incidents": 0}
    world.go_on()
    account = world.stop()
    world.wait_counted(account["captured"])
    return {"captured": account["captured"], "counted": world.counted()}


FAULTS: dict[str, Fault] = {
    "none": clock(0.0),
    "clock +1 h": clock(HOUR),
    "clock -1 h": clock(-HOUR),
    "clock +8 h": clock(8 * HOUR),
    "clock +1 h, restart": clock(HOUR, restart=True),
    "log replaced while down": log_replaced_while_down,
    "log moved under load": log_moved_under_load,
    "directory removed": directory_removed,
    "store lost": store_lost,
}


ON_SERVICES = ("clock +1 h", "clock -1 h", "clock +1 h, restart", "log replaced while down", "store lost")


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("name", FAULTS)
def test_everything_is_counted_once_or_told(name: str, number: int, tmp_path: Path) -> None:
    with Embedded(tmp_path, seed=number) as world:
        world.fit()
        world.begin()
        write_down(name, FAULTS[name](world, random.Random(f"{name} {number}")))


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[*needs_brokers(), *LOCAL]) for name in ON_SERVICES]
)
def test_everything_is_counted_once_or_told_on_kafka_and_redis(
    name: str, number: int, kafka_broker: Cluster, tmp_path: Path
) -> None:
    with (
        RedisServer(tmp_path / "redis", appendonly="yes") as redis,
        OnServices(tmp_path, cluster=kafka_broker, redis=redis, seed=number) as world,
    ):
        world.fit()
        world.begin()
        write_down(f"{name}, on services", FAULTS[name](world, random.Random(f"{name} {number}")))


def rows_behind(world: Embedded, away: Path) -> int:
    """Return how many inferences of a log that is gone lie behind where it was read to."""
    from davy.codec import decode, load_any
    from davy.log import open_log

    log = open_log(f"sqlite:///{away}")
    name = log.identity("davy.inferences")
    with world.opened() as runtime:
        stored = load_any(runtime.store.get("positions", "detect/davy.inferences/0") or b"")
    offset = dict(stored)[name]
    behind = sum(decode(record.value).count for record in log.read("davy.inferences", 0, offset))
    log.close()
    return behind
