"""Pulling: every answer, edit, skip and withdrawal comes back; progress is kept by the caller's transaction."""

from __future__ import annotations

import pytest
from support.fake_labelstudio import FakeLabelStudio
from support.labelstudio_world import MODEL, World

from davy.event import Label
from davy.store import Batch
from davy_miner.decision import decide
from davy_miner.labelstudio import LabelStudio

pytestmark = pytest.mark.fast

RIGHT = ("verdict", "model correct")
WRONG = ("verdict", "model wrong")
UNCLEAR = ("verdict", "unclear")


def pushed(world: World, count: int) -> tuple[LabelStudio, list[str]]:
    """Push candidates 0, 1, …; candidate `i` is one whose model answered ``i % 10``."""
    ids = world.select(count)
    process = world.process()
    process.push()
    return process, ids


def task_of(fake: FakeLabelStudio, key: str) -> int:
    (task,) = fake.tasks_of(key)
    return int(task["id"])


def told(labels: list[Label]) -> list[tuple[str, object, str]]:
    return [(label.candidate, label.answer, label.state) for label in labels]


def test_verdicts_become_answers(fake: FakeLabelStudio, world: World) -> None:
    process, (right, wrong, unclear) = pushed(world, 3)
    fake.annotate(task_of(fake, right), RIGHT, seconds=1.5)
    fake.annotate(task_of(fake, wrong), WRONG, ("answer", "7"))
    fake.annotate(task_of(fake, unclear), UNCLEAR)
    labels = world.pull(process)
    assert told(labels) == [
        (right, "0", "labelled"),
        (wrong, "7", "labelled"),
        (unclear, None, "skipped"),
    ]
    first = labels[0]
    assert (first.inference_id, first.model, first.annotator, first.seconds) == (bytes(16), MODEL, "7", 1.5)


def test_a_blind_answer_is_the_class_itself(fake: FakeLabelStudio, world: World) -> None:
    (key,) = world.select(1)
    process = world.process(blind=True)
    process.push()
    fake.annotate(task_of(fake, key), ("answer", "4"))
    assert told(world.pull(process)) == [(key, "4", "labelled")]


def test_a_skip_has_no_answer(fake: FakeLabelStudio, world: World) -> None:
    process, (key,) = pushed(world, 1)
    fake.annotate(task_of(fake, key), skip=True)
    assert told(world.pull(process)) == [(key, None, "skipped")]


def test_what_was_read_is_not_read_again(fake: FakeLabelStudio, world: World) -> None:
    process, (key, other) = pushed(world, 2)
    fake.annotate(task_of(fake, key), RIGHT)
    assert len(world.pull(process)) == 1
    fake.annotate(task_of(fake, other), RIGHT)
    assert told(world.pull(process)) == [(other, "1", "labelled")]
    assert world.pull(process) == []
    assert world.pull(world.process()) == []


def test_an_edit_is_a_later_revision(fake: FakeLabelStudio, world: World) -> None:
    process, (key,) = pushed(world, 1)
    annotation = fake.annotate(task_of(fake, key), RIGHT)
    (first,) = world.pull(process)
    fake.edit(annotation, WRONG, ("answer", "9"))
    (second,) = world.pull(process)
    assert second.answer == "9"
    assert second.revision > first.revision


def test_a_withdrawn_answer_is_told_and_can_be_given_again(fake: FakeLabelStudio, world: World) -> None:
    process, (key,) = pushed(world, 1)
    labels = []
    annotation = fake.annotate(task_of(fake, key), RIGHT)
    labels += world.pull(process)
    fake.withdraw(annotation)
    labels += world.pull(process)
    fake.annotate(task_of(fake, key), WRONG, ("answer", "3"))
    labels += world.pull(process)
    assert told(labels) == [(key, "0", "labelled"), (key, None, "deleted"), (key, "3", "labelled")]
    revisions = [label.revision for label in labels]
    assert revisions == sorted(set(revisions))


def test_of_two_answers_the_one_that_is_left_counts_again(fake: FakeLabelStudio, world: World) -> None:
    process, (key,) = pushed(world, 1)
    fake.annotate(task_of(fake, key), RIGHT)
    second = fake.annotate(task_of(fake, key), WRONG, ("answer", "3"))
    labels = world.pull(process)
    assert told(labels) == [(key, "0", "labelled"), (key, "3", "labelled")]
    fake.withdraw(second)
    labels += world.pull(process)
    assert told(labels[2:]) == [(key, None, "deleted")]
    decision = decide(labels)
    assert decision is not None
    assert decision.label == labels[0]


