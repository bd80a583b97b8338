"""The core scenario against the real Label Studio."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import fromstring

import httpx
import numpy as np
import pytest
from support.labelstudio_server import needs_label_studio
from support.labelstudio_world import SETTLE, Crash, Fuse, World

from davy.errors import LabelError
from davy.forgetting import Forgetting
from davy_miner.decision import decide
from davy_miner.labelstudio import LocalLabelStudio
from davy_miner.labelstudio.client import SdkTool
from davy_miner.labelstudio.records import troubles_in
from davy_miner.labelstudio.templates import chosen, value_of

pytestmark = needs_label_studio()


@pytest.fixture
def world(labelstudio: LocalLabelStudio) -> Iterator[World]:
    with World(None, url=labelstudio.url, api_key=labelstudio.api_key, timeout_seconds=30.0) as made:
        yield made


@pytest.fixture
def api(labelstudio: LocalLabelStudio) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Token {labelstudio.api_key}"}
    with httpx.Client(base_url=labelstudio.url, headers=headers, timeout=30.0, trust_env=False) as client:
        yield client


def given_by(control: str, kind: str, field: str, value: Any) -> dict[str, Any]:
    return {"from_name": control, "to_name": "subject", "type": kind, "value": {field: value}}


def tasks_of(api: httpx.Client, project: int) -> dict[str, list[int]]:
    """Every task of a project, by candidate."""
    found: dict[str, list[int]] = {}
    page = {"project": project, "page_size": 1000, "fields": "task_only"}
    for task in api.get("/api/tasks/", params=page).json()["tasks"]:
        found.setdefault(task["data"]["candidate_id"], []).append(task["id"])
    return found


def annotate(
    api: httpx.Client, task: int, *choices: tuple[str, str], skip: bool = False, user: int | None = None
) -> int:
    body: dict[str, Any] = {
        **({} if user is None else {"completed_by": user}),
        "result": [chosen(*one) for one in choices],
        "lead_time": 3.5,
        "was_cancelled": skip,
    }
    answer = api.post(f"/api/tasks/{task}/annotations/", json=body)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def test_sixty_pictures_go_out_once_and_every_answer_comes_back(world: World, api: httpx.Client) -> None:
    model = "digits:sixty"
    ids = world.select(60, model=model)
    process = world.process()
    assert process.push() == 60
    assert process.push() == 0
    project = process.project(model)
    tasks = tasks_of(api, project)
    assert {key: len(found) for key, found in tasks.items()} == dict.fromkeys(ids, 1)
    assert {key: world.candidates()[key].task for key in ids} == {
        key: found[0] for key, found in tasks.items()
    }

    right, wrong, unclear, skipped, edited, withdrawn = ids[:6]
    annotate(api, tasks[right][0], ("verdict", "model correct"))
    annotate(api, tasks[wrong][0], ("verdict", "model wrong"), ("answer", "9"))
    annotate(api, tasks[unclear][0], ("verdict", "unclear"))
    annotate(api, tasks[skipped][0], skip=True)
    edit = annotate(api, tasks[edited][0], ("verdict", "model correct"))
    withdraw = annotate(api, tasks[withdrawn][0], ("verdict", "model correct"))
    first = {label.candidate: label for label in world.pull(process)}
    assert {key: (label.answer, label.state) for key, label in first.items()} == {
        right: ("0", "labelled"),
        wrong: ("9", "labelled"),
        unclear: (None, "skipped"),
        skipped: (None, "skipped"),
        edited: ("4", "labelled"),
        withdrawn: ("5", "labelled"),
    }
    assert first[right].seconds == 3.5
    assert world.pull(process) == []

    again = [chosen("verdict", "model wrong"), chosen("answer", "1")]
    assert api.patch(f"/api/annotations/{edit}/", json={"result": again}).status_code == 200
    assert api.delete(f"/api/annotations/{withdraw}/").status_code == 204
    second = {label.candidate: label for label in world.pull(process)}
    assert {key: (label.answer, label.state) for key, label in second.items()} == {
        edited: ("1", "labelled"),
        withdrawn: (None, "deleted"),
    }
    assert second[edited].revision > first[edited].revision


def test_a_crash_after_the_import_leaves_one_task_each(world: World, api: httpx.Client) -> None:
    model = "digits:crash"
    ids = world.select(5, model=model)
    with pytest.raises(Crash):
        world.process(Fuse(5, after=True)).push()
    world.pass_time(SETTLE)
    process = world.process()
    assert process.push() == 5
    tasks = tasks_of(api, process.project(model))
    assert {key: len(found) for key, found in tasks.items()} == dict.fromkeys(ids, 1)


def test_a_forgotten_task_goes_with_its_annotations_and_the_others_stay(
    world: World, api: httpx.Client
) -> None:
    model = "digits:forget"
    ids = world.select(4, model=model)
    process = world.process()
    assert process.push() == 4
    project = process.project(model)
    tasks = tasks_of(api, project)
    gone, *others = ids
    annotation = annotate(api, tasks[gone][0], ("verdict", "model correct"))
    annotate(api, tasks[others[0]][0], ("verdict", "model correct"))
    candidate = world.candidates()[gone]
    for _ in range(2):
        assert Forgetting(world.runtime()).forget(frozenset({candidate.inference_id})).problems == []
    assert api.get(f"/api/tasks/{tasks[gone][0]}/").status_code == 404
    assert api.get(f"/api/annotations/{annotation}/").status_code == 404
    assert tasks_of(api, project) == {key: tasks[key] for key in others}
    assert [label.candidate for label in world.pull(process)] == [others[0]]


def test_a_task_that_somebody_deleted_ends_its_candidate(world: World, api: httpx.Client) -> None:
    model = "digits:deleted"
    ids = world.select(3, model=model)
    process = world.process()
    assert process.push() == 3
    (task,) = tasks_of(api, process.project(model))[ids[1]]
    assert world.pull(process) == []
    assert api.delete(f"/api/tasks/{task}/").status_code == 204
    assert [(label.candidate, label.state) for label in world.pull(process)] == [(ids[1], "deleted")]
    assert world.pull(process) == []


def test_a_second_task_is_found_and_removed(world: World, api: httpx.Client) -> None:
    model = "digits:twice"
    ids = world.select(2, model=model)
    process = world.process()
    process.push()
    project = process.project(model)
    data = [task["data"] for task in api.get("/api/tasks/", params={"project": project}).json()["tasks"]]
    again = api.post(f"/api/projects/{project}/import", json=[{"data": one} for one in data])
    assert again.status_code == 201
    assert sorted(len(found) for found in tasks_of(api, project).values()) == [2, 2]
    world.pull(process)
    process.push()
    assert tasks_of(api, project) == {key: [world.candidates()[key].task] for key in ids}


def test_a_task_somebody_began_counts_as_touched(
    world: World, labelstudio: LocalLabelStudio, api: httpx.Client
) -> None:
    model = "digits:draft"
    (key,) = world.select(1, model=model)
    process = world.process()
    process.push()
    project = process.project(model)
    tool = SdkTool(labelstudio.url, labelstudio.api_key, timeout=30.0)
    (before,) = tool.find_tasks(project, [key])
    draft = api.post(f"/api/tasks/{before.id}/drafts", json={"result": [], "lead_time": 1.0})
    assert draft.status_code == 201
    (after,) = tool.find_tasks(project, [key])
    tool.close()
    assert (before.touched, after.touched) == (False, True)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"picture": None, "inputs": {"text": "one & <two>"}}, "text"),
        ({"picture": None, "inputs": {"age": 31, "city": "Camborne", "x": 0.5}}, "tabular"),
    ],
)
def test_texts_and_rows_are_accepted(
    world: World, api: httpx.Client, fields: dict[str, Any], kind: str
) -> None:
    model = f"reader-{kind}:1"
    (key,) = world.select(1, model=model, **fields)
    process = world.process()
    assert process.push() == 1
    found = api.get(f"/api/projects/{process.project(model)}/").json()
    assert f"{kind}-classification" in found["title"]
    task = api.get(f"/api/tasks/{world.candidates()[key].task}/").json()
    assert task["predictions"][0]["result"] == [chosen("answer", "0")]


ODD = [
    "",
    "$image",
    " padded",
    "padded",
    "two  spaces",
    "new\nline",
    "a" * 5000,
    "<b>'x' & \"y\"",
    "A, B",
    "日本",
]


def test_every_name_of_a_class_comes_back_as_the_model_calls_it(world: World, api: httpx.Client) -> None:
    model = "odd:1"
    ids = world.select(len(ODD), model=model, outputs={"probs": np.full(len(ODD), 0.1), "class_names": ODD})
    process = world.process()
    assert process.push() == len(ODD)
    tasks = tasks_of(api, process.project(model))
    for key, name in zip(ids, ODD, strict=True):
        annotate(api, tasks[key][0], ("verdict", "model wrong"), ("answer", value_of(name)))
    assert {label.candidate: label.answer for label in world.pull(process)} == dict(
        zip(ids, ODD, strict=True)
    )


def test_a_list_of_classes_grows_beside_answers_and_what_its_owner_added(
    world: World, api: httpx.Client
) -> None:
    model = "growing:1"
    (first,) = world.select(1, model=model, outputs={"label": "cat"})
    process = world.process()
    process.push()
    project = process.project(model)
    where = f"/api/projects/{project}/"
    by_hand = '<Choice value="by hand" hotkey="z" /><Choice value="cat"'
    config = api.get(where).json()["label_config"].replace('<Choice value="cat"', by_hand)
    assert api.patch(where, json={"label_config": config}).status_code == 200
    annotate(api, tasks_of(api, project)[first][0], ("verdict", "model wrong"), ("answer", "by hand"))
    world.select(2, first=1, model=model, outputs={"label": "dog"})
    assert world.process().push() == 2
    form = fromstring(api.get(where).json()["label_config"])
    choices = form.findall(".//Choices[@name='answer']/Choice")
    assert [one.get("value") for one in choices] == ["by hand", "cat", "dog"]
    assert choices[0].get("hotkey") == "z"
    assert [label.answer for label in world.pull(process)] == ["by hand"]


@pytest.mark.parametrize(
    ("kind", "outputs", "result", "answer"),
    [
        (
            "multilabel",
            {"probs": np.array([0.9, 0.8, 0.1]), "class_names": ["a", "b", "c"]},
            [chosen("answers", "c", "a")],
            ["a", "c"],
        ),
        ("multilabel", {"labels": []}, [chosen("answers", "none of these")], []),
        ("regression", {"value": 3.25}, [given_by("number", "number", "number", 4.5)], 4.5),
        ("text", {"text": "one\n<two>"}, [given_by("text", "textarea", "text", ["better"])], "better"),
        ("review", {"boxes": np.array([[1.0, 2, 30, 40]]), "scores": np.array([0.9])}, [], None),
        (
            "classification",
            {"label": "n7", "class_names": [f"n{number}" for number in range(2500)]},
            [given_by("another", "textarea", "text", ["n9"])],
            "n9",
        ),
    ],
)
def test_every_form_is_accepted_and_its_answer_read_back(
    world: World, api: httpx.Client, kind: str, outputs: dict[str, Any], result: list[Any], answer: Any
) -> None:
    model = f"{kind}-{len(outputs)}:form"
    (key,) = world.select(1, model=model, picture=None, inputs={"text": "hello"}, outputs=outputs)
    process = world.process()
    assert process.push() == 1
    project = api.get(f"/api/projects/{process.project(model)}/").json()
    assert project["title"] == f"Davy {model} · text-{kind}"
    body = {"result": [chosen("verdict", "model wrong"), *result], "lead_time": 1.0}
    made = api.post(f"/api/tasks/{world.candidates()[key].task}/annotations/", json=body)
    assert made.status_code == 201, made.text
    (label,) = world.pull(process)
    assert (label.answer, label.verdict, label.state) == (answer, "wrong", "labelled")


def test_a_model_whose_form_is_refused_holds_up_no_other(world: World) -> None:
    world.select(1, model="x" * 5 + ":refused", outputs={"label": "a"})
    world.select(2, first=1, model="fine:1")
    process = world.process()
    created = process._tool.create_project

    def refuse(title: str, description: str, config: str) -> int:
        return created(title, description, "no form" if "refused" in title else config)

    process._tool.create_project = refuse  # type: ignore[method-assign]
    assert process.push() == 2
    (trouble,) = troubles_in(world.store)
    assert "refused with 400" in trouble.reason


@pytest.mark.filterwarnings("ignore:The .parse_obj. method is deprecated")  # called by the SDK
def test_a_personal_access_token_works_until_it_is_revoked(
    labelstudio: LocalLabelStudio, api: httpx.Client
) -> None:
    made = api.post("/api/token/")
    assert made.status_code == 201, made.text
    token = made.json()["token"]
    tool = SdkTool(labelstudio.url, token, timeout=30.0)
    assert isinstance(tool.projects("[davy"), list)
    tool.close()
    assert api.post("/api/token/blacklist/", json={"refresh": token}).status_code == 204
    with pytest.raises(LabelError, match="make a new one") as raised:
        tool.projects("[davy")
    tool.close()
    assert token not in str(raised.value)


def test_two_people_keep_their_answers_and_a_skip_withdraws_nobodys(world: World, api: httpx.Client) -> None:
    model = "digits:people"
    agreed, skipped, disputed = world.select(3, model=model)
    process = world.process()
    process.push()
    tasks = tasks_of(api, process.project(model))
    made = api.post(
        "/api/users", json={"email": "bob@davy.localhost", "username": "bob", "password": "pw12345678"}
    )
    assert made.status_code == 201, made.text
    bob = int(made.json()["id"])
    for key in (agreed, skipped, disputed):
        annotate(api, tasks[key][0], ("verdict", "model correct"))
    annotate(api, tasks[agreed][0], ("verdict", "model correct"), user=bob)
    annotate(api, tasks[skipped][0], skip=True, user=bob)
    other = annotate(api, tasks[disputed][0], ("verdict", "model wrong"), ("answer", "9"), user=bob)
    labels = world.pull(process)
    assert {label.annotator for label in labels} >= {str(bob)}

    def outcome(key: str) -> tuple[str, Any]:
        found = decide([label for label in labels if label.candidate == key])
        assert found is not None
        return found.state, found.label.answer if found.label else None

    assert [outcome(key) for key in (agreed, skipped, disputed)] == [
        ("labelled", "0"),
        ("labelled", "1"),
        ("disputed", None),
    ]
    assert api.delete(f"/api/annotations/{other}/").status_code == 204
    world.pass_time(1)
    labels += world.pull(process)
    assert outcome(disputed) == ("labelled", "2")
