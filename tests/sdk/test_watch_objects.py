"""Watching objects: the stand-in answers every question as the object itself would."""

from __future__ import annotations

import copy
import pickle
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LinearRegression, LogisticRegression
from support.sdk_rig import Store, inferences_in, start

import davy

pytestmark = pytest.mark.fast

X = np.arange(20.0).reshape(10, 2)
Y = np.array([0, 1] * 5)


class Model:
    """A model that is callable, sized, indexable and a context manager as well."""

    scale = 2

    def __init__(self) -> None:
        self.name = "model"
        self.closed = False

    def predict(self, x: float) -> dict[str, float]:
        return {"value": self.scale * x}

    def __call__(self, x: float) -> float:
        return x

    def __len__(self) -> int:
        return 7

    def __getitem__(self, key: str) -> str:
        return key * 2

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return "Model()"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    @property
    def broken(self) -> int:
        raise AttributeError("as the original")


def test_the_stand_in_behaves_as_the_object() -> None:
    model = Model()
    watched = davy.watch(model, "m:1")
    assert isinstance(watched, Model)
    assert watched.__class__ is Model
    assert (len(watched), watched["a"], repr(watched), str(watched)) == (7, "aa", "Model()", "Model()")
    assert watched == model
    assert model == watched
    assert hash(watched) == hash(model)
    assert watched(3.0) == 3.0
    assert dir(watched) == dir(model)
    assert vars(watched) == vars(model)
    assert watched.__doc__ == Model.__doc__
    with watched:
        pass
    assert model.closed
    with pytest.raises(AttributeError, match="as the original"):
        _ = watched.broken
    with pytest.raises(TypeError):
        iter(davy.watch(LinearRegression(), "m:1"))


def test_attributes_are_written_to_the_object() -> None:
    model = Model()
    watched = davy.watch(model, "m:1")
    watched.scale = 5
    assert model.scale == 5
    assert watched.predict(1.0) == {"value": 5.0}
    del watched.scale
    assert model.scale == 2


@pytest.mark.parametrize("duplicate", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy, copy.copy])
def test_a_pickled_or_copied_stand_in_is_watched_as_well(duplicate: Any, own_client: str) -> None:
    found = duplicate(davy.watch(Model(), "m:1"))
    assert isinstance(found, Model)
    found.predict(3.0)
    davy.flush()
    assert [dict(one.outputs) for one in inferences_in(own_client)] == [{"value": 6.0}]


def test_an_object_without_predict_is_watched_when_called(own_client: str) -> None:
    class Net:
        training = False

        def __call__(self, x: float) -> np.ndarray[Any, Any]:
            return np.array([0.25, 0.75])

    net = davy.watch(Net(), "net:1")
    net(1.0)
    assert net.training is False
    davy.flush()
    assert [one.outputs["probs"].tolist() for one in inferences_in(own_client)] == [[0.25, 0.75]]


def test_classifiers_give_labels_and_probabilities_a_row(own_client: str) -> None:
    model = davy.watch(LogisticRegression().fit(X, Y), "m:1")
    labels, probs = model.predict(X), model.predict_proba(X)
    davy.flush()
    found = inferences_in(own_client)
    assert [one.outputs["label"] for one in found[:10]] == labels.tolist()
    np.testing.assert_array_equal([one.outputs["probs"] for one in found[10:]], probs)
    np.testing.assert_array_equal([one.inputs["X"] for one in found[:10]], X)


def test_regressors_give_values(own_client: str) -> None:
    model = davy.watch(LinearRegression().fit(X, Y), "m:1")
    values = model.predict(X)
    davy.flush()
    assert [one.outputs["value"] for one in inferences_in(own_client)] == values.tolist()


def test_columns_of_a_frame_or_named_columns_of_a_matrix_become_fields(own_client: str) -> None:
    frame = pd.DataFrame(X, columns=["age", "income"])
    davy.watch(LinearRegression().fit(frame, Y), "m:1").predict(frame)
    davy.watch(LinearRegression().fit(X, Y), "m:1", inputs=["age", "income"]).predict(X)
    davy.flush()
    found = inferences_in(own_client)
    assert len(found) == 20
    assert {tuple(sorted(one.inputs)) for one in found} == {("age", "income")}


def test_an_estimator_under_watch_is_still_an_estimator() -> None:
    model = davy.watch(LogisticRegression(C=3.0), "m:1")
    assert isinstance(model, BaseEstimator)
    assert model.get_params()["C"] == 3.0
    assert clone(model).C == 3.0
    start(Store())
    assert model.fit(X, Y).score(X, Y) >= 0
    assert hasattr(model, "predict_proba")
    assert not hasattr(davy.watch(LinearRegression(), "m:1"), "predict_proba")
    assert davy.stats()["captured"] == 0, "what the model calls on itself is its own business"


def test_an_object_whose_attributes_raise_comes_back_as_it_is() -> None:
    class Hostile:
        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

    hostile = Hostile()
    assert davy.watch(hostile, "m:1") is hostile


@pytest.mark.swallows
def test_an_object_that_explodes_on_every_question_comes_back_as_it_is() -> None:
    class Mine:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    mine = Mine()
    assert davy.watch(mine, "m:1") is mine
    assert davy.stats()["not_watchable"] == 1
