"""Keras 3 on PyTorch."""

from support.integration_keras import (
    model,
    test_a_model_under_watch_trains_and_pickles_and_builds_others,
    test_predictions_and_calls_are_captured_once,
    test_several_outputs_keep_their_names,
    test_what_keras_names_by_a_number_has_the_same_name_in_every_process,
)

__all__ = [
    "model",
    "test_a_model_under_watch_trains_and_pickles_and_builds_others",
    "test_predictions_and_calls_are_captured_once",
    "test_several_outputs_keep_their_names",
    "test_what_keras_names_by_a_number_has_the_same_name_in_every_process",
]
