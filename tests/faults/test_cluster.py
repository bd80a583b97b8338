"""A whole deployment on three brokers and Redis, broken in ten ways: nothing is lost, nothing counts twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.breaking import FAULTS
from support.deployment import Deployment
from support.fake_labelstudio import VICES, FakeLabelStudio
from support.kafka_server import Cluster, needs_brokers
from support.labelling_tools import FakeTool, RealTool
from support.labelstudio_server import needs_label_studio
from support.redis_server import LOCAL
from support.rounds import ROUNDS, write_down
from support.streams import MODEL

from davy_miner.labelstudio import LocalLabelStudio

COUNT, SECONDS = 400, 2.0

pytestmark = [pytest.mark.timeout(300 + 60 * ROUNDS), *needs_brokers(), *LOCAL]


SCOPE = "module" if ROUNDS == 1 else "function"
"""Faults that strike once share a deployment; those that strike often have one each, whose log stays short."""


@pytest.fixture(scope=SCOPE)
def fake() -> Iterator[FakeLabelStudio]:
    with FakeLabelStudio() as started:
        yield started


@pytest.fixture(scope=SCOPE)
def world(
    fake: FakeLabelStudio, shared_kafka_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    with Deployment(shared_kafka_cluster, folder, FakeTool(fake)) as deployed:
        yield deployed


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_changes_nothing_but_the_time(name: str, world: Deployment, fake: FakeLabelStudio) -> None:
    rng = random.Random(name)
    for _ in range(ROUNDS):
        fake.vices.extend(rng.sample(VICES, 2))
        world.capture(COUNT, SECONDS, shifted=world.asked // COUNT % 4 == 2)
        FAULTS[name](world, rng)
        account = world.app.account()
        seconds = world.rest(account["sent"])
        seen = world.check(account)
        assert seen["dropped"] == 0  # every fault is shorter than the queue is long
        write_down(name, {**seen, "seconds_to_rest": round(seconds, 1)})


@pytest.mark.parametrize("tool", [pytest.param("real", marks=needs_label_studio())])
def test_a_real_label_studio_holds_one_task_a_candidate_when_workers_are_killed(
    tool: str, labelstudio: LocalLabelStudio, kafka_cluster: Cluster, tmp_path: Path
) -> None:
    rng = random.Random(tool)
    with Deployment(kafka_cluster, tmp_path, RealTool(labelstudio, MODEL)) as world:
        for _ in range(2):
            world.capture(COUNT, SECONDS)
            FAULTS["worker killed"](world, rng)
            account = world.app.account()
            world.rest(account["sent"])
            assert world.check(account)["tasks"] > 0
