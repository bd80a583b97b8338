"""XGBoost and LightGBM: boosters and scikit-learn estimators."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.datasets import load_breast_cancer, load_iris
from support.sdk_rig import inferences_in

import davy

X, Y = load_breast_cancer(return_X_y=True)
X, NAMES = X[:, :4].astype(np.float32), ["radius", "texture", "perimeter", "area"]
IRIS, KINDS = load_iris(return_X_y=True)
DUPLICATES = [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]


def forest(objective: str, x: Any = X, y: Any = Y, **more: Any) -> xgboost.Booster:
    return xgboost.train({"objective": objective, **more}, xgboost.DMatrix(x, y), num_boost_round=3)


def trees(objective: str, x: Any = X, y: Any = Y, **more: Any) -> lightgbm.Booster:
    settings = {"objective": objective, "verbose": -1, **more}
    return lightgbm.train(settings, lightgbm.Dataset(x, y), num_boost_round=3)


def test_a_booster_captures_a_matrix_with_its_names_and_holes(own_client: str) -> None:
    holed = X.copy()
    holed[3, 1] = np.nan
    matrix = xgboost.DMatrix(holed, feature_names=NAMES)
    model = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, Y, feature_names=NAMES), 3)
    watched = davy.watch(model, "cancer:1")
    assert isinstance(watched, xgboost.Booster)
    scores = watched.predict(matrix)
    davy.flush()
    found = inferences_in(own_client)
    assert set(found[0].inputs) == set(NAMES)
    given = np.array([[one.inputs[name] for name in NAMES] for one in found])
    np.testing.assert_array_equal(given, holed)
    np.testing.assert_array_equal([one.outputs["probs"][1] for one in found], scores)
    np.testing.assert_allclose([one.outputs["probs"].sum() for one in found], 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("objective", "more", "field"),
    [
        ("multi:softprob", {"num_class": 3}, "probs"),
        ("multi:softmax", {"num_class": 3}, "label"),
        ("binary:hinge", {}, "label"),
        ("reg:squarederror", {}, "value"),
    ],
)
def test_the_objective_of_a_booster_names_its_output(
    objective: str, more: dict[str, Any], field: str, own_client: str
) -> None:
    model = forest(objective, IRIS, KINDS > 0 if "binary" in objective else KINDS, **more)
    answers = davy.watch(model, "iris:1").inplace_predict(IRIS)
    davy.flush()
    np.testing.assert_array_equal([one.outputs[field] for one in inferences_in(own_client)], answers)


@pytest.mark.parametrize("asked", ["pred_contribs", "pred_leaf", "output_margin"])
def test_explanations_are_no_inferences(asked: str) -> None:
    matrix = xgboost.DMatrix(X)
    davy.watch(forest("binary:logistic"), "cancer:1").predict(matrix, **{asked: True})
    assert davy.stats()["captured"] == 0


@pytest.mark.parametrize("duplicate", DUPLICATES)
@pytest.mark.parametrize("make", [forest, trees])
def test_a_copied_booster_is_watched_as_well(make: Any, duplicate: Any, own_client: str) -> None:
    again = duplicate(davy.watch(make("binary:logistic" if make is forest else "binary"), "cancer:1"))
    again.predict(xgboost.DMatrix(X[:7]) if make is forest else X[:7])
    davy.flush()
    assert len(inferences_in(own_client)) == 7


def test_a_lightgbm_booster_captures_frames_matrices_and_what_was_saved(own_client: str) -> None:
    frame = pd.DataFrame(X, columns=NAMES)
    model = davy.watch(trees("binary", frame), "cancer:1")
    assert isinstance(model, lightgbm.Booster)
    scores = model.predict(frame)
    saved = lightgbm.Booster(model_str=model.model_to_string())
    davy.watch(saved, "cancer:2").predict(X)
    davy.flush()
    found = inferences_in(own_client)
    assert {tuple(one.inputs) for one in found} == {tuple(NAMES)}
    np.testing.assert_array_equal([one.outputs["probs"][1] for one in found], [*scores, *scores])


def test_lightgbm_of_three_classes_and_of_values(own_client: str) -> None:
    probs = davy.watch(trees("multiclass", IRIS, KINDS, num_class=3), "iris:1").predict(IRIS)
    values = davy.watch(trees("regression", IRIS, KINDS), "iris:2").predict(IRIS)
    davy.watch(trees("regression", IRIS, KINDS), "iris:2").predict(IRIS, pred_contrib=True)
    davy.flush()
    found = inferences_in(own_client)
    np.testing.assert_array_equal([one.outputs["probs"] for one in found if one.model == "iris:1"], probs)
    np.testing.assert_array_equal([one.outputs["value"] for one in found if one.model == "iris:2"], values)


def test_one_class_against_all_others_is_one_answer(own_client: str) -> None:
    probs = davy.watch(trees("multiclassova", IRIS, KINDS, num_class=3), "iris:1").predict(IRIS)
    davy.flush()
    found = inferences_in(own_client)
    np.testing.assert_array_equal([one.outputs["probs"] for one in found], probs)
    assert [one.outputs["label"] for one in found] == probs.argmax(axis=1).tolist()


@pytest.mark.parametrize(
    "model", [xgboost.XGBClassifier(n_estimators=3), lightgbm.LGBMClassifier(n_estimators=3, verbose=-1)]
)
def test_estimators_need_nothing_of_their_own(model: Any, own_client: str) -> None:
    frame = pd.DataFrame(X, columns=NAMES)
    watched = davy.watch(model.fit(frame, Y), "cancer:1")
    probs, labels = watched.predict_proba(frame), watched.predict(frame)
    davy.flush()
    found = inferences_in(own_client)
    assert {tuple(one.inputs) for one in found} == {tuple(NAMES)}
    np.testing.assert_array_equal([one.outputs["probs"] for one in found[: len(X)]], probs)
    assert [one.outputs["label"] for one in found[len(X) :]] == labels.tolist()
    assert [one.outputs["label"] for one in found[: len(X)]] == labels.tolist()
