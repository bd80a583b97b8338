"""Forms are plug-ins: a third party's goes the whole way, and one that fails does so alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import numpy as np
import pytest
from support import mining
from support.boxes import RIGHT, VERDICT, WRONG, Boxes, region
from support.fake_labelstudio import FakeLabelStudio
from support.labelstudio_world import PATIENCE, World

from davy.consume import Loop
from davy.event import FLAGS, LABELS, Label, dead_letters
from davy.plugins import suspensions
from davy.store import Batch
from davy_miner import dataset, plugins, rounds
from davy_miner.candidates import Candidate
from davy_miner.doctor import checks
from davy_miner.labels import COLLECTION, Revisions, answer_of, quality, verdict
from davy_miner.labelstudio import LabelStudio
from davy_miner.labelstudio.client import SdkTool
from davy_miner.labelstudio.templates import check_config, check_prediction
from davy_miner.worker import Mine

pytestmark = [pytest.mark.fast, pytest.mark.may_swallow]
MODEL = "yolo:1"
Install = Callable[..., None]


class _Failure(Exception):
    pass


class SuitsRaises(Boxes):
    name = "suits-raises"

    def suits(self, item):
        raise _Failure("in suits")


class ViewRaises(Boxes):
    name = "view-raises"

    def view(self, *, blind):
        raise _Failure("in view")


class DataRaises(Boxes):
    name = "data-raises"

    def data(self, item):
        raise _Failure("in data")


class PredictionsRaise(Boxes):
    name = "predictions-raise"

    def predictions(self, item):
        raise _Failure("in predictions")


class PredictsNonsense(Boxes):
    name = "predicts-nonsense"

    def predictions(self, item):
        return [{**one, "from_name": "nobody"} for one in super().predictions(item)]


class Pointless(Boxes):
    """Its controls point at nothing."""

    name = "pointless"

    def view(self, *, blind):
        return [Element("RectangleLabels", name="answer", toName="nothing")]


class NotMade(Boxes):
    name = "not-made"

    def __init__(self):
        raise _Failure("when made")


class ReadRaises(Boxes):
    name = "read-raises"

    def read(self, result, item):
        raise _Failure("in read")


class ReadsNonsense(Boxes):
    name = "reads-nonsense"

    def read(self, result, item):
        return "all right"


class _Point:
    """An entry point of a distribution that is not installed."""

    def __init__(self, kind: type, version: str) -> None:
        self.name, self._kind = kind.name, kind
        self.value = f"third_party:{kind.__name__}"
        self.dist = type("Dist", (), {"version": version, "name": "third-party"})()

    def load(self) -> Any:
        return self._kind

    def __lt__(self, other: Any) -> bool:
        return bool(self.name < other.name)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Have these forms installed, and no others."""

    def only(*kinds: type, version: str = "1") -> None:
        mine = [_Point(kind, version) for kind in kinds]
        monkeypatch.setattr(plugins, "entry_points", lambda group: mine if group == "davy.forms" else [])

    return only


def select(world: World, count: int = 2, **more: Any) -> list[str]:
    """Put pictures with two boxes each into the queue."""
    outputs = {"boxes": np.array([[8, 4, 32, 40.0], [1, 2, 31, 42.0]]), "scores": np.array([0.9, 0.8])}
    outputs |= {"classes": ["cat", "dog"], "class_names": ["cat", "dog", " odd "]}
    image = {"image": np.zeros((64, 128, 3), np.uint8)}
    return world.select(count, model=MODEL, inputs=image, outputs=outputs, **more)


def task_of(fake: FakeLabelStudio, key: str) -> dict[str, Any]:
    (task,) = fake.tasks_of(key)
    return task


def keep(world: World, labels: list[Label]) -> dict[str, Candidate]:
    """Keep labels as the miner does; return the candidates."""
    batch = Batch()
    for label in labels:
        before = Revisions.from_bytes(world.store.get(COLLECTION, label.candidate))
        batch.put(COLLECTION, label.candidate, before.with_label(label).to_bytes())
    world.store.apply(batch)
    return world.candidates()


