"""TensorFlow's own functions: tensors, variables, what `tf.function` gives, and what it only looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from support.sdk_rig import inferences_in

import davy

X = tf.constant(np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32))


@pytest.mark.parametrize(
    ("function", "outputs"),
    [
        (tf.nn.softmax, {"probs": (4,)}),
        (tf.function(lambda x: {"logits": 2 * x, "aux": {"deep": x}}), {"logits": (4,), "aux.deep": (4,)}),
        (lambda x: tf.cast(x, tf.bfloat16), {"value": (4,)}),
        (lambda x: (tf.argmax(x, 1), tf.nn.softmax(x)), {"output_0": (), "probs": (4,)}),
    ],
)
@pytest.mark.parametrize("rows", [1, 8])
def test_batches_of_a_function_are_read_by_row(
    function: Callable[..., Any], outputs: dict[str, Any], rows: int, own_client: str
) -> None:
    davy.watch(function, "m:1", batched=True)(X[:rows])
    davy.watch(function, "m:2", batched=True)(tf.Variable(X[:rows]))
    davy.flush()
    found = inferences_in(own_client)
    assert (len(found), davy.stats()["dropped"]) == (2 * rows, {})
    for one in found:
        assert {name: np.shape(value) for name, value in one.outputs.items()} == outputs
        assert {np.shape(value) for value in one.inputs.values()} == {(4,)}


def test_a_row_answered_to_one_request_is_a_row(own_client: str) -> None:
    davy.watch(lambda x: tf.nn.softmax(x), "m:1")(X[:1])  # noqa: PLW0108 - a function of the app
    davy.flush()
    (one,) = inferences_in(own_client)
    assert (one.inputs["x"].shape, one.outputs["probs"].shape) == ((4,), (4,))


@pytest.mark.parametrize("batched", [True, None])
def test_a_function_that_tensorflow_only_looks_at_serves_nobody(batched: Any) -> None:
    watched = davy.watch(tf.autograph.experimental.do_not_convert(lambda x: 2 * x), "m:1", batched=batched)
    tf.function(watched).get_concrete_function(tf.TensorSpec((None, 4)))
    assert (davy.stats()["captured"], davy.stats()["incomplete"], davy.stats()["dropped"]) == (0, {}, {})
