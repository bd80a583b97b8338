"""Exactly one task a candidate, whatever is lost, times out or crashes at whatever step."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fake_labelstudio import VICES, FakeLabelStudio
from support.labelstudio_world import MODEL, SETTLE, Crash, Fuse, World

from davy.errors import DavyError

FIRST_PUSH = 6
"""Changes one push makes: project asked for, made, written down; batch written down, sent, confirmed."""
LATER_PUSH = 3
"""The last three of them."""


def assert_one_task_each(fake: FakeLabelStudio, world: World, ids: list[str]) -> None:
    for key in ids:
        (task,) = fake.tasks_of(key)
        found = world.candidates()[key]
        assert (found.state, found.task) == ("pushed", task["id"])
    assert len(fake.projects) == 1


@pytest.mark.parametrize("after", [False, True], ids=["crash-before", "crash-after"])
@pytest.mark.parametrize("step", range(1, FIRST_PUSH + 1))
def test_one_task_each_after_a_crash_at_every_step(step: int, after: bool) -> None:
    with FakeLabelStudio() as fake, World(fake) as world:
        ids = world.select(3)
        with pytest.raises(Crash):
            world.process(Fuse(step, after)).push()
        world.pass_time(SETTLE)
        world.until_quiet()
        assert_one_task_each(fake, world, ids)


@pytest.mark.parametrize("after", [False, True], ids=["crash-before", "crash-after"])
@pytest.mark.parametrize("step", range(1, LATER_PUSH + 1))
@pytest.mark.parametrize("vice", VICES)
def test_one_task_each_after_a_fault_and_a_crash_at_every_step(vice: str, step: int, after: bool) -> None:
    with FakeLabelStudio() as fake, World(fake) as world:
        ids = world.select(1)
        world.process().push()
        ids += world.select(3, first=1)
        fake.vices.append(vice)
        try:
            world.process(Fuse(step, after)).push()
        except Crash:
            world.pass_time(SETTLE / 2)
        fake.commit_late()
        world.pass_time(SETTLE)
        world.until_quiet()
        assert_one_task_each(fake, world, ids)


def test_a_push_has_the_steps_these_tests_crash_at() -> None:
    with FakeLabelStudio() as fake, World(fake) as world:
        steps = []
        for first in (0, 3):
            world.select(3, first=first)
            fuse = Fuse()
            world.process(fuse).push()
            steps.append(fuse.steps)
        assert steps == [FIRST_PUSH, LATER_PUSH]


@pytest.mark.parametrize("step", range(1, LATER_PUSH + 2))
def test_one_task_each_when_an_import_is_stored_long_after_it_was_sent_again(step: int) -> None:
    with FakeLabelStudio() as fake, World(fake) as world:
        ids = world.select(3)
        fake.vices.append("commit late")
        assert world.process().push() == 0
        world.pass_time(2 * SETTLE)
        try:
            world.process(Fuse(step)).push()
        except Crash:
            world.pass_time(SETTLE)
        world.process().push()
        assert fake.commit_late() == 3
        assert [len(fake.tasks_of(key)) for key in ids] == [2, 2, 2]
        world.until_quiet()
        assert_one_task_each(fake, world, ids)


@pytest.mark.fast
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_sweep_that_crashes_is_finished_by_the_next_push(step: int, after: bool) -> None:
    with FakeLabelStudio() as fake, World(fake) as world:
        ids = world.select(2)
        world.process().push()
        fake.import_directly(1, [task for key in ids for task in fake.tasks_of(key)])
        world.pull(world.process())
        with pytest.raises(Crash):
            world.process(Fuse(step, after)).push()
        world.pass_time(SETTLE)
        world.until_quiet()
        assert_one_task_each(fake, world, ids)


@pytest.mark.fast
def test_of_several_tasks_the_annotated_one_stays_and_annotated_ones_are_never_deleted() -> None:
    with FakeLabelStudio() as fake, World(fake) as world:
        first, second, third = world.select(3)
        world.process().push()
        copies = {key: fake.import_directly(1, fake.tasks_of(key) * 2) for key in (first, second, third)}
        lowest = {key: fake.tasks_of(key)[0]["id"] for key in copies}
        fake.annotate(copies[second][1], ("verdict", "model correct"))
        fake.annotate(lowest[third], ("verdict", "model correct"))
        fake.annotate(copies[third][0], ("verdict", "model correct"))
        world.until_quiet()
        kept = {key: [task["id"] for task in fake.tasks_of(key)] for key in copies}
        assert kept == {
            first: [lowest[first]],
            second: [copies[second][1]],
            third: [lowest[third], copies[third][0]],
        }
        assert {key: world.candidates()[key].task for key in copies} == {key: kept[key][0] for key in copies}


@pytest.mark.fast
def test_a_process_that_lost_its_lease_writes_nothing() -> None:
    with FakeLabelStudio() as fake, World(fake) as world:
        ids = world.select(4)
        slow, later = world.process(), world.process()

        def stall(_: str, path: str) -> None:
            if path.endswith("/import"):
                fake.before_answer = None
                world.pass_time(10 * SETTLE)
                later.push()

        fake.before_answer = stall
        slow.push()
        world.until_quiet()
        assert_one_task_each(fake, world, ids)


fault = st.one_of(
    st.tuples(st.just("vice"), st.sampled_from(VICES)),
    st.tuples(st.just("crash"), st.integers(1, FIRST_PUSH), st.booleans()),
    st.tuples(st.just("push")),
    st.tuples(st.just("pull")),
    st.tuples(st.just("commit late")),
    st.tuples(st.just("select"), st.integers(1, 3)),
    st.tuples(st.just("wait"), st.sampled_from([1.0, SETTLE / 2, SETTLE, 5 * SETTLE])),
)


@settings(max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(fault, min_size=3, max_size=12))
def test_random_sequences_of_faults_end_with_one_task_each(faults: list[tuple[object, ...]]) -> None:
    with FakeLabelStudio() as fake, World(fake, batch=2, timeout_seconds=0.25) as world:
        ids = world.select(3)
        for step in faults:
            suffer(fake, world, ids, step)
        fake.vices.clear()
        world.pass_time(SETTLE)
        world.process().push()
        fake.commit_late()
        world.until_quiet()
        assert_one_task_each(fake, world, ids)


def suffer(fake: FakeLabelStudio, world: World, ids: list[str], step: tuple[object, ...]) -> None:
    """Let one thing go wrong or right."""
    try:
        match step:
            case ("vice", str(vice)):
                fake.vices.append(vice)
            case ("crash", int(number), bool(after)):
                world.process(Fuse(number, after)).push()
            case ("push",):
                world.process().push()
            case ("pull",):
                world.pull(world.process())
            case ("commit late",):
                fake.commit_late()
            case ("select", int(count)):
                ids += world.select(count, first=len(ids))
            case ("wait", float(seconds)):
                world.pass_time(seconds)
    except (Crash, DavyError):
        return


@pytest.mark.fast
def test_a_project_asked_for_without_an_answer_is_not_asked_for_twice() -> None:
    with FakeLabelStudio() as fake, World(fake) as world:
        world.select(1)

        def lose(method: str, path: str) -> None:
            if (method, path) == ("POST", "/api/projects/"):
                fake.before_answer = None
                raise ConnectionAbortedError

        fake.before_answer = lose
        with pytest.raises(DavyError, match="gave no answer"):
            world.process().project(MODEL)
        with pytest.raises(DavyError, match="try again in 120 s"):
            world.process().project(MODEL)
        world.pass_time(SETTLE)
        world.process().project(MODEL)
        assert len(fake.projects) == 1