def test_a_form_with_boxes_goes_the_whole_way(
    fake: FakeLabelStudio, world: World, install: Install, tmp_path: Path
) -> None:
    install(Boxes)
    right, wrong = select(world)
    process = world.process()
    assert process.push() == 2
    (project,) = fake.projects.values()
    config = fromstring(project["label_config"])
    assert [one.get("value") for one in config.iter("Label")][:2] == ["cat", "dog"]
    assert "boxes" in project["title"]
    (prediction,) = task_of(fake, right)["predictions"]
    assert prediction["result"][0] == region("cat", [8, 4, 32, 40], 128, 64)
    odd = next(one.get("value") for one in config.iter("Label") if "odd" in one.get("value", ""))
    fake.annotate(task_of(fake, right)["id"], (VERDICT, RIGHT))
    drawn = [region("dog", [8, 4, 32, 40], 128, 64), region(odd, [16, 32, 64, 48], 128, 64)]
    fake.annotate(task_of(fake, wrong)["id"], (VERDICT, WRONG), regions=drawn)
    labels = {label.candidate: label for label in world.pull(process)}
    assert labels[right].verdict == "correct"
    assert [one["label"] for one in labels[wrong].answer] == ["dog", " odd "]
    np.testing.assert_allclose(labels[wrong].answer[1]["box"], [16, 32, 64, 48])
    found = keep(world, list(labels.values()))
    judged = {
        key: verdict(Revisions([labels[key]]).decided("majority", answer_of(one)), answer_of(one))
        for key, one in found.items()
    }
    assert judged == {right: "correct", wrong: "failure"}
    batch = Batch()
    from davy_miner.labelstudio.records import put_candidate

    for one in found.values():
        put_candidate(batch, replace(one, state="labelled", arm="random", probability=0.5))
    world.store.apply(batch)
    rate = quality(world.store, MODEL)
    assert rate is not None
    assert rate.rate == 0.5
    world.settings = replace(world.settings, mine=replace(world.settings.mine, datasets=str(tmp_path)))
    built = dataset.load(dataset.build(world.runtime(), MODEL))
    rows = dict(zip(built.arrays["candidate"].tolist(), built.arrays["label"].tolist(), strict=True))
    assert [one["label"] for one in rows[wrong]] == ["dog", " odd "]
    assert {row["verdict"] for row in built.manifest["rows"]} == {"failure", "correct"}


def test_a_blind_form_with_boxes_shows_nothing_of_the_answer(
    fake: FakeLabelStudio, world: World, install: Install
) -> None:
    install(Boxes)
    (key,) = select(world, 1)
    process = world.process(blind=True)
    process.push()
    task = task_of(fake, key)
    assert task["predictions"] == []
    assert "model_answer" not in task["data"]
    fake.annotate(task["id"], regions=[region("cat", [8, 4, 32, 40], 128, 64)])
    (label,) = world.pull(process)
    assert (label.verdict, label.answer[0]["label"], label.state) == ("", "cat", "labelled")


def test_controls_that_draw_are_checked_as_those_that_choose() -> None:
    view = Element("View")
    view.extend(Boxes().view(blind=False))
    labels = next(view.iter("RectangleLabels"))
    labels.append(Element("Label", value="cat"))
    check_config(view)
    check_prediction(view, {"score": 0.9, "result": [region("cat", [1, 2, 3, 4], 8, 8)]})
    for wrong in (
        region("dog", [1, 2, 3, 4], 8, 8),
        {**region("cat", [1, 2, 3, 4], 8, 8), "type": "choices"},
    ):
        with pytest.raises(Exception, match="prediction"):
            check_prediction(view, {"score": 0.9, "result": [wrong]})


ASKING = [SuitsRaises, ViewRaises, DataRaises, PredictionsRaise, PredictsNonsense, Pointless, NotMade]


@pytest.mark.parametrize("kind", ASKING)
def test_what_a_failing_form_cannot_ask_another_form_asks(
    kind: type, fake: FakeLabelStudio, world: World, install: Install
) -> None:
    install(kind)
    keys = select(world, 5)
    others = world.select(3, first=50)
    process = world.process()
    world.until_quiet(process)
    assert all(len(fake.tasks_of(key)) == 1 for key in [*keys, *others])
    assert "RectangleLabels" not in "".join(one["label_config"] for one in fake.projects.values())
    assert {one.state for one in world.candidates().values()} == {"pushed"}
    kept = [(one.kind, one.name) for one in suspensions(world.store) if one.model == MODEL]
    assert kept == [("form", kind.name)]
    told = [one for one in checks(world.runtime()) if kind.name in one.what and MODEL in one.what]
    assert [one.state for one in told] == ["wrong"]
    fake.annotate(task_of(fake, keys[0])["id"], ("verdict", "model correct"))
    assert [label.verdict for label in world.pull(process)] == ["correct"]


