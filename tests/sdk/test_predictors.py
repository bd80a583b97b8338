"""Objects with `predict_proba` that are of no framework: each call shows whether it is one inference or many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sdk_rig import inferences_in
from sklearn.linear_model import LogisticRegression

import davy

pytestmark = pytest.mark.fast

PICTURE = np.zeros((32, 32, 3), np.uint8)
TABLE = np.arange(10.0).reshape(5, 2)


class Predictor:
    """A team's own class without `fit`, that answers what it was given to answer."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self.answer = answer

    def predict_proba(self, given: Any) -> Any:
        return self.answer(given)

    def predict(self, given: Any) -> Any:
        return self.answer(given)


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        (PICTURE, np.full(10, 0.1)),
        (PICTURE, np.full((1, 10), 0.1)),
        (np.zeros((10, 8)), np.full(10, 0.1)),  # as many classes as lines
        ("hello there", np.array([0.1, 0.9])),
        (np.array([1.0, 2.0]), np.array([0.2, 0.8])),
        ([1.0, 2.0], [0.2, 0.8]),
        ({"age": 3, "city": "x"}, np.array([0.2, 0.8])),
        (pd.DataFrame({"age": [3.0], "city": ["x"]}), np.array([0.2, 0.8])),
    ],
)
@pytest.mark.parametrize("batched", [None, False])
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_one_sample_with_a_vector_of_probabilities_is_one_row(
    given: Any, answer: Any, batched: bool | None, method: str, own_client: str
) -> None:
    model = davy.watch(Predictor(lambda _: answer), "m:1", batched=batched)
    assert getattr(model, method)(given) is answer
    getattr(model, method)(given)
    davy.flush()
    found = inferences_in(own_client)
    assert [one.outputs["probs"].tolist() for one in found] == [np.ravel(answer).tolist()] * 2
    for one in found:
        if isinstance(given, (dict, pd.DataFrame)):
            assert dict(one.inputs) == {"age": 3, "city": "x"}
        else:
            np.testing.assert_array_equal(one.inputs["given"], given)
    assert not davy.stats()["misread"]
    assert not davy.stats()["left_out"]


def test_a_mapping_answered_with_a_mapping_is_one_row(own_client: str) -> None:
    davy.watch(Predictor(lambda _: {"no": 0.1, "yes": 0.9}), "m:1").predict_proba({"age": 3})
    davy.flush()
    (one,) = inferences_in(own_client)
    assert (dict(one.inputs), dict(one.outputs)) == ({"age": 3}, {"no": 0.1, "yes": 0.9})


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        (TABLE, [*TABLE]),
        (TABLE.tolist(), [*TABLE]),
        (["a", "b"], ["a", "b"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array(["a", "b"], dtype=object), ["a", "b"]),
        (np.array([[1.0, 2.0]]), [[1.0, 2.0]]),
        (np.zeros((4, 8, 8, 3)), [np.zeros((8, 8, 3))] * 4),
    ],
)
def test_a_table_answered_a_row_at_a_time_is_a_batch(given: Any, rows: list[Any], own_client: str) -> None:
    answer = np.full((len(rows), 2), 0.5)
    davy.watch(Predictor(lambda _: answer), "m:1").predict_proba(given)
    labels = list("xyzuv"[: len(rows)])
    davy.watch(Predictor(lambda _: labels), "m:1").predict(given)
    davy.flush()
    found = inferences_in(own_client)
    assert [one.outputs["probs"].tolist() for one in found[: len(rows)]] == answer.tolist()
    assert [one.outputs["label"] for one in found[len(rows) :]] == labels
    for one, row in zip(found, [*rows, *rows], strict=True):
        np.testing.assert_array_equal(one.inputs["given"], row)


@pytest.mark.parametrize("single", [np.array([1.0, 2.0]), PICTURE])
def test_a_predictor_may_be_asked_of_one_and_of_many_in_turn(single: Any, own_client: str) -> None:
    model = davy.watch(Predictor(lambda x: np.full((*x.shape[: x.ndim - single.ndim], 2), 0.5)), "m:1")
    for _ in range(3):
        model.predict_proba(single)
        model.predict_proba(np.stack([single] * 2))
    davy.flush()
    found = inferences_in(own_client)
    assert [np.shape(one.inputs["given"]) for one in found] == [single.shape] * 9
    assert [np.shape(one.outputs["probs"]) for one in found] == [(2,)] * 9


def test_what_the_app_says_of_batches_holds(own_client: str) -> None:
    davy.watch(Predictor(lambda _: TABLE), "one:1", batched=False).predict_proba(TABLE)
    davy.watch(LogisticRegression().fit(TABLE, [0, 1, 0, 1, 0]), "fitted:1", batched=False).predict(TABLE)
    davy.watch(Predictor(lambda _: np.full(5, 0.2)), "many:1", batched=True).predict_proba(TABLE)
    davy.flush()
    found = inferences_in(own_client)
    assert [one.model for one in found] == ["one:1", "fitted:1", *["many:1"] * 5]
    shapes = [np.shape(one.inputs.get("given", one.inputs.get("X"))) for one in found]
    assert shapes == [(5, 2), (5, 2), *[(2,)] * 5]
    assert not davy.stats()["misread"]


def test_one_row_of_an_estimator_asked_of_one_keeps_its_columns_and_its_label(own_client: str) -> None:
    frame = pd.DataFrame(TABLE, columns=["age", "income"])
    model = davy.watch(LogisticRegression().fit(frame, list("ababa")), "m:1", batched=False)
    model.predict_proba(frame[:1])
    davy.flush()
    (one,) = inferences_in(own_client)
    assert set(one.inputs) == {"age", "income"}
    assert one.outputs["label"] in {"a", "b"}


def test_a_stream_that_answers_a_batch_is_counted(own_client: str) -> None:
    assert list(davy.watch(lambda rows: (row for row in rows), "m:1", batched=True)([1.0, 2.0])) == [1.0, 2.0]
    davy.flush()
    assert davy.stats()["misread"] == {"m:1: batch_as_row": 1}
