"""Outputs that are damaged, left empty or say little of themselves: no task is mistaken for another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from davy.codec import Encoder, decode, pack
from davy.outputs import Classification, Ranking, Unknown, read

pytestmark = pytest.mark.fast

NAMES = ["dog", "cat", "cow"]
NAN = float("nan")


def captured(outputs: dict[str, Any]) -> dict[str, Any]:
    """What comes back of outputs that went through the codec."""
    chunk = Encoder().encode("m:1", bytes(16), 1, {"x": 1.0}, outputs)
    return dict(decode(pack([chunk])).inference(0).outputs)


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ({"boxes": [[0, 0, NAN, 10]], "labels": ["cat"]}, "outputs.boxes"),
        ({"boxes": [[0, 0, NAN, 10]], "labels": ["cat", "dog"], "scores": [0.9, 0.1]}, "outputs.boxes"),
        ({"boxes": [[0, 0, 9, 9], [0, 0, 9]], "labels": ["a", "b"], "scores": [0.6, 0.4]}, "outputs.boxes"),
        ({"boxes": [[0, 0, 9, 9]] * 2, "labels": ["cat"]}, "outputs.labels has 1 entries for 2 boxes"),
        ({"boxes": [[0, 0, 9, 9]], "scores": [0.9, 0.1]}, "outputs.scores has 2 entries for 1 boxes"),
        ({"boxes": [], "labels": [1], "scores": []}, "outputs.labels has 1 entries for 0 boxes"),
        ({"boxes": None, "labels": ["cat"]}, "outputs.boxes is missing"),
        ({"detections": [{"bbox": [0, 0, NAN, 9], "label": "cat", "score": 0.9}]}, "four finite numbers"),
        ({"results": [{"box": None, "label": "cat", "score": 0.9}]}, "four finite numbers"),
        ({"xmin": 0, "ymin": 0, "xmax": NAN, "ymax": 1, "label": "cat"}, "four finite numbers"),
        ({"result": {"boxes": [[0, 0, NAN, 9]], "labels": ["cat"]}}, "outputs.boxes"),
    ],
)
def test_damaged_boxes_are_never_an_answer_of_another_task(outputs: dict[str, Any], told: str) -> None:
    for sent, task in ((outputs, ""), (captured(outputs), ""), (outputs, "multi-label")):
        found = read(sent, task=task)
        assert isinstance(found, Unknown)
        assert told in found.reason


@given(
    st.lists(st.lists(st.floats(), max_size=5), max_size=3),
    st.lists(st.sampled_from(["cat", "dog", 1, None]), max_size=3),
    st.lists(st.floats(0, 1), max_size=3),
)
def test_a_row_with_boxes_is_of_a_detector_or_not_understood(
    boxes: list[Any], labels: list[Any], scores: list[float]
) -> None:
    assert read({"boxes": boxes, "labels": labels, "scores": scores}).task in {"detection", "unknown"}


def test_corners_beside_a_class_are_a_box_of_it() -> None:
    found = read({"x1": 1, "y1": 2, "x2": 3, "y2": 4, "label": "cat", "score": 0.9})
    assert found.value == [{"box": [1.0, 2.0, 3.0, 4.0], "label": "cat", "score": 0.9}]
    assert read({"x1": 1, "y1": 2, "x2": 3, "y2": 4}).task == "regression"


def test_a_box_whose_score_or_class_is_missing_costs_the_others_nothing() -> None:
    found = read({"boxes": [[0, 0, 9, 9]] * 2, "labels": ["cat", None], "scores": [NAN, 0.8]})
    assert found.value == [
        {"box": [0.0, 0.0, 9.0, 9.0], "label": "cat"},
        {"box": [0.0, 0.0, 9.0, 9.0], "score": 0.8},
    ]


@pytest.mark.parametrize(
    ("outputs", "value", "names"),
    [
        ({"labels": ["cat"], "probs": [0.05, 0.9, 0.05], "class_names": NAMES}, ["cat"], tuple(NAMES)),
        ({"labels": [0, 2], "probs": [0.5, 0.0, 0.5], "class_names": NAMES}, ["cow", "dog"], tuple(NAMES)),
        ({"labels": ["a"], "probs": [0.6, 0.4]}, ["a"], ()),
        ({"labels": [], "probs": [0.4, 0.3, 0.3], "class_names": NAMES}, [], tuple(NAMES)),
        ({"labels": ["cat"], "logits": [0.1, 3.0, -1.0], "class_names": NAMES}, ["cat"], tuple(NAMES)),
        (
            {"label": ["cat", "cow"], "probs": [0.2, 0.4, 0.4], "class_names": NAMES},
            ["cat", "cow"],
            tuple(NAMES),
        ),
        ({"value": ["b", "a"]}, ["a", "b"], ()),
        ({"value": ["a"]}, ["a"], ()),
        ({"prediction": ["b", "a"], "confidence": 0.9}, ["a", "b"], ()),
        ({"prediction": [0.9, 0.8, 0.1], "class_names": NAMES}, ["cat", "dog"], tuple(NAMES)),
    ],
)
def test_a_list_of_labels_is_the_answer_whatever_the_probabilities_beside_it_sum_to(
    outputs: dict[str, Any], value: list[str], names: tuple[str, ...]
) -> None:
    for sent in (outputs, captured(outputs)):
        for task in ("", "multi-label"):
            found = read(sent, task=task)
            assert (found.task, found.value, found.class_names) == ("multi-label", value, names)


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        ({"label": None, "probs": [0.4, 0.3, 0.3], "class_names": NAMES}, tuple(NAMES)),
        ({"label": None, "logits": [0.4, 0.3, 0.3]}, ("0", "1", "2")),
        ({"label": NAN, "scores": {"a": 0.5, "b": 0.5}}, ("a", "b")),
        ({"prediction": None, "probs": [0.4, 0.2, 0.1], "class_names": NAMES}, tuple(NAMES)),
        ({"label": None, "probability": 0.5, "class_names": ["no", "yes"]}, ("no", "yes")),
        ({"label": None, "probs": [0.5, 0.5], "class_names": ["abstained", "a"]}, ("abstained", "a")),
    ],
)
def test_a_label_left_empty_beside_probabilities_is_an_abstention(
    outputs: dict[str, Any], names: tuple[str, ...]
) -> None:
    for sent in (outputs, captured(outputs)):
        found = read(sent)
        assert isinstance(found, Classification)
        assert (found.abstained, found.class_names, found.confidence) == (True, names, None)
        assert "abstained" in found.value
        assert found.agrees(names[-1]) is False


@pytest.mark.parametrize(
    ("outputs", "value", "confidence"),
    [
        ({"x": 1.0, "y": 2.0, "yaw": 0.1, "confidence": 0.9}, {"x": 1.0, "y": 2.0, "yaw": 0.1}, 0.9),
        ({"pose": {"x": 1.0, "y": 2.0, "confidence": 0.9}}, {"x": 1.0, "y": 2.0}, 0.9),
        ({"x": 1.0, "y": 0.0, "yaw": 0.0}, {"x": 1.0, "y": 0.0, "yaw": 0.0}, None),
        ({"amount": 3.0, "weight": 2.0}, {"amount": 3.0, "weight": 2.0}, None),
        ({"value": 3.5, "confidence": 0.9, "latency_ms": 4}, 3.5, 0.9),
        ({"mean": 3.5, "std": 1.0}, 3.5, None),
        ({"y": 3.5}, 3.5, None),
        ({"x": 1.0, "y": 2.0, "confidence": NAN, "frame": "map"}, {"x": 1.0, "y": 2.0}, None),
    ],
)
def test_numbers_by_name_are_all_of_the_answer_and_how_sure_it_is_stands_apart(
    outputs: dict[str, Any], value: Any, confidence: float | None
) -> None:
    for sent in (outputs, captured(outputs)):
        found = read(sent)
        assert (found.task, found.value, found.confidence) == ("regression", value, confidence)


@pytest.mark.parametrize(
    ("outputs", "gone"),
    [
        ({"cat": None, "dog": 0.1}, "cat"),
        ({"scores": {"cat": NAN, "dog": 0.1}}, "cat"),
        ({"x": None, "y": 2.0}, "x"),
        ({"label": None, "score": 0.3}, "label"),
    ],
)
def test_what_is_left_of_several_numbers_is_not_the_answer(outputs: dict[str, Any], gone: str) -> None:
    for sent in (outputs, captured(outputs)):
        found = read(sent)
        assert isinstance(found, Unknown)
        assert f"outputs.{gone} is missing" in found.reason


@pytest.mark.parametrize(
    ("outputs", "value", "confidence"),
    [
        ({"approved": True, "probability": 0.8, "reasons": []}, "True", 0.8),
        ({"approved": False, "probability": 0.8, "reasons": ["late", "new"]}, "False", 0.8),
        ({"approved": False, "probability": 0.2}, "False", 0.8),
        ({"is_spam": True, "confidence": 0.9, "cached": True}, "True", 0.9),
        ({"is_spam": False}, "False", None),
        ({"approved": True, "probability": 0.8, "message": "low risk"}, "True", 0.8),
    ],
)
def test_one_boolean_and_its_probability_are_a_class_named_true_or_false(
    outputs: dict[str, Any], value: str, confidence: float | None
) -> None:
    for sent in (outputs, captured(outputs)):
        found = read(sent)
        assert (found.task, found.value, found.confidence) == ("classification", value, confidence)
        assert found.class_names == ("False", "True")
    assert read({"probs": [0.1, 0.9], "cached": True}).value == "1"
    assert read({"text": "Paris", "score": 0.9, "stopped": True}).value == "Paris"


@pytest.mark.parametrize(
    ("outputs", "value"),
    [
        ({"value": [(3, 0.9), (5, 0.8)]}, ["3", "5"]),
        ({"value": [("b", 2.5), ("a", 1.5)]}, ["b", "a"]),
        ({"value": [30, 5, 7]}, ["30", "5", "7"]),
        ({"recommendations": np.array([[3, 0.9], [5, 0.8]])}, ["3", "5"]),
        ({"ids": [9, 4]}, ["9", "4"]),
        ({"value": [{"id": 3, "score": 0.9}, {"id": 5, "score": 0.8}]}, ["3", "5"]),
    ],
)
def test_ids_and_pairs_of_an_id_and_a_score_are_rankings(outputs: dict[str, Any], value: list[str]) -> None:
    for sent in (outputs, captured(outputs)):
        assert read(sent) == Ranking(value)
    assert read({"value": [3, 3, 4]}).task == "regression"
    assert read({"value": [1.5, 2.5]}).task == "regression"


def test_a_row_of_probabilities_beside_class_names_is_a_classification_whatever_it_is_called() -> None:
    found = read({"prediction": np.array([0.1, 0.7, 0.2]), "class_names": NAMES})
    assert found == Classification("cat", tuple(NAMES), 0.7)
    assert read({"prediction": [11.5, 7.0, 3.0], "class_names": NAMES}).task == "regression"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.zeros((3, 4)), "an array of float64 of shape (3, 4)"),
        (b"\xff\xfe", "2 bytes"),
        ([], "an empty list"),
        ([1, "a", {}], "a list of dict, int, str"),
        ({"a": [[1, 2], [3, 4]]}, "a mapping of a"),
        (None, "value is missing"),
        (object(), "one object"),
    ],
)
def test_a_value_that_cannot_be_read_is_told_by_its_kind(value: Any, told: str) -> None:
    for names in ({}, {"class_names": NAMES}):
        found = read({"value": value, **names})
        assert isinstance(found, Unknown)
        assert told in found.reason
