"""Keras 3 on TensorFlow."""

from __future__ import annotations

from typing import Any

from support.integration_keras import (
    X,
    model,
    test_a_model_under_watch_trains_and_pickles_and_builds_others,
    test_predictions_and_calls_are_captured_once,
    test_several_outputs_keep_their_names,
    test_what_keras_names_by_a_number_has_the_same_name_in_every_process,
)

import davy

__all__ = [
    "model",
    "test_a_model_under_watch_trains_and_pickles_and_builds_others",
    "test_predictions_and_calls_are_captured_once",
    "test_several_outputs_keep_their_names",
    "test_what_keras_names_by_a_number_has_the_same_name_in_every_process",
]


def test_a_call_that_is_traced_is_left_alone(model: Any) -> None:
    import tensorflow as tf

    watched = davy.watch(model, "net:1")
    answer = tf.function(lambda x: watched(x) + 0)(X)
    assert answer.shape == (6, 3)
    assert davy.stats()["captured"] == 0