def test_the_verdict_a_person_gave_comes_back_with_the_answer(fake: FakeLabelStudio, world: World) -> None:
    process, (right, wrong, unclear, no_class) = pushed(world, 4)
    fake.annotate(task_of(fake, right), RIGHT)
    fake.annotate(task_of(fake, wrong), WRONG, ("answer", "7"))
    fake.annotate(task_of(fake, unclear), UNCLEAR)
    fake.annotate(task_of(fake, no_class), WRONG)
    assert [(label.candidate, label.verdict, label.answer, label.state) for label in world.pull(process)] == [
        (right, "correct", "0", "labelled"),
        (wrong, "wrong", "7", "labelled"),
        (unclear, "unclear", None, "skipped"),
        (no_class, "wrong", None, "labelled"),
    ]


def test_one_persons_withdrawal_leaves_what_another_says(fake: FakeLabelStudio, world: World) -> None:
    process, (key,) = pushed(world, 1)
    first = fake.annotate(task_of(fake, key), RIGHT, user=7)
    fake.annotate(task_of(fake, key), skip=True, user=8)
    labels = world.pull(process)
    assert decide(labels).state == "labelled"  # type: ignore[union-attr]
    fake.withdraw(first)
    labels += world.pull(process)
    assert decide(labels).state == "skipped"  # type: ignore[union-attr]


def test_answers_beyond_one_page_all_come_back(fake: FakeLabelStudio, world: World) -> None:
    process, ids = pushed(world, 250)
    for key in ids:
        fake.annotate(task_of(fake, key), RIGHT)
    labels = world.pull(process)
    assert {label.candidate for label in labels} == set(ids)
    assert len(labels) == 250


def test_a_task_annotated_while_pages_are_read_hides_no_other(fake: FakeLabelStudio, world: World) -> None:
    process, ids = pushed(world, 250)
    for key in ids:
        fake.annotate(task_of(fake, key), RIGHT)
    pages: list[str] = []

    def annotate_once_more(method: str, path: str) -> None:
        if path == "/api/tasks/":
            pages.append(path)
            for key in ids[:50] if len(pages) == 2 else []:
                fake.annotate(task_of(fake, key), WRONG, ("answer", "5"))

    fake.before_answer = annotate_once_more
    answers = {label.candidate: label.answer for label in world.pull(process)}
    assert set(answers) == set(ids)
    assert [answers[key] for key in ids[:50]] == ["5"] * 50


def test_more_tasks_of_one_moment_than_a_page_holds_all_come_back(
    fake: FakeLabelStudio, world: World
) -> None:
    process, ids = pushed(world, 250)
    for key in ids:
        fake.annotate(task_of(fake, key), RIGHT)
    for task in fake.tasks.values():
        task["updated_at"] = "2026-01-05T01:00:00.000000Z"
    assert {label.candidate for label in world.pull(process)} == set(ids)


def test_progress_is_kept_only_by_the_callers_transaction(fake: FakeLabelStudio, world: World) -> None:
    process, (key,) = pushed(world, 1)
    fake.annotate(task_of(fake, key), RIGHT)
    lost = Batch()
    first = process.pull(lost)
    assert lost.operations
    assert process.pull(Batch()) == first
    assert world.pull(process) == first
    assert world.pull(process) == []


def test_a_task_that_became_visible_late_is_still_read(fake: FakeLabelStudio, world: World) -> None:
    process, (late, other) = pushed(world, 2)
    fake.annotate(task_of(fake, late), RIGHT)
    fake.unlisted.add(task_of(fake, late))
    fake.advance(100)
    fake.annotate(task_of(fake, other), RIGHT)
    assert told(world.pull(process)) == [(other, "1", "labelled")]
    fake.unlisted.clear()
    assert told(world.pull(process)) == [(late, "0", "labelled")]


def test_tasks_long_done_are_not_asked_for_again(fake: FakeLabelStudio, world: World) -> None:
    process, ids = pushed(world, 150)
    for key in ids:
        fake.annotate(task_of(fake, key), RIGHT)
    fake.advance(1000)
    (latest,) = world.select(1, first=150)
    process.push()
    fake.annotate(task_of(fake, latest), RIGHT)
    assert len(world.pull(process)) == 151
    before = len(fake.requests)
    assert world.pull(process) == []
    assert len(fake.requests) == before + 1


def test_other_peoples_tasks_are_left_alone(fake: FakeLabelStudio, world: World) -> None:
    process, _ = pushed(world, 1)
    strange = fake.import_directly(
        1, [{"data": {"image": "x"}}, {"data": {"image": "x", "candidate_id": "unknown"}}]
    )
    for task in strange:
        fake.annotate(task, RIGHT)
    assert world.pull(process) == []
    assert set(strange) <= set(fake.tasks)


def test_an_annotation_of_another_form_counts_as_skipped(
    fake: FakeLabelStudio, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    process, (key,) = pushed(world, 1)
    fake.annotate(task_of(fake, key), ("mood", "sunny"))
    assert told(world.pull(process)) == [(key, None, "skipped")]
    assert key in caplog.text