@pytest.mark.parametrize("kind", [ReadRaises, ReadsNonsense])
def test_what_a_failing_form_cannot_read_waits_and_is_read_after_an_upgrade(
    kind: type, fake: FakeLabelStudio, world: World, install: Install
) -> None:
    install(kind)
    keys = select(world, 3)
    (other,) = world.select(1, first=50)
    process = world.process()
    process.push()
    for key in keys:
        fake.annotate(task_of(fake, key)["id"], (VERDICT, RIGHT))
    fake.annotate(task_of(fake, other)["id"], ("verdict", "model correct"))
    assert [label.candidate for label in world.pull(process)] == [other]
    for _ in range(4):
        world.pass_time(30)
        assert world.pull(process) == []
    assert [(one.kind, one.name, one.model) for one in suspensions(world.store)] == [
        ("form", kind.name, MODEL)
    ]
    requests = len(fake.requests)
    world.pull(process)
    again = [path for _, path in fake.requests[requests:] if "tasks" in path]
    world.pass_time(600)
    mended = type("Mended", (Boxes,), {"name": kind.name})
    install(mended, version="2")
    labels = world.pull(world.process())
    assert sorted(label.candidate for label in labels) == sorted(keys)
    assert {label.verdict for label in labels} == {"correct"}
    assert suspensions(world.store) == []
    assert len(again) <= 2, "a suspended form's project is not read"


def test_answers_to_a_form_that_is_not_installed_any_more_wait(
    fake: FakeLabelStudio, world: World, install: Install
) -> None:
    install(Boxes)
    (key,) = select(world, 1)
    world.process().push()
    fake.annotate(task_of(fake, key)["id"], (VERDICT, RIGHT))
    install()
    process = world.process()
    for _ in range(3):
        assert world.pull(process) == []
    (told,) = [one for one in checks(world.runtime()) if "boxes" in one.what]
    assert "not installed" in told.found
    install(Boxes)
    assert [label.verdict for label in world.pull(world.process())] == ["correct"]


def test_the_role_goes_on_without_a_form_that_fails_and_shows_it(
    fake: FakeLabelStudio, world: World, install: Install
) -> None:
    install(SuitsRaises)
    runtime = mining.make_runtime(clock=lambda: world.now)
    tool = LabelStudio(replace(runtime, settings=world.settings), tool=_tool(world))
    boxes = {"boxes": np.array([[8, 4, 32, 40.0]]), "classes": ["cat"]}
    image = {"image": np.zeros((64, 128, 3), np.uint8)}
    mining.send(runtime, *(mining.make_flag(n, control=0.5, inputs=image, outputs=boxes) for n in range(3)))
    mining.send(runtime, *(mining.make_flag(n, control=0.5) for n in range(3, 9)))
    rounds.request(runtime, mining.MODEL, 20)
    role = Mine(runtime, tool)
    loop: Loop[Any] = Loop(runtime, role)
    try:
        for _ in range(100):
            loop.step()
            assert role.exchange is not None
            role.exchange.push.wait(PATIENCE)
            world.pass_time(2)
            if mining.in_state(runtime, "pushed"):
                break
    finally:
        role.exchange.close()
        loop.close()
        tool.close()
    # the three pictures are one: two of them are duplicates
    assert len(mining.in_state(runtime, "pushed")) == len(fake.tasks) == 7
    for topic in (FLAGS, LABELS):
        letters = runtime.log.start(dead_letters(topic))
        assert not any(list(runtime.log.read(name, part, at)) for (name, part), at in letters.items())
    shown = runtime.meter.exposition().decode()
    labels = f'kind="form",model="{mining.MODEL}",plugin="suits-raises"'
    assert f"davy_plugin_suspended{{{labels}}} 1.0" in shown
    assert 'davy_plugin_failures_total{kind="form",plugin="suits-raises"} 3.0' in shown


def _tool(world: World) -> SdkTool:
    settings = world.settings.labelstudio
    return SdkTool(settings.url, settings.api_key, timeout=PATIENCE)
