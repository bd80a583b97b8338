"""Pushing: one task a candidate, one project a form, errors that say what to do."""

from __future__ import annotations

import logging
import math
import threading
from dataclasses import replace

import httpx
import numpy as np
import pytest
from fake_labelstudio import LEGACY_KEY, FakeLabelStudio
from labelstudio_world import BEGIN, MODEL, SECOND, SETTLE, Crash, Fuse, World

from davy import metrics
from davy.codec import dump
from davy.errors import LabelError, SettingError
from davy.gateway.media import open_media
from davy.store import Batch
from davy_miner.candidates import COLLECTION
from davy_miner.labelstudio import LabelStudio

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


def test_models_and_numbers_of_classes_have_projects_of_their_own(
    fake: FakeLabelStudio, world: World
) -> None:
    world.select(1)
    world.select(1, first=1, model="digits:2")
    world.select(1, first=2, outputs={"probs": np.array([0.2, 0.8])})
    assert world.process().push() == 3
    assert len(fake.projects) == 3
    assert len({task["project"] for task in fake.tasks.values()}) == 3


def test_a_deleted_project_is_made_again(fake: FakeLabelStudio, world: World) -> None:
    world.select(1)
    process = world.process()
    first = process.project(MODEL)
    fake.projects[first] = fake.projects[first] | {"id": 99}
    fake.projects[99] = fake.projects.pop(first) | {"description": "somebody else's"}
    with pytest.raises(LabelError, match="404"):
        process.push()
    assert process.push() == 1
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
    world.store.apply(Batch().put(COLLECTION, key, dump(before)))
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
    world.store.apply(Batch().put(COLLECTION, key, dump(replace(stored, state="labelled"))))
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
    with pytest.raises(LabelError, match="refused with 400"):
        world.process().push()
    assert [len(fake.tasks_of(key)) for key in good] == [1] * 6
    assert world.candidates()[bad].state == "selected"
    assert fake.tasks_of(bad) == []


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"outputs": {"value": 3.0}}, "only classifications"),
        ({"inference": b"damaged"}, "cannot be read"),
        (
            {"picture": None, "inputs": {"volume": np.zeros((3, 5, 7), dtype=np.float32)}},
            "nothing a person can look",
        ),
        ({"outputs": {"probs": np.array([0.5, 0.5]), "label": "cat"}}, "name the classes"),
        ({"outputs": {"probs": np.array([0.5, 0.5]), "class_names": ["cat", "cat"]}}, "each of them once"),
    ],
)
def test_what_cannot_become_a_task_is_told_after_all_others_were_pushed(
    world: World, fields: dict[str, object], told: str
) -> None:
    world.select(1, **fields)
    good = world.select(3, first=1)
    with pytest.raises(LabelError, match=told):
        world.process().push()
    assert {world.candidates()[key].state for key in good} == {"pushed"}


def test_an_unreachable_label_studio_is_named_and_nothing_is_changed(world: World) -> None:
    with FakeLabelStudio() as gone:
        url = gone.url
    with World(None, url=url) as alone:
        (key,) = alone.select(1)
        with pytest.raises(LabelError, match="gave no answer"):
            alone.process().push()
        assert alone.candidates()[key].state == "selected"


@pytest.mark.parametrize(
    ("key", "legacy", "told"),
    [
        ("f" * 40, True, "legacy token.*copy it again"),
        (LEGACY_KEY, False, "legacy token.*LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN"),
        ("PAT", True, "personal access token.*make a new one"),
    ],
)
def test_a_refused_token_is_named_by_kind_and_never_shown(
    fake: FakeLabelStudio, key: str, legacy: bool, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    fake.legacy_enabled = legacy
    if key == "PAT":
        key, fake.refresh_token = fake.refresh_token, "revoked"
    with World(fake, api_key=key) as world:
        world.select(1)
        with pytest.raises(LabelError, match=told) as raised:
            world.process().push()
    assert key not in str(raised.value) + caplog.text
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


@pytest.mark.filterwarnings("ignore:The .parse_obj. method is deprecated")  # called by the SDK
def test_a_personal_access_token_survives_the_five_minutes_of_its_access_tokens(
    fake: FakeLabelStudio,
) -> None:
    with World(fake, api_key=fake.refresh_token) as world:
        process = world.process()
        for first in (0, 10, 20):
            ids = world.select(10, first=first)
            assert process.push() == 10
            assert [len(fake.tasks_of(key)) for key in ids] == [1] * 10
            fake.expire_access_tokens()


@pytest.mark.parametrize(
    ("url", "key", "told"), [("localhost:8080", "k", "http://"), ("http://h", "", "API_KEY")]
)
def test_missing_settings_are_told_at_the_start(url: str, key: str, told: str) -> None:
    world = World(None, url=url, api_key=key)
    with pytest.raises(SettingError, match=told):
        LabelStudio(world.runtime())


def test_no_post_is_ever_repeated_by_the_sdk(fake: FakeLabelStudio, world: World) -> None:
    world.select(1)
    for vice in ("error before", "reset before", "silence before"):
        fake.vices.append(vice)
        before = imports(fake)
        world.process().push()
        assert imports(fake) == before + 1
        world.pass_time(SETTLE)


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
