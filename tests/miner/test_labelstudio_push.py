"""Pushing: one task a candidate, one project a form, errors that say what to do."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import fromstring

import httpx
import numpy as np
import pytest
from support.fake_labelstudio import LEGACY_KEY, FakeLabelStudio
from support.labelstudio_world import BEGIN, MODEL, SECOND, SETTLE, Crash, Fuse, World

from davy import metrics
from davy.codec import dump
from davy.errors import LabelError
from davy.gateway.media import open_media
from davy.outputs import Answer, read
from davy.store import Batch
from davy_miner.candidates import CANDIDATES
from davy_miner.labelstudio import LabelStudio
from davy_miner.labelstudio.records import troubles_in

pytestmark = pytest.mark.fast


def imports(fake: FakeLabelStudio) -> int:
    return sum(path.endswith("/import") for _, path in fake.requests)


def test_every_selected_candidate_becomes_one_task_and_knows_it(fake: FakeLabelStudio, world: World) -> None:
    ids = world.select(120)
    waiting = world.select(5, first=500, state="waiting")
    assert world.process().push() == 120
    assert imports(fake) == 3
    for key in ids:
        (task,) = fake.tasks_of(key)
        found = world.candidates()[key]
        assert (found.state, found.task) == ("pushed", task["id"])
    assert [fake.tasks_of(key) for key in waiting] == [[]] * 5


def test_pushing_again_sends_nothing(fake: FakeLabelStudio, world: World) -> None:
    world.select(3)
    process = world.process()
    process.push()
    before = len(fake.requests)
    assert process.push() == 0
    assert world.process().push() == 0
    assert len(fake.requests) == before


def test_confirmed_tasks_are_counted_by_model(fake: FakeLabelStudio, world: World) -> None:
    world.select(2)
    world.select(1, first=7, model="digits:2")
    runtime = world.runtime()
    adapter = LabelStudio(runtime)
    assert adapter.push() == 3
    adapter.close()
    exposed = runtime.meter.exposition().decode()
    assert f'{metrics.TASKS.name}{{model="digits:1"}} 2.0' in exposed
    assert f'{metrics.TASKS.name}{{model="digits:2"}} 1.0' in exposed


def test_a_task_carries_what_an_annotator_and_an_auditor_need(fake: FakeLabelStudio, world: World) -> None:
    (key,) = world.select(1, first=3, incident="i7")
    world.process().push()
    (task,) = fake.tasks_of(key)
    data = task["data"]
    picture, media_type = open_media(world.runtime(), data.pop("image").rpartition("/")[2])
    assert (picture, media_type) == (b"\x89PNG 3", "image/png")
    assert data == {
        "candidate_id": key,
        "inference_id": (3).to_bytes(16, "big").hex(),
        "model": MODEL,
        "model_answer": "3",
        "confidence": 0.7,
        "score": 0.99,
        "detectors": "control, msp",
        "arm": "greedy",
        "incident": "i7",
        "captured_at": "2026-01-05T00:00:00.000+00:00",
    }
    (prediction,) = task["predictions"]
    assert (prediction["model_version"], prediction["score"]) == (MODEL, 0.7)
    assert prediction["result"][0]["value"] == {"choices": ["3"]}


def test_blind_tasks_show_nothing_of_the_models_answer(fake: FakeLabelStudio, world: World) -> None:
    (key,) = world.select(1, first=3)
    world.process(blind=True).push()
    (task,) = fake.tasks_of(key)
    assert task["predictions"] == []
    assert {"model_answer", "confidence"} & set(task["data"]) == set()
    (project,) = fake.projects.values()
    assert "verdict" not in project["label_config"]


def test_predictions_are_not_filled_in_for_annotators(fake: FakeLabelStudio, world: World) -> None:
    world.select(1)
    world.process().push()
    (project,) = fake.projects.values()
    assert project["show_collab_predictions"] is False


def test_a_project_has_a_short_title_and_is_found_again_by_its_marker(
    fake: FakeLabelStudio, world: World
) -> None:
    model = f"{'a-very-long-name' * 5}:1"
    world.select(1, model=model)
    project = world.process().project(model)
    assert len(fake.projects[project]["title"]) <= 50
    with World(fake) as elsewhere:
        elsewhere.select(1, model=model)
        assert elsewhere.process().project(model) == project
    assert len(fake.projects) == 1


def test_models_and_forms_have_projects_of_their_own(fake: FakeLabelStudio, world: World) -> None:
    world.select(1)
    world.select(1, first=1, model="digits:2")
    world.select(1, first=2, outputs={"value": 0.25})
    assert world.process().push() == 3
    assert len(fake.projects) == 3
    assert len({task["project"] for task in fake.tasks.values()}) == 3


def test_a_deleted_project_is_made_again(fake: FakeLabelStudio, world: World) -> None:
    world.select(1)
    process = world.process()
    first = process.project(MODEL)
    fake.projects[first] = fake.projects[first] | {"id": 99}
    fake.projects[99] = fake.projects.pop(first) | {"description": "somebody else's"}
    assert process.push() == 0
    (trouble,) = troubles_in(world.store)
    assert (trouble.model, "404" in trouble.reason) == (MODEL, True)
    world.pass_time(2)
    assert process.push() == 1
    assert troubles_in(world.store) == []
    assert len(fake.projects) == 2


def test_the_project_of_a_model_without_candidates_is_refused(world: World) -> None:
    with pytest.raises(LabelError, match="no candidate yet"):
        world.process().project("unknown:1")


def test_two_processes_at_once_end_with_one_project(fake: FakeLabelStudio, world: World) -> None:
    world.select(1)
    waiting, made = threading.Event(), threading.Event()

    def hold(method: str, path: str) -> None:
        if (method, path) == ("POST", "/api/projects/"):
            waiting.wait(5)

    def pause(_: float) -> None:
        waiting.set()
        made.wait(5)

    fake.before_answer = hold
    first = LabelStudio(world.runtime())
    second = LabelStudio(replace(world.runtime()), pause=pause)
    found: list[int] = []

    def make() -> None:
        found.append(first.project(MODEL))
        made.set()

    thread = threading.Thread(target=make)
    thread.start()
    while ("POST", "/api/projects/") not in fake.requests:
        assert thread.is_alive()
    found.append(second.project(MODEL))
    thread.join()
    first.close()
    second.close()
    assert len(fake.projects) == 1
    assert found[0] == found[1]


def test_while_one_process_pushes_another_leaves_it_alone(fake: FakeLabelStudio, world: World) -> None:
    ids = world.select(5)
    other: list[int] = []

    def meanwhile(_: str, path: str) -> None:
        if path.endswith("/import") and not other:
            other.append(world.process().push())

    fake.before_answer = meanwhile
    assert world.process().push() == 5
    assert other == [0]
    assert [len(fake.tasks_of(key)) for key in ids] == [1] * 5


def test_a_candidate_set_back_by_somebody_else_is_not_sent_twice(fake: FakeLabelStudio, world: World) -> None:
    (key,) = world.select(1)
    before = world.candidates()[key]
    world.process().push()
    world.store.apply(Batch().put(CANDIDATES.name, key, dump(before)))
    assert world.process().push() == 0
    assert len(fake.tasks_of(key)) == 1
    assert world.candidates()[key].state == "pushed"


def test_an_answer_read_back_before_the_task_is_confirmed_keeps_its_state(
    fake: FakeLabelStudio, world: World
) -> None:
    (key,) = world.select(1)
    with pytest.raises(Crash):
        world.process(Fuse(5, after=True)).push()
    stored = world.candidates()[key]
    assert (stored.state, len(fake.tasks_of(key))) == ("pushing", 1)
    world.store.apply(Batch().put(CANDIDATES.name, key, dump(replace(stored, state="labelled"))))
    world.pass_time(1000)
    world.process().push()
    found = world.candidates()[key]
    assert (found.state, found.task) == ("labelled", fake.tasks_of(key)[0]["id"])


def test_an_unsettled_batch_is_left_to_a_later_call(fake: FakeLabelStudio, world: World) -> None:
    ids = world.select(60)
    fake.vices.append("error before")
    process = world.process()
    assert process.push() == 0
    assert imports(fake) == 1, "with Label Studio in trouble nothing more is sent"
    states = [world.candidates()[key].state for key in ids]
    assert (states.count("pushing"), states.count("selected")) == (50, 10)
    world.pass_time(SETTLE - 1)
    assert process.push() == 10
    world.pass_time(1)
    assert process.push() == 50
    assert [len(fake.tasks_of(key)) for key in ids] == [1] * 60


def test_a_batch_sent_before_the_clock_was_set_back_is_settled_after_the_usual_wait(
    fake: FakeLabelStudio, world: World
) -> None:
    (key,) = world.select(1)
    fake.vices.append("error before")
    process = world.process()
    process.push()
    world.now -= 3600 * SECOND
    assert process.push() == 0
    world.pass_time(SETTLE - 1)
    assert process.push() == 0
    world.pass_time(1)
    assert process.push() == 1
    assert len(fake.tasks_of(key)) == 1


def test_what_was_stored_without_an_answer_is_adopted_at_once(fake: FakeLabelStudio, world: World) -> None:
    ids = world.select(10)
    fake.vices.append("reset after")
    assert world.process().push() == 10
    assert imports(fake) == 1
    assert [len(fake.tasks_of(key)) for key in ids] == [1] * 10


def test_one_refused_task_does_not_hold_up_the_others(fake: FakeLabelStudio, world: World) -> None:
    (bad,) = world.select(1)
    good = world.select(6, first=1)
    fake.refuse.add(bad)
    assert world.process().push() == 6
    assert [len(fake.tasks_of(key)) for key in good] == [1] * 6
    found = world.candidates()[bad]
    assert (found.state, found.owed) == ("unlabellable", True)
    assert "refused with 400: Validation error; non_field_errors: Error at item 0" in found.reason
    assert fake.tasks_of(bad) == []


@pytest.mark.parametrize(
    ("fields", "told", "cause"),
    [
        ({"inference": b"damaged"}, "cannot be read", "damaged"),
        ({"picture": None, "inputs": {}}, "nothing a person can look at", "nothing to see"),
        ({"picture": None, "inputs": {"x": None}}, "nothing a person can look at", "nothing to see"),
        ({"picture": None, "inputs": {"x": b"\x00\x01"}}, "nothing a person can look at", "nothing to see"),
        ({"outputs": {}}, "outputs", "no answer"),
    ],
)
def test_what_cannot_become_a_task_is_set_aside_by_name_and_all_others_are_pushed(
    world: World, fields: dict[str, object], told: str, cause: str, spared: pytest.LogCaptureFixture
) -> None:
    bad = world.select(2, **fields)
    good = world.select(3, first=2)
    runtime = world.runtime()
    adapter = LabelStudio(runtime)
    assert adapter.push() == 3
    assert adapter.push() == 0
    adapter.close()
    assert {world.candidates()[key].state for key in good} == {"pushed"}
    for key in bad:
        found = world.candidates()[key]
        assert (found.state, found.owed) == ("unlabellable", True)
        assert told in found.reason
        assert found.reason
    exposed = runtime.meter.exposition().decode()
    assert f'{metrics.UNLABELLABLE.name}{{cause="{cause}",model="digits:1"}} 2.0' in exposed
    assert len([one for one in spared.records if one.levelname == "WARNING"]) == 1


def test_whatever_goes_wrong_with_one_task_sets_aside_that_one(
    fake: FakeLabelStudio, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(outputs: Any) -> Answer:
        if outputs["label"] == 1:
            raise ZeroDivisionError("one")
        return read(outputs)

    monkeypatch.setattr("davy_miner.labelstudio.task_data.read", fail)
    ids = world.select(3)
    assert world.process().push() == 2
    found = world.candidates()
    assert {key: found[key].reason for key in ids if found[key].state == "unlabellable"} == {
        ids[1]: "ZeroDivisionError: one"
    }


def test_a_model_whose_project_cannot_be_made_holds_up_no_other(fake: FakeLabelStudio, world: World) -> None:
    fake.refuse_titles.add("Davy aaa:1 · image-classification")
    (bad,) = world.select(1, model="aaa:1")
    ids = world.select(3, first=1)
    process = world.process()
    assert process.push() == 3
    assert [len(fake.tasks_of(key)) for key in ids] == [1] * 3
    assert world.candidates()[bad].state == "selected"
    (trouble,) = troubles_in(world.store)
    assert (trouble.model, trouble.attempts) == ("aaa:1", 1)
    before = len(fake.requests)
    assert process.push() == 0
    assert len(fake.requests) == before, "it rests"
    world.pass_time(2)
    process.push()
    assert troubles_in(world.store)[0].attempts == 2
    fake.refuse_titles.clear()
    world.pass_time(4)
    assert process.push() == 1
    assert troubles_in(world.store) == []


def test_a_model_that_gets_no_answer_holds_up_no_other(fake: FakeLabelStudio, world: World) -> None:
    def lose(method: str, path: str) -> None:
        if (method, path) == ("POST", "/api/projects/"):
            fake.before_answer = None
            raise ConnectionAbortedError

    fake.before_answer = lose
    world.select(1, model="aaa:1")
    world.select(1, first=1)
    assert world.process().push() == 1
    (trouble,) = troubles_in(world.store)
    (task,) = fake.tasks.values()
    assert {trouble.model, task["data"]["model"]} == {"aaa:1", MODEL}
    assert "gave no answer" in trouble.reason


def test_twenty_lists_of_classes_make_one_project_whose_list_has_them_all(
    fake: FakeLabelStudio, world: World
) -> None:
    for number in range(20):
        outputs = {"probs": np.array([0.9, 0.1]), "class_names": [f"class {number}", "other"]}
        world.select(1, first=number, outputs=outputs)
        if number % 5 == 0:
            assert world.process().push() in {1, 5}
    world.process().push()
    (project,) = fake.projects.values()
    assert len(fake.tasks) == 20
    assert set(offered(project["label_config"])) == {"other", *(f"class {number}" for number in range(20))}


def test_a_model_that_sends_labels_only_offers_the_classes_seen_so_far(
    fake: FakeLabelStudio, world: World
) -> None:
    for number, label in enumerate(["cat", "dog", "cat", "cow"]):
        world.select(1, first=number, outputs={"label": label})
        assert world.process().push() == 1
    (project,) = fake.projects.values()
    assert offered(project["label_config"]) == ["cat", "dog", "cow"]
    assert "another" in project["label_config"]


def test_a_class_that_comes_later_changes_nothing_its_owner_did_to_the_form(
    fake: FakeLabelStudio, world: World
) -> None:
    world.select(1, outputs={"label": "cat"})
    process = world.process()
    process.push()
    by_hand = '<Choice value="by hand" hotkey="z" background="red" /><Choice value="cat"'
    config = fake.projects[1]["label_config"].replace('<Choice value="cat"', by_hand)
    fake.projects[1]["label_config"] = config.replace("Which is it?", "Was ist es?")
    world.select(1, first=1, outputs={"label": "dog"})
    assert process.push() == 1
    found = fake.projects[1]["label_config"]
    assert offered(found) == ["by hand", "cat", "dog"]
    assert 'hotkey="z" background="red"' in found
    assert "Was ist es?" in found


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", [1, 2])
def test_a_crash_while_the_list_of_classes_grows_is_made_up_for(
    fake: FakeLabelStudio, world: World, step: int, after: bool
) -> None:
    world.select(1, outputs={"label": "cat"})
    world.process().push()
    world.select(1, first=1, outputs={"label": "dog"})
    with pytest.raises(Crash):
        world.process(Fuse(step, after)).push()
    world.pass_time(SETTLE)
    world.process().push()
    assert offered(fake.projects[1]["label_config"]) == ["cat", "dog"]
    assert len(fake.tasks) == 2


def offered(config: str) -> list[str]:
    """The classes of a form, in order."""
    found = fromstring(config).findall(".//Choices[@name='answer']/Choice")
    return [str(choice.get("value")) for choice in found]


def test_the_fake_stores_what_is_sent_twice_twice_as_the_real_one_does(
    fake: FakeLabelStudio, world: World
) -> None:
    (key,) = world.select(1)
    world.process().push()
    (task,) = fake.tasks_of(key)
    answer = httpx.post(
        f"{fake.url}/api/projects/{task['project']}/import",
        json=[{"data": task["data"]}],
        headers={"Authorization": f"Token {LEGACY_KEY}"},
    )
    assert answer.status_code == 201
    assert len(fake.tasks_of(key)) == 2


def test_scores_are_finite_numbers(fake: FakeLabelStudio, world: World) -> None:
    world.select(1, scores={})
    world.process().push()
    (task,) = fake.tasks.values()
    assert math.isfinite(task["data"]["score"])
    assert world.now == BEGIN
