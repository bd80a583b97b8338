"""The app's hook: sees every inference before anything of it is kept, and fails closed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.sdk_rig import inferences_in

import davy
from davy.event import Inference

pytestmark = pytest.mark.fast


def test_what_the_hook_gives_is_what_travels(own_client: str) -> None:
    def scrub(inference: Inference) -> Inference:
        return replace(inference, inputs={"x": 7.0}, tags={"seen": "yes"}, id=bytes(16), model="other:1")

    davy.init(before_capture=scrub)
    id = davy.capture("m:1", {"name": "Ann"}, {"value": 1.0}, group="g", latency_ms=3.0)
    davy.flush()
    (found,) = inferences_in(own_client)
    assert (dict(found.inputs), dict(found.tags), found.group) == ({"x": 7.0}, {"seen": "yes"}, "g")
    assert (found.model, found.id.hex(), found.latency_ms) == ("m:1", id, 3.0)


def test_what_it_leaves_out_is_counted(own_client: str) -> None:
    davy.init(before_capture=lambda inference: None if inference.inputs["x"] > 1 else inference)
    ids = [davy.capture("m:1", {"x": x}, {}) for x in (1.0, 2.0, 3.0)]
    davy.flush()
    assert [one.inputs["x"] for one in inferences_in(own_client)] == [1.0]
    assert ids[1:] == [None, None]
    assert davy.stats()["dropped"] == {"before_capture": 2}


@pytest.mark.swallows
@pytest.mark.parametrize("hook", [lambda inference: 1 / 0, lambda inference: "text", 7])
def test_a_hook_that_fails_lets_nothing_through(hook: Any, own_client: str) -> None:
    davy.init(before_capture=hook)
    assert davy.capture("m:1", {"x": 1.0}, {}) is None
    davy.watch(lambda x: x[:, 0], "m:1", batched=True)(np.zeros((3, 2)))
    davy.flush()
    assert inferences_in(own_client) == []
    assert davy.stats()["dropped"] == {"scrub_error": 4}


def test_it_sees_each_row_of_a_batch(own_client: str) -> None:
    davy.init(before_capture=lambda one: one if one.inputs["x"] != 2.0 else None)
    predict = davy.watch(lambda frame: {"value": frame["x"]}, "m:1", batched=True)
    with davy.context(seq=10):
        predict({"x": np.array([1.0, 2.0, 3.0])})
    davy.flush()
    assert [(one.inputs["x"], one.seq) for one in inferences_in(own_client)] == [(1.0, 10), (3.0, 12)]
    assert davy.stats()["dropped"] == {"before_capture": 1}


def test_the_rules_have_the_last_word(own_client: str) -> None:
    davy.init(
        before_capture=lambda one: replace(one, inputs={**one.inputs, "name": "Ann"}),
        fields={"inputs.name": "drop"},
    )
    davy.capture("m:1", {"x": 1.0}, {})
    davy.flush()
    (found,) = inferences_in(own_client)
    assert dict(found.inputs) == {"x": 1.0}
