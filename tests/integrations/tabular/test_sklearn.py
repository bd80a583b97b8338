"""scikit-learn: pipelines, frames, clones, several outputs."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.sdk_rig import inferences_in

import davy

FRAME, KINDS = load_iris(return_X_y=True, as_frame=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[KINDS]


def test_a_pipeline_gives_columns_by_name_probabilities_and_the_likeliest_label(own_client: str) -> None:
    model = davy.watch(make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, NAMES), "iris:1")
    probs = model.predict_proba(FRAME)
    davy.flush()
    found = inferences_in(own_client)
    assert {tuple(one.inputs) for one in found} == {tuple(FRAME.columns)}
    np.testing.assert_array_equal([one.outputs["probs"] for one in found], probs)
    labels = model._davy_target.predict(FRAME)
    assert [one.outputs["label"] for one in found] == labels.tolist()


def test_an_estimator_under_watch_is_cloned_fitted_pickled_and_validated(own_client: str) -> None:
    model = davy.watch(LogisticRegression(C=2.0), "iris:1")
    assert clone(model).C == 2.0
    assert cross_val_score(model, FRAME, NAMES, cv=2).min() > 0.5
    assert davy.stats()["captured"] == 0
    model.fit(FRAME, NAMES)
    again = pickle.loads(pickle.dumps(model))
    again.predict(FRAME[:5])
    davy.flush()
    assert [one.outputs["label"] for one in inferences_in(own_client)] == NAMES[:5].tolist()


def test_several_values_an_inference_stay_together(own_client: str) -> None:
    targets = FRAME.to_numpy()[:, :2]
    values = davy.watch(LinearRegression().fit(FRAME, targets), "sizes:1").predict(FRAME)
    davy.flush()
    np.testing.assert_array_equal([one.outputs["value"] for one in inferences_in(own_client)], values)


def test_several_targets_have_probabilities_each(own_client: str) -> None:
    targets = pd.DataFrame({"kind": KINDS, "large": FRAME.iloc[:, 0] > 5.8}).astype(int)
    forest = RandomForestClassifier(5, random_state=0).fit(FRAME, targets)
    kind, large = davy.watch(forest, "two:1").predict_proba(FRAME)
    davy.flush()
    found = inferences_in(own_client)
    assert len(found) == len(FRAME)
    np.testing.assert_array_equal([one.outputs["probs_0"] for one in found], kind)
    np.testing.assert_array_equal([one.outputs["probs_1"] for one in found], large)


def test_a_shadow_answers_with_the_method_that_was_called(own_client: str) -> None:
    old, new = (LogisticRegression(C=c, max_iter=500).fit(FRAME, NAMES) for c in (1.0, 0.01))
    davy.watch(old, "iris:1", shadow={"iris:2": new}).predict_proba(FRAME)
    davy.flush()
    found = inferences_in(own_client)
    shadow = [one.alternatives["iris:2"]["probs"] for one in found]
    np.testing.assert_allclose(shadow, new.predict_proba(FRAME))
    np.testing.assert_allclose([one.outputs["probs"] for one in found], old.predict_proba(FRAME))


def test_of_several_labels_none_is_the_likeliest(own_client: str) -> None:
    marks = (FRAME.mean() < FRAME).astype(int).to_numpy()
    watched = davy.watch(OneVsRestClassifier(LogisticRegression()).fit(FRAME, marks), "marks:1")
    probs = watched.predict_proba(FRAME)
    davy.flush()
    found = inferences_in(own_client)
    assert {(*one.outputs,) for one in found} == {("probs", "class_names")}
    np.testing.assert_array_equal([one.outputs["probs"] for one in found], probs)
