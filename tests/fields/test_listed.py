"""Answers that are lists of records: one schema whatever their number, names Davy reads, every column watched."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import davy
from davy.codec import decode
from davy.config import DetectSettings
from davy.event import INFERENCES
from davy.log import open_log
from davy.outputs import read
from davy_detectors.batch import Batch
from davy_detectors.drift import ScoreDictionaryDetector
from davy_detectors.reference import Reference
from davy_detectors.reference.loading import read_log
from davy_detectors.uncertainty.stated import StatedConfidence

from .sources import alarms, at_of

pytestmark = pytest.mark.fast
SETTINGS = DetectSettings(false_alarm_every=1_000_000)


@dataclass
class Detection:
    box: tuple[float, ...]
    label: str
    score: float


@dataclass
class Entity:
    text: str
    type: str
    start: int
    end: int
    score: float


@dataclass
class Word:
    word: str
    confidence: float


ONE = {
    "objects": Detection((1.0, 2.0, 5.0, 4.0), "cat", 0.9),
    "entities": Entity("Graz", "LOC", 0, 4, 0.8),
    "words": Word("tree", 0.7),
}
COLUMNS = {
    "objects": {"boxes", "labels", "scores"},
    "entities": {"entities", "words", "spans", "scores"},
    "words": {"word", "confidence"},
}


@pytest.fixture
def url() -> Any:
    found = f"memory://{uuid.uuid4()}"
    davy.init(found, queue_items=10_000_000, queue_bytes=2**30)
    yield found
    davy.shutdown()


def watched(answers: Sequence[Any], url: str, *, batched: bool = False) -> str:
    """Send answers as a watched function gives them; return the model."""
    model = f"m:{uuid.uuid4().hex}"
    if batched:
        for start in range(0, len(answers), 100):
            some = answers[start : start + 100]
            with davy.context(at=at_of(start)):
                davy.watch(lambda _, some=some: some, model, batched=True)(["a text"] * len(some))
    else:
        left = iter(answers)
        ask = davy.watch(lambda _: next(left), model)
        for place in range(len(answers)):
            with davy.context(at=at_of(place)):
                ask("a text")
    assert davy.flush(timeout=30)
    return model


def outputs_of(model: str, url: str) -> list[dict[str, Any]]:
    records = open_log(url).read(INFERENCES, 0, 0)
    found = [decode(record.value) for record in records if record.key == model]
    return [dict(each.inference(row).outputs) for each in found for row in range(each.count)]


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("kind", COLUMNS)
def test_records_of_an_answer_have_the_same_columns_whatever_their_number(
    kind: str, batched: bool, url: str
) -> None:
    answers = [[ONE[kind]], [], [ONE[kind]] * 3, [vars(ONE[kind])]]
    found = outputs_of(watched(answers, url, batched=batched), url)
    assert [set(each) for each in found] == [COLUMNS[kind]] * 4
    assert [{len(values) for values in each.values()} for each in found] == [{1}, {0}, {3}, {1}]


def test_objects_and_entities_are_read_as_what_they_are(url: str) -> None:
    (found,) = outputs_of(watched([[ONE["objects"]]], url), url)
    assert read(found).value == [{"box": [1.0, 2.0, 5.0, 4.0], "label": "cat", "score": 0.9}]
    (found,) = outputs_of(watched([[ONE["entities"]]], url), url)
    assert read(found).value == [{"label": "LOC", "text": "Graz", "start": 0, "end": 4, "score": 0.8}]


@pytest.mark.parametrize(
    "sides",
    [
        {"bbox": [1, 2, 5, 4]},
        {"xywh": [1, 2, 4, 2]},
        {"xmin": 1, "ymin": 2, "xmax": 5, "ymax": 4},
        {"x": 1, "y": 2, "width": 4, "height": 2},
        {"box": {"x1": 1, "y1": 2, "x2": 5, "y2": 4}},
    ],
)
def test_a_box_has_its_corners_however_it_is_spelt(sides: dict[str, Any], url: str) -> None:
    (found,) = outputs_of(watched([[{**sides, "name": "cat"}]], url), url)
    assert found.keys() == {"boxes", "labels"}
    np.testing.assert_array_equal(found["boxes"], [[1, 2, 5, 4]])


def test_records_under_a_name_keep_it_unless_it_says_nothing(url: str) -> None:
    for model, outputs in (
        ("a:1", {"detections": [ONE["objects"]], "spent": 3.0}),
        ("b:1", {"faces": [ONE["objects"]], "spent": 3.0}),
        ("c:1", {"faces": [ONE["objects"]]}),
        ("d:1", {"detections": [ONE["objects"]], "scores": [0.5]}),
    ):
        davy.capture(model, {"x": 1.0}, outputs)
    assert davy.flush(timeout=30)
    assert outputs_of("a:1", url)[0].keys() == {"boxes", "labels", "scores", "spent"}
    assert outputs_of("b:1", url)[0].keys() == {"faces.boxes", "faces.labels", "faces.scores", "spent"}
    assert outputs_of("c:1", url)[0].keys() == {"boxes", "labels", "scores"}
    assert outputs_of("d:1", url)[0].keys() == {
        "detections.boxes", "detections.labels", "detections.scores", "scores",
    }  # fmt: skip


@pytest.mark.parametrize(
    "records",
    [
        [{"role": "assistant", "content": "hello"}],
        [{"text": "hello", "logprob": -1.0}, {"text": "goodbye", "logprob": -2.0}],
        [{"label": "cat", "score": 0.9}, {"label": "dog", "score": 0.1}],
        [{"id": 3, "score": 0.9}, {"id": 5, "score": 0.8}],
        [{"boxes": [["a", 1]], "labels": ["cat"], "scores": ["high"]}],
    ],
)
def test_messages_classes_orders_and_answers_to_pictures_stay_one_value(
    records: list[dict[str, Any]], url: str
) -> None:
    assert outputs_of(watched([records], url), url) == [{"value": records}]


def test_scores_of_several_classes_a_record_are_kept(url: str) -> None:
    records = [{"box": (0, 0, 1, 1), "score": [0.1, 0.9]}, {"box": (0, 0, 1, 1), "score": [0.7, 0.3]}]
    (found,) = outputs_of(watched([records], url), url)
    np.testing.assert_array_equal(found["scores"], [[0.1, 0.9], [0.7, 0.3]])


def objects(seed: int, count: int, scale: float = 1.0, sure: float = 0.0) -> list[list[Detection]]:
    rng = np.random.default_rng(seed)
    return [
        [
            Detection((x, y, x + w * scale, y + h * scale), str(label), 0.5 + (rng.random() / 4) + sure)
            for (x, y, w, h), label in zip(
                rng.uniform(20, 60, (size, 4)), rng.choice(["car", "bus"], size), strict=True
            )
        ]
        for size in rng.integers(0, 9, count)
    ]


@pytest.mark.parametrize("batched", [False, True])
def test_objects_of_a_third_the_size_raise_an_alarm_that_names_the_boxes(batched: bool, url: str) -> None:
    def sent(*drawn: Any) -> Batch:
        return read_log(open_log(url), watched(objects(*drawn), url, batched=batched))

    known = sent(1, 1_000)
    reference = Reference.fit("m:1", known, settings=SETTINGS)
    assert not reference.unwatched
    assert {"outputs.boxes.count", "outputs.boxes.size", "outputs.boxes[2]", "outputs.labels"} <= set(
        reference.streams
    )
    assert any(stream.startswith("outputs.scores") for stream in reference.streams)
    detector = ScoreDictionaryDetector(reference, SETTINGS)
    state = detector.to_bytes()
    assert alarms(detector, [sent(2, 1_000)]) == []
    for drawn, field in (((3, 400, 1 / 3), "outputs.boxes"), ((4, 400, 1.0, 0.2), "outputs.scores")):
        detector.restore(state)
        found = alarms(detector, [sent(*drawn)])
        assert found
        assert found[0].features[0].feature.startswith(field)


@pytest.mark.parametrize("kind", COLUMNS)
def test_the_scores_of_records_are_the_confidence_of_their_answer(kind: str, url: str) -> None:
    batch = read_log(open_log(url), watched([[ONE[kind]], [ONE[kind]] * 2, []], url))
    scorer = StatedConfidence.fit(batch)
    assert scorer is not None
    sure = getattr(ONE[kind], "score", None) or ONE["words"].confidence
    np.testing.assert_allclose(scorer.score(batch), [1 - sure, 1 - sure, 0.0])


def test_a_score_in_a_mapping_is_no_confidence_of_several() -> None:
    batch = Batch.from_columns("m:1", {"outputs.risk.score": [0.2, 0.4], "outputs.risk.band": ["a", "b"]})
    assert StatedConfidence.fit(batch) is None


@pytest.mark.parametrize("batched", [False, True])
def test_a_rule_for_a_list_of_records_holds_for_its_columns(batched: bool) -> None:
    url = f"memory://{uuid.uuid4()}"
    davy.init(url, fields={"outputs.value": "drop"})
    try:
        model = watched([[ONE["objects"]], []], url, batched=batched)
        assert outputs_of(model, url) == [{}, {}]
    finally:
        davy.shutdown()


@pytest.mark.parametrize("batched", [False, True])
def test_lists_that_hold_no_records_are_kept_however_uneven_they_are(batched: bool, url: str) -> None:
    answers = [[None, ["a"]], [["b", "c"], ["d"]], [["e"], None]]
    found = outputs_of(watched(answers, url, batched=batched), url)
    assert found == [{"value": answer} for answer in answers]
