"""What holds for Keras 3 models on every backend; a test module of each group imports it."""

from __future__ import annotations

import os
import pickle
from importlib.util import find_spec
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow" if find_spec("tensorflow") else "torch"

import keras
import numpy as np
import pytest

import davy
from support.sdk_rig import inferences_in

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> Any:
    inputs = keras.Input((4,), name="features")
    hidden = keras.layers.Dense(5, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(hidden))


@pytest.mark.parametrize("method", ["predict", "predict_on_batch", "__call__"])
def test_predictions_and_calls_are_captured_once(method: str, model: Any, own_client: str) -> None:
    watched = davy.watch(model, "net:1")
    assert isinstance(watched, keras.Model)
    answer = getattr(watched, method)(X, **({"verbose": 0} if method == "predict" else {}))
    davy.flush()
    found = inferences_in(own_client)
    np.testing.assert_array_equal([one.inputs["features"] for one in found], X)
    probs = keras.ops.convert_to_numpy(answer)
    np.testing.assert_array_equal([one.outputs["probs"] for one in found], probs)


def test_a_model_under_watch_trains_and_pickles_and_builds_others(model: Any, own_client: str) -> None:
    watched = davy.watch(model, "net:1")
    watched.compile("sgd", "sparse_categorical_crossentropy")
    watched.fit(X, np.zeros(6), epochs=1, verbose=0)
    inputs = keras.Input((4,))
    keras.Model(inputs, watched(inputs))
    assert davy.stats()["captured"] == 0
    again = pickle.loads(pickle.dumps(watched))
    again.predict(X, verbose=0)
    davy.flush()
    assert len(inferences_in(own_client)) == 6


def test_several_outputs_keep_their_names(own_client: str) -> None:
    inputs = keras.Input((4,), name="features")
    outputs = {
        "kind": keras.layers.Dense(3, activation="softmax")(inputs),
        "size": keras.layers.Dense(1)(inputs),
    }
    davy.watch(keras.Model(inputs, outputs), "two:1").predict(X, verbose=0)
    davy.flush()
    assert {tuple(sorted(one.outputs)) for one in inferences_in(own_client)} == {("probs", "size")}


def test_what_keras_names_by_a_number_has_the_same_name_in_every_process(own_client: str) -> None:
    for _ in range(2):
        net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
        davy.watch(net, "net:1").predict(X, verbose=0)
    davy.flush()
    assert {(*one.inputs, *one.outputs) for one in inferences_in(own_client)} == {("x", "probs")}


def keras_answers(model: str) -> list[str]:
    """Let a classifier answer under watch; return the names of the classes."""
    names = ["cat", "cow", "dog"]
    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    answers = davy.watch(net, model, class_names=names).predict(X, verbose=0)
    return [names[at] for at in answers.argmax(axis=1)]
