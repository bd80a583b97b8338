"""Names of classes: known to most models, sent once a model, and read back beside every answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.sdk_rig import Store, envelopes_in, inferences_in, start

import davy

pytestmark = pytest.mark.fast
X = np.random.default_rng(0).normal(size=(60, 3))
DRAWN = np.random.default_rng(1).integers(0, 3, 60)
MODELS = {
    "plain": LogisticRegression,
    "pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "search": lambda: GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2),
}


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("classes", [[1, 3, 7], ["setosa", "versicolor", "virginica"], [False, True, True]])
def test_an_estimator_tells_its_classes(own_client: str, kind: str, method: str, classes: list[Any]) -> None:
    model = MODELS[kind]().fit(X, np.array(classes)[DRAWN])
    getattr(davy.watch(model, "m:1"), method)(X[:4])
    assert davy.flush()
    found = inferences_in(own_client)
    assert [one.outputs["class_names"] for one in found] == [[str(each) for each in model.classes_]] * 4
    assert [one.outputs["label"] for one in found] == model.predict(X[:4]).tolist()


def test_names_that_the_app_gives_travel_once_an_envelope() -> None:
    sink = Store()
    start(sink)
    predict = davy.watch(lambda x: [0.25, 0.75], "m:1", class_names=("cat", "dog"))
    sizes = []
    for count in (1, 100):
        for _ in range(count):
            predict(1.0)
        assert davy.flush()
        sizes.append(len(sink.messages[-1].value))
    assert {tuple(one.outputs["class_names"]) for one in sink.inferences} == {("cat", "dog")}
    assert sizes[1] < sizes[0] + 100 * 80


def test_names_that_are_none_are_left_out(own_client: str) -> None:
    davy.watch(lambda x: [0.25, 0.75], "m:1", class_names="cat")(1.0)
    assert davy.flush()
    assert "class_names" not in inferences_in(own_client)[0].outputs


@pytest.mark.parametrize("batched", [None, True])
def test_names_that_are_not_as_many_as_probabilities_are_not_used_and_counted_by_name(
    batched: bool | None, own_client: str, caplog: pytest.LogCaptureFixture
) -> None:
    probs = np.array([0.2, 0.3, 0.5])
    watched = davy.watch(
        lambda x: np.tile(probs, (2, 1)) if batched else probs, "m:1", class_names=["a", "b"], batched=batched
    )
    for _ in range(3):
        watched(np.ones((2, 4)))
    davy.capture("m:2", {"x": 1}, {"probs": probs, "class_names": ["a", "b"]})
    davy.capture("m:3", {"x": 1}, {"probs": probs, "class_names": ["a", "b", "c"]})
    assert davy.flush()
    named = {one.model for one in inferences_in(own_client) if "class_names" in one.outputs}
    assert named == {"m:3"}
    assert davy.stats()["left_out"] == {f"m:{i} outputs.class_names: names": 1 for i in (1, 2)}
    assert "outputs.class_names of m:1" in caplog.text
    told = [envelope.report for envelope in envelopes_in(own_client) if envelope.report]
    assert told == [{"field:outputs.class_names:names": 1}] * 2


def by_name(row: Any) -> dict[str, Any]:
    cat = float(abs(row[0]) % 1)
    return {
        "probs": {"cat": cat, "dog": 1 - cat} if row[1] > 0 else {"dog": 1 - cat, "cat": cat},
        "note": "x",
    }


@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize("batched", [None, True])
def test_probabilities_by_name_are_probs_and_the_names_are_those_of_the_classes(
    batched: bool | None, tagged: bool, own_client: str
) -> None:
    watched = davy.watch(
        lambda x: [by_name(row) for row in x] if batched else by_name(x), "m:1", batched=batched
    )
    with davy.context(tags={"route": "/"} if tagged else None):
        for rows in (X[:4], X[4:8]) if batched else X[:8]:
            watched(rows)
    assert davy.flush()
    found = inferences_in(own_client)
    assert {tuple(one.outputs) for one in found} == {("note", "probs", "class_names")}
    assert {tuple(one.outputs["class_names"]) for one in found} == {("cat", "dog")}
    assert [one.outputs["probs"].tolist() for one in found] == [
        [float(abs(row[0]) % 1), 1 - float(abs(row[0]) % 1)] for row in X[:8]
    ]


@pytest.mark.parametrize(
    ("answers", "names"),
    [
        ([{"sweet": 0.9, "sour": 0.9}, {"sweet": 0.5, "sour": 0.5}], ["probs.sweet", "probs.sour"]),
        ([{"a": 0.5, "b": 0.5}, {"a": 0.5, "c": 0.5}, {"a": 0.5, "b": 0.5}], ["probs.a", "probs.b"]),
        ([{"a": 0.5, "b": "much"}], ["probs.a", "probs.b"]),
    ],
)
def test_numbers_by_name_that_are_no_distribution_over_the_same_classes_stay_fields(
    answers: list[Any], names: list[str], own_client: str
) -> None:
    for answer in answers:
        davy.capture("m:1", {"x": 1}, {"probs": answer})
    assert davy.flush()
    last = inferences_in(own_client)[-1].outputs
    assert [name for name in last if name != "class_names"] == names
