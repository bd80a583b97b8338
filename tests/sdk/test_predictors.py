"""Objects with `predict_proba` or `fit` that are of no framework: each call shows whether it is one inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from support.sdk_rig import inferences_in

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


class Estimator(Predictor):
    """An object with `fit` that answers a single sample too."""

    def fit(self, *_: Any) -> None: ...


class Named(Estimator):
    feature_names_in_ = np.array(["age", "income"])
    classes_ = np.array(["bad", "good"])


class Prediction(NamedTuple):
    """What Surprise answers."""

    uid: str
    iid: str
    est: float
    details: dict[str, Any]


SAMPLES = {
    "list": [1.0, 2.0],
    "array": np.array([1.0, 2.0]),
    "whole numbers": np.array([1, 2]),
    "series": pd.Series({"age": 1.0, "income": 2.0}),
    "mapping": {"age": 1.0, "income": 2.0},
    "text": "1,2",
}
TABLES = (TABLE.tolist(), TABLE, pd.DataFrame(TABLE, columns=["age", "income"]))


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize(
    ("method", "answer", "read"),
    [
        ("predict", "good", {"label": "good"}),
        ("predict", np.str_("good"), {"label": "good"}),
        ("predict", np.array(["good"]), {"label": "good"}),
        ("predict", ["good"], {"label": "good"}),
        ("predict", 1, {"label": 1}),
        ("predict", np.float64(3.5), {"label": 3.5}),
        ("predict", np.array(3.5), {"label": 3.5}),
        ("predict", np.array([3.5]), {"label": 3.5}),
        ("predict", np.array([[3.5, 4.5, 5.5]]), {"label": [3.5, 4.5, 5.5]}),
        ("predict", {"rank": 2, "why": "old"}, {"rank": 2, "why": "old"}),
        ("predict_proba", [0.2, 0.8], {"probs": [0.2, 0.8], "label": "good"}),
        ("predict_proba", np.array([0.2, 0.8]), {"probs": [0.2, 0.8], "label": "good"}),
        ("predict_proba", np.array([[0.2, 0.8]]), {"probs": [0.2, 0.8], "label": "good"}),
    ],
)
def test_a_single_sample_of_an_estimator_is_one_inference_and_harms_no_batch(
    sample: str, method: str, answer: Any, read: dict[str, Any], own_client: str
) -> None:
    given = SAMPLES[sample]
    rows = np.full((5, 2), 0.5) if method == "predict_proba" else np.array(list("abcde"))
    model = davy.watch(Named(lambda x: answer if x is given else rows), "m:1")
    for each in (given, *TABLES, given):
        getattr(model, method)(each)
    davy.flush()
    found = sorted(inferences_in(own_client), key=lambda one: one.at)
    assert len(found) == 17
    for one in (found[0], found[-1]):
        outputs = {name: np.asarray(value).tolist() for name, value in one.outputs.items()}
        assert outputs == {**read, "class_names": ["bad", "good"]}
        assert dict(one.inputs) == ({"given": given} if sample == "text" else {"age": 1.0, "income": 2.0})
    assert [[*one.inputs.values()] for one in found[1:-1]] == TABLE.tolist() * 3
    assert not any(davy.stats()[account] for account in ("dropped", "left_out", "misread"))


@pytest.mark.parametrize("sample", ["list", "array", "whole numbers"])
def test_a_vector_without_names_stays_one_field(sample: str, own_client: str) -> None:
    model = davy.watch(Estimator(lambda x: 3.5 if np.ndim(x) == 1 else np.full(len(x), 3.5)), "m:1")
    model.predict(SAMPLES[sample])
    model.predict(TABLE.tolist())
    davy.flush()
    found = inferences_in(own_client)
    assert [np.asarray(one.inputs["given"]).tolist() for one in found] == [[1, 2], *TABLE.tolist()]
    assert [one.outputs["value"] for one in found] == [3.5] * 6
    assert not davy.stats()["left_out"]


def test_a_record_of_an_estimator_is_one_inference(own_client: str) -> None:
    class Recommender(Estimator):
        def predict(self, uid: str, iid: str, clip: bool = True) -> Any:
            return Prediction(uid, iid, 4.5, {"was_impossible": False})

    davy.watch(Recommender(print), "m:1").predict("ann", "film")
    davy.flush()
    (one,) = inferences_in(own_client)
    assert dict(one.inputs) == {"uid": "ann", "iid": "film", "clip": True}
    assert dict(one.outputs) == {"uid": "ann", "iid": "film", "est": 4.5, "details.was_impossible": False}


@pytest.mark.parametrize(
    "answer",
    [
        lambda n: np.arange(float(n)),
        lambda n: [*np.arange(float(n))],
        lambda n: pd.Series(np.arange(float(n)), index=pd.date_range("2026-01-01", periods=n)),
    ],
)
def test_a_forecast_is_one_inference(answer: Callable[[int], Any], own_client: str) -> None:
    class Forecaster(Estimator):
        def predict(self, n_periods: int = 3) -> Any:
            return answer(n_periods)

    model = davy.watch(Forecaster(print), "m:1")
    model.predict(7)
    model.predict()
    davy.flush()
    found = inferences_in(own_client)
    assert [dict(one.inputs) for one in found] == [{"n_periods": 7}, {"n_periods": 3}]
    assert [np.asarray(one.outputs["value"]).tolist() for one in found] == [[*range(7)], [*range(3)]]
    assert not davy.stats()["misread"]


@pytest.mark.parametrize(
    "answer", [np.array([0.4, 0.6]), ["a", "b"], {"low": [1.0, 2.0], "high": [3.0, 4.0]}]
)
def test_a_data_set_that_nobody_knows_is_as_many_inferences_as_its_answer_is_long(
    answer: Any, own_client: str
) -> None:
    davy.watch(Estimator(lambda _: answer), "m:1").predict(object())
    davy.flush()
    assert len(inferences_in(own_client)) == 2
    assert davy.stats()["misread"] == {"m:1: no_inputs": 2}


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ([1.0, 2.0], np.array([0.3, 0.7])),  # values of a vector each, as isotonic regression has them
        (np.array([1.0, 2.0]), np.array([0.3, 0.7])),
        (np.array([5, 7]), np.array([0.3, 0.7])),
        (["a", "b"], np.array([0.3, 0.7])),
        (pd.Series(["a", "b"], index=["x", "y"]), ["u", "v"]),
        ({"age": [1.0, 2.0], "city": ["a", "b"]}, np.array([0.3, 0.7])),
        ([{"age": 1}, {"age": 2}], [7, 8]),
    ],
)
def test_values_answered_one_by_one_stay_a_batch(given: Any, answer: Any, own_client: str) -> None:
    davy.watch(Estimator(lambda _: answer), "m:1").predict(given)
    davy.flush()
    found = inferences_in(own_client)
    assert len(found) == 2
    assert all(one.inputs for one in found)
    assert not davy.stats()["left_out"]


@pytest.mark.parametrize("answer", ["good", b"good", 3.5])
def test_a_batch_that_is_answered_with_one_value_is_one_row(answer: Any, own_client: str) -> None:
    davy.watch(lambda x: answer, "m:1", batched=True)(["a"])
    davy.flush()
    (one,) = inferences_in(own_client)
    assert (dict(one.inputs), [*one.outputs.values()]) == ({"x": "a"}, [answer])
