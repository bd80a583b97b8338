"""One notion of an answer: whatever the outputs are called and however they travelled, they are read the same."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from davy.codec import Encoder, decode, pack
from davy.event import BlobRef
from davy.outputs import (
    CLASS_NAMES,
    LABELS,
    LOGITS,
    PROBS,
    TASKS,
    Classification,
    Detection,
    MultiLabel,
    Ranking,
    Regression,
    Segmentation,
    Text,
    Unknown,
    key,
    read,
    verdict,
)

pytestmark = pytest.mark.fast

NAMES = ["dog", "cat", "cow"]


def captured(outputs: dict[str, Any]) -> dict[str, Any]:
    """What comes back of outputs that went through the codec."""
    chunk = Encoder().encode("m:1", bytes(16), 1, {"x": 1.0}, outputs)
    return dict(decode(pack([chunk])).inference(0).outputs)


@pytest.mark.parametrize("field", CLASS_NAMES)
@pytest.mark.parametrize(
    "names",
    [NAMES, tuple(NAMES), np.array(NAMES), {0: "dog", 1: "cat", 2: "cow"}, {"dog": 0, "cat": 1, "cow": 2}],
)
def test_names_of_classes_count_under_every_name_and_in_every_shape(field: str, names: Any) -> None:
    found = read({"probs": np.array([0.1, 0.7, 0.2]), field: names})
    assert (found.task, found.value, found.class_names, found.confidence, found.form) == (
        "classification",
        "cat",
        ("dog", "cat", "cow"),
        0.7,
        "choice",
    )
    assert found.agrees("cat") is True
    assert found.agrees("dog") is False


@pytest.mark.parametrize(
    ("outputs", "value", "names", "confidence"),
    [
        ({"label": 3, "probs": [0.1, 0.1, 0.8], "class_names": ["1", "2", "3"]}, "3", ("1", "2", "3"), 0.8),
        ({"label": 1, "probs": [0.1, 0.1, 0.8], "class_names": [1, 2, 3]}, "1", ("1", "2", "3"), 0.1),
        ({"label": 8.0, "probs": [0.2, 0.8], "class_names": np.array([3.0, 8.0])}, "8", ("3", "8"), 0.8),
        ({"label": 2, "probs": [0.1, 0.1, 0.8]}, "2", ("0", "1", "2"), 0.8),
        ({"label": 3, "probs": [0.1, 0.1, 0.8]}, "3", (), None),
        ({"label": 2, "probs": [0.1, 0.8, 0.1]}, "2", (), None),
        ({"label": "cat"}, "cat", (), None),
        ({"label": np.int64(7)}, "7", (), None),
        ({"value": "cat"}, "cat", (), None),
        ({"value": 4, "class_names": ["3", "4"]}, "4", ("3", "4"), None),
        ({"cat": 0.9, "dog": 0.1}, "cat", ("cat", "dog"), 0.9),
        ({"scores": {"cat": 0.1, "dog": 0.9}}, "dog", ("cat", "dog"), 0.9),
        ({"scores.cat": 0.1, "scores.dog": 0.9}, "dog", ("cat", "dog"), 0.9),
        ({"result.cat": 0.1, "result.dog": 0.9}, "dog", ("cat", "dog"), 0.9),
        ({"v1.0": 0.1, "v2.0": 0.9}, "v2.0", ("v1.0", "v2.0"), 0.9),
        ({"label": "spam", "score": 0.98}, "spam", (), 0.98),
        ({"label": {"name": "spam", "score": 0.98}}, "spam", (), 0.98),
        ({"prediction": {"label": "spam", "score": 0.98}}, "spam", (), 0.98),
        ([{"label": "spam", "score": 0.98}, {"label": "ham", "score": 0.02}], "spam", ("spam", "ham"), 0.98),
        ({"sequence": "x", "labels": ["a", "b"], "scores": [0.7, 0.3]}, "a", ("a", "b"), 0.7),
        ({"label": True, "probs": [0.2, 0.8]}, "True", ("False", "True"), 0.8),
        ({"label": False, "class_names": ["no", "yes"]}, "no", ("no", "yes"), None),
        ({"probs": 0.7}, "1", ("0", "1"), 0.7),
        ({"probs": [[0.3]], "class_names": ["no", "yes"]}, "no", ("no", "yes"), 0.7),
        ({"label": 0, "probability": 0.2}, "0", ("0", "1"), 0.8),
        ({"logits": [[1.0, 1.0, 9.0]], "class_names": NAMES}, "cow", tuple(NAMES), 0.99933),
        ({"scores": [2.0, -1.0, 0.5], "class_names": NAMES}, "dog", tuple(NAMES), None),
        ({"probs": [0.33, 0.33, 0.33]}, "0", ("0", "1", "2"), 0.33),
        ({"probs": np.array([0.3, 0.7], np.float16)}, "1", ("0", "1"), 0.700195),
        ({"label": [0, 1, 0], "probs": [0.1, 0.8, 0.1], "class_names": NAMES}, "cat", tuple(NAMES), 0.8),
    ],
)
def test_one_class_is_found_with_its_names_and_the_confidence_of_its_own_column(
    outputs: Any, value: str, names: tuple[str, ...], confidence: float | None
) -> None:
    outputs = {"value": outputs} if isinstance(outputs, list) else outputs
    for sent in (outputs, captured(outputs)):
        found = read(sent)
        assert isinstance(found, Classification)
        assert (found.value, found.class_names, found.confidence) == (value, names, confidence)
        assert found.agrees(value) is True


def test_a_label_that_is_no_number_of_a_column_says_what_to_do() -> None:
    assert "outputs.class_names" in read({"label": 3, "probs": [0.1, 0.1, 0.8]}).note
    assert not read({"label": 2, "probs": [0.1, 0.1, 0.8]}).note


def test_an_abstention_is_an_answer_and_no_class() -> None:
    found = read({"label": "unsure", "probs": [0.4, 0.3, 0.3], "class_names": NAMES})
    assert isinstance(found, Classification)
    assert (found.value, found.class_names, found.abstained) == ("unsure", tuple(NAMES), True)
    assert found.agrees("cat") is False
    assert found.agrees("unsure") is True


@pytest.mark.parametrize(
    ("outputs", "value", "names"),
    [
        ({"probs": [0.95, 0.2, 0.8], "class_names": NAMES}, ["cow", "dog"], tuple(NAMES)),
        ({"scores": {"b": 0.9, "a": 0.8}}, ["a", "b"], ("b", "a")),
        ({"labels": ["b", "a", "b"]}, ["a", "b"], ()),
        ({"labels": ["a"]}, ["a"], ()),
        ({"labels": []}, [], ()),
        ({"label": np.array([1, 0, 1]), "class_names": NAMES}, ["cow", "dog"], tuple(NAMES)),
        ({"label": ["a", "b"], "probs": [0.9, 0.8]}, ["a", "b"], ()),
        ({"toxic": True, "spam": False}, ["toxic"], ("toxic", "spam")),
        ({"probs": [0.1, 0.2, 0.1], "class_names": NAMES}, [], tuple(NAMES)),
    ],
)
def test_several_classes_are_found_where_several_can_hold(
    outputs: dict[str, Any], value: list[str], names: tuple[str, ...]
) -> None:
    for sent in (outputs, captured(outputs)):
        found = read(sent)
        assert isinstance(found, MultiLabel)
        assert (found.value, found.class_names, found.form) == (value, names, "choices")
        assert found.agrees(list(reversed(value))) is True
        assert found.agrees([*value, "other"]) is False


def test_probabilities_of_a_multi_label_model_that_sum_to_one_by_chance_are_read_by_its_task() -> None:
    outputs = {"probs": [0.9, 0.05, 0.05], "class_names": NAMES}
    assert read(outputs).task == "classification"
    assert read(outputs, task="multi-label").value == ["dog"]


@pytest.mark.parametrize(
    ("outputs", "value"),
    [
        ({"value": 3.5}, 3.5),
        ({"value": np.float32(2.5)}, 2.5),
        ({"prediction": 7}, 7),
        ({"predictions": [[2.5]]}, 2.5),
        ({"value": [1.0, 2.0]}, [1.0, 2.0]),
        ({"lat": 3.25, "lon": 120.0}, {"lat": 3.25, "lon": 120.0}),
        ({"forecast": np.arange(3)}, [0.0, 1.0, 2.0]),
    ],
)
def test_numbers_are_regressions(outputs: dict[str, Any], value: Any) -> None:
    found = read(outputs)
    assert isinstance(found, Regression)
    assert (found.value, found.form) == (value, "number")
    assert found.agrees(value) is True


def test_a_truth_inside_the_models_interval_agrees() -> None:
    found = read({"value": 5.0, "lower": 4.0, "upper": 6.0})
    assert (found.agrees(5.9), found.agrees("4.5"), found.agrees(6.1)) == (True, True, False)
    assert (read({"value": 5.0}).agrees(5.9), read({"value": 5.0}).agrees("many")) == (False, None)


@pytest.mark.parametrize(
    "outputs",
    [
        {"boxes": [[0, 0, 10, 10], [5, 5, 9, 9]], "scores": [0.9, 0.1], "labels": ["cat", "dog"]},
        {"boxes": np.array([[0, 0, 10, 10]]), "classes": [1], "class_names": ["dog", "cat"]},
        {"detections": [{"bbox": [0, 0, 10, 10], "class": "cat", "score": 0.9}]},
        {"value": [{"label": "cat", "score": 0.9, "box": {"xmin": 0, "ymin": 0, "xmax": 10, "ymax": 10}}]},
    ],
)
def test_boxes_are_found_in_columns_and_in_records(outputs: dict[str, Any]) -> None:
    for sent in (outputs, captured(outputs)):
        found = read(sent)
        assert isinstance(found, Detection)
        assert found.shown() == "1 cat"
        assert found.agrees([{"box": [1, 0, 10, 10], "label": "cat"}]) is True
        assert found.agrees([{"box": [1, 0, 10, 10], "label": "cow"}]) is False
        assert found.agrees([]) is False


@pytest.mark.parametrize(
    "outputs", [{"boxes": []}, {"boxes": np.zeros((0, 4)), "scores": []}, {"detections": []}, {"boxes": [[]]}]
)
def test_a_detector_that_finds_nothing_is_a_detector(outputs: dict[str, Any]) -> None:
    found = read(outputs)
    assert (found.task, found.value, found.shown(), found.agrees([])) == ("detection", [], "nothing", True)


@pytest.mark.parametrize(
    ("outputs", "value"),
    [
        ({"text": "Paris"}, "Paris"),
        ({"answer": "Paris", "tokens": 3}, "Paris"),
        (
            {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris"}}], "id": "1"},
            "Paris",
        ),
        ({"choices": [{"text": "Paris"}]}, "Paris"),
        ({"message.content": "Paris", "message.role": "assistant"}, "Paris"),
        ({"content": [{"type": "text", "text": "Pa"}, {"type": "text", "text": "ris"}]}, "Paris"),
        ({"generated_text": ["Paris"]}, "Paris"),
        ({"label": "Paris is the capital of France.\nIt lies on the Seine."}, None),
        ({"anything": "Paris"}, "Paris"),
        ({"text": "Paris", "segments": [{"start": 0.0, "text": "Paris"}], "language": "en"}, "Paris"),
    ],
)
def test_texts_are_texts(outputs: dict[str, Any], value: str | None) -> None:
    found = read(outputs)
    assert isinstance(found, Text)
    assert found.value == (value or outputs["label"])
    assert found.agrees(f"  {found.value}\n") is True


def test_orders_are_rankings_and_regions_are_segmentations() -> None:
    assert read({"results": [{"id": 3, "score": 0.1}, {"id": 5, "score": 0.9}]}) == Ranking(["3", "5"])
    assert read({"ranking": ["a", "b"]}).agrees(["a"]) is True
    grid = np.array([[0, 1], [1, 1]])
    found = read({"mask": grid, "class_names": ["ground", "sky"]})
    assert isinstance(found, Segmentation)
    assert found.shown() == "ground 25%, sky 75%"
    assert (found.agrees(grid.tolist()), found.agrees(1 - grid)) == (True, False)
    assert read({"mask": BlobRef("ab", 3, "image/png")}).value == {"digest": "ab"}


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ({}, "no outputs"),
        ({"label": float("nan")}, "no outputs"),
        ({"probs": [float("nan"), 0.5]}, "outputs.probs"),
        ({"probs": "abc"}, "outputs.probs"),
        ({"probs": [0.3, 0.7], "class_names": ["a"]}, "1 names for 2 columns"),
        ({"value": float("inf")}, "not finite"),
        ({"boxes": [[1, 2, 3]]}, "four finite numbers"),
        ({"embedding": np.zeros(3)}, "embedding"),
    ],
)
def test_what_is_not_understood_says_why(outputs: dict[str, Any], told: str) -> None:
    found = read(outputs)
    assert isinstance(found, Unknown)
    assert told in found.reason
    assert (found.value, found.form, found.shown(), found.agrees("a")) == (None, "", "", None)


def test_a_class_is_one_class_however_it_is_written() -> None:
    assert key(3) == key(3.0) == key("3") == key(" 3.00 ") == key(np.float32(3)) == "3"
    assert key("007") != key(7)
    assert key("caf\u00e9") == key("cafe\u0301")
    assert key(True) == key("true")
    assert key(True) != key(1)


def test_what_a_person_stated_is_never_worked_out_anew() -> None:
    own = read({"label": "dog"})
    assert verdict("correct", "cat", own) == "correct"
    assert verdict("wrong", "dog", own) == "wrong"
    assert (verdict("", "dog", own), verdict("", "cat", own), verdict("", "cat", None)) == (
        "correct",
        "wrong",
        "",
    )


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 4),
    st.floats(),
    st.floats(0, 1),
    st.text(max_size=12),
    st.binary(max_size=6),
    st.sampled_from(
        [
            np.float32(0.5),
            np.int64(3),
            np.bool_(True),
            np.datetime64("NaT", "D"),
            np.str_("cat"),
            1j,
            object(),
        ]
    ),
)
ARRAYS = st.sampled_from(
    [
        np.zeros((0, 4)),
        np.zeros((2, 4)),
        np.ones((3, 3), np.uint8),
        np.array([0.2, 0.8]),
        np.array([[0.9, 0.8, 0.1]]),
        np.array(["a", None, 3], dtype=object),
        np.array(["a", "b"]),
        np.array(5.0),
        np.array([1 + 2j]),
        np.zeros((2, 0, 3)),
    ]
)
VALUES = st.recursive(
    st.one_of(SCALARS, ARRAYS, st.just(BlobRef("ab", 3, "image/png"))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(
            st.one_of(
                st.sampled_from(["label", "score", "box", "cat", "id", "text", "0", "1"]), st.text(max_size=4)
            ),
            inner,
            max_size=4,
        ),
        st.dictionaries(st.integers(0, 3), inner, max_size=3),
    ),
    max_leaves=12,
)
OTHERS = (
    "scores labels value values boxes detections mask text choices results ranking score confidence lower upper name"
    " scores.cat scores.dog output prediction predictions interval a.b.c . a. .a"
)
FIELDS = st.one_of(
    st.sampled_from([*CLASS_NAMES, *LABELS, *PROBS, *LOGITS, *OTHERS.split()]),
    st.text(max_size=5),
)


@given(st.dictionaries(FIELDS, VALUES, max_size=6), st.sampled_from(["", "multi-label"]))
@example({"label": 10**400, "probs": [0.5, 0.5]}, "")
@example({"class_names": [], "label": [1, 0]}, "")
@example({"probs": {"a": 10**400, "b": 1}}, "")
def test_whatever_the_outputs_are_they_are_read_and_the_answer_agrees_with_itself(
    outputs: dict[Any, Any], task: str
) -> None:
    found = read(outputs, task=task)
    json.dumps(found.value, allow_nan=False)
    json.dumps([*found.class_names, found.confidence, found.note], allow_nan=False)
    assert isinstance(found.shown(), str)
    assert found.confidence is None or 0.0 <= found.confidence <= 1.0
    if isinstance(found, Unknown):
        assert found.reason
        assert not found.reason.startswith("cannot be read")
    else:
        assert found.value is not None
        assert found.agrees(found.value) is True
        assert found.agrees(json.loads(json.dumps(found.value))) is True


@given(st.sampled_from(TASKS), VALUES, VALUES)
def test_any_two_values_can_be_compared(task: Any, one: Any, other: Any) -> None:
    assert task.same(one, other) in {True, False, None}
    assert task.same(one, other) == task.same(other, one)


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=8), st.sampled_from([100, 255, 1000]))
def test_rounded_probabilities_of_one_class_stay_one_class(weights: list[int], steps: int) -> None:
    exact = np.array(weights) / sum(weights)
    assert read({"probs": np.round(exact * steps) / steps}).task in {"classification", "unknown"}
