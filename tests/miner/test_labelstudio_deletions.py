"""A task that a person deletes ends its candidate; a list that leaves a task out for a moment does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.fake_labelstudio import FakeLabelStudio
from support.labelstudio_world import MODEL, World
from support.streams import sample

from davy.consume import Loop
from davy.errors import LabelError
from davy.event import Label
from davy.store import Batch
from davy_miner.labelstudio import LabelStudio
from davy_miner.labelstudio.deletions import Deletions
from davy_miner.worker import Item, Mine

pytestmark = pytest.mark.fast

RIGHT = ("verdict", "model correct")


def pushed(world: World, count: int) -> tuple[LabelStudio, list[str]]:
    ids = world.select(count)
    process = world.process()
    assert process.push() == count
    world.pass_time(400)  # past the overlap of two minutes: nothing is new
    assert world.pull(process) == []
    return process, ids


def delete(fake: FakeLabelStudio, *keys: str) -> None:
    for key in keys:
        (task,) = fake.tasks_of(key)
        del fake.tasks[task["id"]]


def told(labels: list[Label]) -> list[tuple[str, object, str]]:
    return [(label.candidate, label.answer, label.state) for label in labels]


def test_a_deleted_task_is_told_once_and_those_beside_it_are_not(fake: FakeLabelStudio, world: World) -> None:
    process, (gone, *_) = pushed(world, 5)
    delete(fake, gone)
    assert told(world.pull(process)) == [(gone, None, "deleted")]
    for _ in range(3):
        assert world.pull(process) == []


def test_the_miner_ends_its_candidate_counts_it_and_never_pushes_it_again(
    fake: FakeLabelStudio, world: World
) -> None:
    _, (gone, other) = pushed(world, 2)
    delete(fake, gone)
    settings = replace(world.settings, mine=replace(world.settings.mine, poll_seconds=0.0))
    runtime = replace(world.runtime(), settings=settings)
    role = Mine(runtime, world.process())
    loop: Loop[Item] = Loop(runtime, role)
    assert role.exchange is not None
    try:
        for _ in range(8):
            loop.step()
            role.exchange.pull.wait(10)
            role.exchange.push.wait(10)
    finally:
        role.exchange.close()
        loop.close()
    assert {key: one.state for key, one in world.candidates().items()} == {gone: "deleted", other: "pushed"}
    assert sample(runtime, "davy_candidates", model=MODEL, state="deleted") == 1
    assert sample(runtime, "davy_candidates", model=MODEL, state="pushed") == 1
    assert sample(runtime, "davy_labels_total", model=MODEL, verdict="deleted") == 1
    assert fake.tasks_of(gone) == []
    assert len(fake.tasks_of(other)) == 1


def test_a_list_that_leaves_tasks_out_is_not_believed(fake: FakeLabelStudio, world: World) -> None:
    process, ids = pushed(world, 5)
    fake.unlisted |= set(fake.tasks)
    for _ in range(3):
        assert world.pull(process) == []
    fake.unlisted.clear()
    delete(fake, ids[2])
    assert told(world.pull(process)) == [(ids[2], None, "deleted")]


def test_something_else_that_says_404_is_not_believed(fake: FakeLabelStudio, world: World) -> None:
    process, (key,) = pushed(world, 1)
    delete(fake, key)
    fake.lost = r"/api/tasks/\d+/"
    with pytest.raises(LabelError):
        process.pull(Batch())
    fake.lost = ""
    assert told(world.pull(process)) == [(key, None, "deleted")]


def test_a_project_that_is_gone_ends_no_candidate(fake: FakeLabelStudio, world: World) -> None:
    process, _ = pushed(world, 3)
    fake.tasks.clear()
    project = fake.projects.pop(1)
    assert world.pull(process) == []
    fake.projects[1] = project
    assert len(world.pull(process)) == 3


def test_many_deleted_tasks_are_found_with_a_dozen_requests_a_poll(
    fake: FakeLabelStudio, world: World
) -> None:
    process, ids = pushed(world, 55)  # more than one look
    delete(fake, *ids[::2])
    found: set[str] = set()
    for _ in range(5):
        before = len(fake.requests)
        found |= {label.candidate for label in world.pull(process)}
        assert len(fake.requests) - before <= 1 + 12  # what changed, and the look
    assert found == set(ids[::2])


def test_an_answer_that_was_read_stays_when_its_task_goes(fake: FakeLabelStudio, world: World) -> None:
    process, (key, other) = pushed(world, 2)
    (task,) = fake.tasks_of(key)
    fake.annotate(task["id"], RIGHT)
    assert told(world.pull(process)) == [(key, "0", "labelled")]
    delete(fake, key, other)
    assert told(world.pull(process)) == [(other, None, "deleted")]
    assert world.pull(process) == []


def test_a_deletion_comes_again_until_it_is_kept(fake: FakeLabelStudio, world: World) -> None:
    process, (key,) = pushed(world, 1)
    delete(fake, key)
    assert told(process.pull(Batch())) == [(key, None, "deleted")]
    assert told(world.pull(process)) == [(key, None, "deleted")]
    assert world.pull(process) == []


def test_a_second_task_of_the_candidate_keeps_it(fake: FakeLabelStudio, world: World) -> None:
    process, (key,) = pushed(world, 1)
    (task,) = fake.tasks_of(key)
    fake.import_directly(1, [{"data": task["data"]}])
    del fake.tasks[task["id"]]
    assert told(world.pull(process)) == []
    assert Deletions(world.store, process._tool).look() == []
