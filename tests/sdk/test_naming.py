"""An output has one name, from the first answer to the last: decided once a model, and widened at most once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import dropwhile
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support.sdk_rig import inferences_in

import davy
from davy.sdk.naming import Naming, surely_probabilities, surely_probabilities_in

pytestmark = pytest.mark.fast
ROUNDINGS: dict[str, Callable[[Any], Any]] = {
    "as they are": lambda p: p,
    "single": lambda p: p.astype(np.float32),
    "half": lambda p: p.astype(np.float16),
    "two decimals": lambda p: p.round(2),
    "one decimal": lambda p: p.round(1),
    "cut to three decimals": lambda p: np.floor(p * 1000) / 1000,
    "quantised": lambda p: np.round(p * 255) / 255,
    "a list": lambda p: p.round(2).tolist(),
}


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("classes", [2, 3, 10, 50])
def test_probabilities_are_probs_however_they_are_rounded(rounding: str, classes: int) -> None:
    drawn = np.random.default_rng(0).dirichlet(np.full(classes, 0.4), 500)
    for first in (0, 100, 200, 300):  # whichever answer comes first, in whichever process
        naming = Naming()
        names = {naming.of("m:1", "", ROUNDINGS[rounding](p)) for p in drawn[first : first + 100]}
        assert names == {"probs"}


@pytest.mark.parametrize("spread", [1.0, 5.0])
def test_regressions_and_scores_of_several_labels_are_values(spread: float) -> None:
    rng, naming = np.random.default_rng(0), Naming()
    assert {naming.of("m:1", "", rng.normal(scale=spread, size=4)) for _ in range(200)} == {"value"}
    assert {naming.of("m:2", "", rng.uniform(0.4, 1.0, 4)) for _ in range(200)} == {"value"}


def test_what_looked_like_probabilities_once_is_a_value_for_good() -> None:
    naming = Naming()
    answers = [[0.5, 0.5], [0.9, 0.95], [0.5, 0.5], [1.0, 0.0]]
    assert [naming.of("m:1", "", answer) for answer in answers] == ["probs", "value", "value", "value"]


@example([np.empty(0), np.array([0.5, 0.5]), np.empty(0), np.array([3.0, 1.0])])
@given(
    st.lists(
        arrays.arrays(
            np.float64, st.integers(0, 4), elements=st.one_of(st.floats(-2, 2), st.just(float("nan")))
        ),
        max_size=40,
    )
)
def test_a_name_changes_at_most_once_and_only_to_value(answers: list[Any]) -> None:
    naming = Naming()
    names = [naming.of("m:1", "", answer) for answer in answers]
    decided = len([*dropwhile(lambda answer: not answer.size, answers)])  # an empty one decides nothing
    names = names[len(names) - decided :]
    assert names == sorted(names)  # probs before value
    assert set(names) <= {"probs", "value"}


def test_each_output_of_each_model_has_a_name_of_its_own() -> None:
    naming, one = Naming(), np.array([[0.5, 0.5]])
    assert naming.of("m:1", "a", one, rows=True) == "probs"
    assert naming.of("m:1", "b", one * 9, rows=True) == "value"
    assert naming.of("m:2", "a", np.array(["x"]), rows=True) == "label"


@pytest.mark.parametrize("batched", [False, True])
def test_a_watched_function_gives_one_name(own_client: str, batched: bool) -> None:
    drawn = np.random.default_rng(3).dirichlet([1, 1, 1], (40, 5) if batched else 600).round(2)
    answers = iter(drawn)
    predict = davy.watch(lambda x: next(answers), "m:1", batched=batched)
    for _ in range(len(drawn)):
        predict(np.zeros((5, 2)) if batched else np.zeros(2))
    for answer in drawn[:20]:
        davy.capture("m:1", {"x": np.zeros(2)}, answer[0] if batched else answer)
    assert davy.flush()
    assert {tuple(one.outputs) for one in inferences_in(own_client)} == {("probs",)}


def test_free_text_and_short_answers_are_a_label(own_client: str) -> None:
    answers = iter(["yes", "no, because " * 50, "", "yes"])
    ask = davy.watch(lambda x: next(answers), "m:1")
    for _ in range(4):
        ask("hi")
    assert davy.flush()
    assert {tuple(one.outputs) for one in inferences_in(own_client)} == {("label",)}


@pytest.mark.parametrize("batched", [None, True])
@pytest.mark.parametrize("make", [np.asarray, np.ndarray.tolist])
def test_one_hot_answers_are_the_label_until_one_is_not(
    make: Any, batched: bool | None, own_client: str
) -> None:
    answers = [np.eye(4, dtype=np.int64)[[2, 0, 3]] if batched else np.eye(4, dtype=np.int64)[2]] * 3
    several = np.array([[0, 1, 1, 0]] * 3 if batched else [0, 1, 1, 0])
    watched = davy.watch(make, "m:1", batched=batched, inputs=lambda answer: {"x": [1.0] * len(answer)})
    for answer in [*answers, several, *answers]:
        watched(answer)
    assert davy.flush()
    found = inferences_in(own_client)
    half = len(found) * 3 // 7
    labels = [2, 0, 3] * 3 if batched else [2] * 3
    assert sorted(one.outputs["label"] for one in found if "label" in one.outputs) == sorted(labels)
    assert [*{name: 0 for one in found for name in one.outputs}] == ["label", "value"]
    assert sum("value" in one.outputs for one in found) == len(found) - half


@pytest.mark.parametrize("answer", [[0.0, 1.0, 0.0], [0, 1], [0, 2, 0], [0, 0, 0], [1], [True, False]])
def test_other_numbers_are_no_label(answer: list[Any]) -> None:
    assert Naming().of("m:1", "", np.array(answer)) != "label"


def test_what_the_app_names_keeps_its_numbers(own_client: str) -> None:
    davy.watch(lambda x: np.array([0, 1, 0]), "m:1", output="label")(1.0)
    davy.watch(lambda x: {"label": np.eye(3, dtype=int)}, "m:2", batched=True)(np.ones((3, 2)))
    assert davy.flush()
    assert {one.outputs["label"].shape for one in inferences_in(own_client)} == {(3,)}


@pytest.mark.parametrize("kind", [np.array, list, lambda answer: np.array([answer], np.float32)])
@pytest.mark.parametrize("refuted", [[-1.0, 3.0], [2.0, -1.0], [4.0, 3.0], [0.41, 0.437]])
@pytest.mark.parametrize("before", [1, 2, 40, 700])
def test_no_answer_that_cannot_be_probabilities_is_recorded_as_such(
    before: int, refuted: list[float], kind: Any, own_client: str
) -> None:
    answers = iter([[0.25, 0.75]] * before + [refuted, [0.25, 0.75]])
    predict = davy.watch(lambda x: kind(next(answers)), "m:1")
    for _ in range(before + 2):
        predict(1.0)
    davy.flush()
    *first, second, last = [one.outputs for one in inferences_in(own_client)]
    assert {*map(tuple, first)} == {("probs",)}
    assert np.allclose(second["value"], refuted)
    assert [*last] == ["value"]


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f8", "i8", "u1"])
@pytest.mark.parametrize("size", [0, 1, 3, 64, 65])
def test_the_bytes_of_an_answer_are_judged_as_the_answer_is(dtype: str, size: int) -> None:
    even = np.full(size, 1 / max(size, 1)).astype(dtype)
    first = np.eye(1, size)[0].astype(dtype)
    for answer in (even, first, first * 2, even - even.dtype.type(1)):
        found = surely_probabilities_in(answer.dtype, answer.size)(answer.tobytes())
        assert found == surely_probabilities(answer)
