"""A list of one beside a list of one answer: a batch of one, unless something says otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.sdk_rig import inferences_in

import davy
from davy.event import Inference

pytestmark = pytest.mark.fast


def captured(url: str) -> list[Inference]:
    assert davy.flush()
    return inferences_in(url)


PICTURE = np.zeros((4, 5, 3), np.uint8)
LISTS_OF_ONE = [
    (lambda images: ["cat" for _ in images], [PICTURE], PICTURE, {"label": "cat"}),
    (lambda texts: [{"label": "x", "score": 0.5} for _ in texts], ["hi"], "hi", {"label": "x", "score": 0.5}),
    (lambda texts: np.ones((len(texts), 2)) / 2, ["hi"], "hi", {"probs": [0.5, 0.5]}),
    (lambda x: ["cat"], [2.0], [2.0], {"value": ["cat"]}),  # one number is a row of one number
]


@pytest.mark.parametrize(("function", "given", "asked", "answered"), LISTS_OF_ONE)
def test_a_list_of_one_beside_a_list_of_one_answer_is_a_batch_of_one(
    function: Any, given: Any, asked: Any, answered: Any, own_client: str
) -> None:
    watched = davy.watch(function, "m:1")
    for _ in range(3):  # the short way reads alike
        assert len(watched(given)) == 1
    for one in captured(own_client):
        (value,) = one.inputs.values()
        assert np.array_equal(value, asked)
        assert {name: np.asarray(each).tolist() for name, each in one.outputs.items()} == answered
    assert davy.stats()["misread"] == {}


def test_a_list_of_one_record_has_the_fields_of_the_record(own_client: str) -> None:
    for batched in (None, True):
        watched = davy.watch(lambda rows, scale: [0.7 for _ in rows], "m:1", batched=batched)
        for _ in range(2):
            watched([{"age": 3, "home": {"city": "Graz"}}], 2.0)
    names = [sorted(one.inputs) for one in captured(own_client)]
    assert names == [["age", "home.city", "scale"]] * 2 + [["age", "home.city"]] * 2


def test_lists_that_are_no_batch_of_one_stay_lists(own_client: str) -> None:
    found = davy.watch(lambda documents: ["it"], "m:1")
    for documents in (["a", "b"], ["a"]):
        found(documents)
    davy.watch(lambda documents: ["it"], "m:2", batched=False)(["a"])
    davy.watch(lambda query, documents: ["it"], "m:3")("q", ["a"])
    davy.watch(lambda messages: ["hi"], "m:4")([{"role": "user", "content": "hello"}])
    assert [one.outputs["value"] for one in captured(own_client)] == [["it"]] * 4 + [["hi"]]
