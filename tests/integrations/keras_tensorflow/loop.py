"""Keras on TensorFlow on its way to a person."""

from __future__ import annotations

from typing import Any

from support.integration_keras import X, keras_answers  # sets the backend before Keras is imported
from support.integration_loop import captures, main

import keras  # isort: skip

import davy


@captures("Keras, on TensorFlow")
def softmax(model: str) -> list[Any]:
    return keras_answers(model)


@captures("Keras, one sigmoid unit")
def sigmoid(model: str) -> list[Any]:
    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, activation="sigmoid")])
    watched = davy.watch(net, model, output="probs", class_names=["ham", "spam"])
    return ["spam" if each > 0.5 else "ham" for each in watched.predict(X, verbose=0).ravel()]


if __name__ == "__main__":
    main()
