"""What can go wrong with a deployment: each breaks something for a while, in its own way every time."""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Callable
from contextlib import closing
from typing import Final, TypeAlias

from davy.demo.processes import free_port, wait_until
from davy.event import INFERENCES
from davy.log import Message
from support.deployment import Deployment
from support.kafka_server import Broker

Fault: TypeAlias = Callable[[Deployment, random.Random], None]


def kill_broker(world: Deployment, rng: random.Random) -> None:
    """Kill a broker, with the partitions it leads, and start it again."""
    broker = rng.choice(world.cluster.brokers)
    broker.kill()
    time.sleep(rng.uniform(0.5, 3.0))
    broker.start()
    broker.wait()


def move_leader(world: Deployment, rng: random.Random) -> None:
    """Let other brokers lead the partitions of the inferences, all of them alive."""
    from kafka import KafkaAdminClient, TopicPartition

    topic = f"{world.prefix}.{INFERENCES}"
    with closing(KafkaAdminClient(bootstrap_servers=world.cluster.servers)) as admin:
        (found,) = admin.describe_topics([topic])
        orders = {}
        for part in found["partitions"]:
            copies = list(part["replica_nodes"])
            copies.remove(part["leader_id"])
            rng.shuffle(copies)
            orders[TopicPartition(topic, part["partition_index"])] = [*copies, part["leader_id"]]
        refused = {
            place: error for place, error in admin.alter_partition_reassignments(orders).items() if error
        }
        assert not refused, refused
        led = {place.partition: order[0] for place, order in orders.items()}

        def moved() -> bool:
            # Asked for again: a broker that came back leads nothing before it has caught up.
            admin.elect_leaders(0, {topic: list(led)}, raise_errors=False)
            (now,) = admin.describe_topics([topic])
            return {part["partition_index"]: part["leader_id"] for part in now["partitions"]} == led

        wait_until(moved, "the leaders to have moved", seconds=30)


def cut_network(world: Deployment, rng: random.Random) -> None:
    """Cut the app and the roles off from one broker, from all brokers, or from Redis."""
    networks = [broker.network for broker in world.cluster.brokers]
    cut = rng.choice([networks[:1], networks, [world.network]])
    for network in cut:
        network.cut()
    time.sleep(rng.uniform(1.0, 4.0))
    for network in cut:
        network.mend()


def restart_redis(world: Deployment, rng: random.Random) -> None:
    """Kill Redis and start it again with what its append-only file holds."""
    primary = world.servers[0]
    primary.kill()
    time.sleep(rng.uniform(0.0, 2.0))
    primary.start()


def fail_redis_over(world: Deployment, rng: random.Random) -> None:
    """Kill Redis and promote its replica, which may lack the last writes; the old one becomes the replica."""
    world.servers[0].kill()
    time.sleep(rng.uniform(0.0, 1.0))
    world.servers.reverse()
    with closing(world.servers[0].client()) as client:
        client.replicaof("NO", "ONE")
    world.network.lead_to(world.servers[0].port)
    world.servers[1].start()
    world.follow(world.servers[1], world.servers[0])


def kill_worker(world: Deployment, rng: random.Random) -> None:
    """Kill roles at random moments, one after the other, and start each again."""
    for _ in range(2):
        time.sleep(rng.uniform(0.0, 1.0))
        role = world.roles[rng.choice(list(world.roles))]
        role.kill()
        role.start()


def storm(world: Deployment, rng: random.Random) -> None:
    """Let a third detect process join and leave every second, in order or killed."""
    third = world.role("detect-3", free_port())
    for _ in range(3):
        third.start()
        time.sleep(rng.uniform(0.7, 1.3))
        if rng.random() < 0.5:
            third.kill()
        else:
            third.stop()


def fill_disk(world: Deployment, rng: random.Random) -> None:
    """Let a broker's disk take no more, which ends the broker, or Redis's memory, which then refuses writes."""
    if rng.random() < 0.5:
        _fill_broker(rng.choice(world.cluster.brokers))
        return
    with closing(world.servers[0].client()) as client:
        client.config_set("maxmemory", 1_000_000)
        time.sleep(rng.uniform(1.0, 3.0))
        client.config_set("maxmemory", 0)


def _fill_broker(broker: Broker) -> None:
    resource.prlimit(broker.process, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    deadline = time.monotonic() + 10
    while broker.runs and time.monotonic() < deadline:
        time.sleep(0.05)
    broker.kill()  # one that had nothing to write
    broker.start()
    broker.wait()


def jump_clocks(world: Deployment, rng: random.Random) -> None:
    """Set the clock of the app, or of a role, an hour ahead or back, for a while."""
    process = rng.choice([world.app, *world.roles.values()])
    process.jump(rng.choice([-3600.0, 3600.0, -20.0, 20.0]))
    time.sleep(rng.uniform(1.0, 3.0))
    process.jump(0.0)


def poison(world: Deployment, rng: random.Random) -> None:
    """Put records among the inferences that nobody can read."""
    with world.looking() as runtime, closing(runtime.log.producer()) as producer:
        for _ in range(5):
            garbage = [b"\x00", b"\xc1", os.urandom(rng.randint(1, 300))]
            world.poisoned += len(garbage)
            producer.append([Message(INFERENCES, f"poison:{rng.random()}", value) for value in garbage])
            time.sleep(rng.uniform(0.0, 0.3))


FAULTS: Final[dict[str, Fault]] = {
    "broker killed": kill_broker,
    "leader moved": move_leader,
    "network cut": cut_network,
    "redis restarted": restart_redis,
    "redis failed over": fail_redis_over,
    "worker killed": kill_worker,
    "rebalance storm": storm,
    "disk full": fill_disk,
    "clock jumps": jump_clocks,
    "poison records": poison,
}
