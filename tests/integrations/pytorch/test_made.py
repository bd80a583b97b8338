"""What the app says of the calls of a module, ``inputs=`` and ``batched=``, and answers that are distributions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from support.sdk_rig import inferences_in
from torch import nn
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
)

import davy
from davy.event import Inference

torch.set_num_threads(1)
X = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


def captured(url: str) -> list[Inference]:
    assert davy.flush()
    return inferences_in(url)


class Answers(nn.Module):
    """Answers any call with what a function makes of its first argument."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Any, more: Any = None) -> Any:
        return self.answer(x)


class Graphs:
    """Three graphs with twelve nodes, as PyG has them."""

    __slots__ = ("batch", "x")

    def __init__(self) -> None:
        self.x = torch.ones(12, 4)
        self.batch = torch.arange(3).repeat_interleave(4)


@pytest.mark.parametrize("batched", [None, True])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda data: {"m": torch.zeros(3, 2)}, (2,)),
        (lambda data: {"m": [np.zeros(n) for n in (1, 2, 3)]}, None),
        (lambda data: {"m": ["a", "b", "c"], "season": "w"}, ()),
    ],
    ids=["tensor", "arrays of several lengths", "texts"],
)
def test_what_the_app_makes_tells_how_many_inferences_a_call_is(
    make: Any, shape: Any, batched: bool | None, own_client: str
) -> None:
    davy.watch(Answers(lambda data: torch.ones(3, 4)), "g:1", inputs=make, batched=batched)(Graphs())
    found = captured(own_client)
    assert [np.shape(each.outputs["value"]) for each in found] == [(4,)] * 3
    assert [{*each.inputs} - {"season"} for each in found] == [{"m"}] * 3
    assert shape is None or {np.shape(each.inputs["m"]) for each in found} == {shape}
    assert davy.stats()["left_out"] == {}


def test_batched_is_what_the_app_says(own_client: str) -> None:
    davy.watch(Answers(lambda data: torch.ones(3, 4)), "many:1", batched=True)(object())
    davy.watch(Answers(lambda x: x), "one:1", batched=False)(X)
    davy.watch(Answers(lambda x: x), "row:1", batched=False)(X[:1])
    found = captured(own_client)
    assert [np.shape(each.outputs["value"]) for each in found if each.model == "many:1"] == [(4,)] * 3
    assert [np.shape(each.outputs["value"]) for each in found if each.model == "one:1"] == [(6, 4)]
    assert [np.shape(each.inputs["x"]) for each in found if each.model == "row:1"] == [(4,)]
    assert "one:1: batch_as_row" not in davy.stats()["misread"]


@pytest.mark.parametrize(
    ("given", "names", "expected"),
    [
        ((X,), ["x"], {"x"}),
        ((X, torch.ones(6, 2)), ["more"], {"more"}),
        (({"age": X, "ssn": X},), ["age"], {"age"}),
        (({"age": X, "ssn": X},), ["x.age"], {"age"}),
        (({"age": X, "ssn": X},), ["x"], {"age", "ssn"}),
        (({"age": X, "ssn": X}, {"age": X}), ["x.age"], {"x.age"}),
        ((X,), ["a", "b", "c", "d"], {"a", "b", "c", "d"}),
        ((X,), ["xx"], set()),
        (({"age": X, "ssn": X},), ["agee"], set()),
        (([X, X],), ["agee"], set()),
    ],
)
def test_of_the_arguments_of_a_module_only_what_is_named_travels(
    given: Any, names: list[str], expected: set[str], own_client: str
) -> None:
    module = davy.watch(Answers(lambda x: torch.ones(6, 2)), "m:1", inputs=names)
    for _ in range(2):
        module(*given)
    found = captured(own_client)
    assert {frozenset(each.inputs) for each in found} == {frozenset(expected)}
    assert davy.stats()["misread"].get("m:1: no_inputs", 0) == (0 if expected else len(found))


def test_a_single_value_holds_for_every_row_and_a_failure_is_said(own_client: str) -> None:
    davy.watch(Answers(lambda x: x), "m:1", inputs=lambda x: {"season": "w", "n": 3, "x": x})(X)
    davy.watch(Answers(lambda x: x), "n:1", inputs=lambda x: x / "a")(X)
    found = captured(own_client)
    assert [(each.inputs["season"], each.inputs["n"]) for each in found if each.model == "m:1"] == [
        ("w", 3)
    ] * 6
    assert davy.stats()["misread"] == {"n:1: inputs_failed": 6}
    assert davy.stats()["dropped"] == {}


DISTRIBUTIONS: Mapping[str, tuple[Callable[[Any], Any], Mapping[str, tuple[int, ...]]]] = {
    "Normal": (lambda x: Normal(x, x.exp()), {"loc": (4,), "scale": (4,)}),
    "Categorical of logits": (lambda x: Categorical(logits=x), {"logits": (4,)}),
    "Categorical of probs": (lambda x: Categorical(x.softmax(1)), {"probs": (4,)}),
    "OneHotCategorical": (lambda x: OneHotCategorical(logits=x), {"logits": (4,)}),
    "Bernoulli": (lambda x: Bernoulli(logits=x), {"logits": (4,)}),
    "Beta": (lambda x: Independent(Normal(x, x.exp()), 1), {"loc": (4,), "scale": (4,)}),
    "MultivariateNormal": (
        lambda x: MultivariateNormal(x, torch.eye(4)),
        {"loc": (4,), "covariance_matrix": (4, 4)},
    ),
    "MixtureSameFamily": (
        lambda x: MixtureSameFamily(Categorical(logits=x), Normal(x, x.exp())),
        {
            "mixture_distribution.logits": (4,),
            "component_distribution.loc": (4,),
            "component_distribution.scale": (4,),
        },
    ),
}


@pytest.mark.parametrize(("make", "fields"), DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_a_distribution_is_its_parameters_an_inference_a_row(
    make: Any, fields: Mapping[str, tuple[int, ...]], own_client: str
) -> None:
    def after(x: Any) -> Any:
        found = make(x)
        for name in ("probs", "logits", "mean"):
            getattr(found, name, None)  # works one out of the other, and keeps it
        return found

    for answer in (make, after):
        davy.watch(Answers(answer), "m:1")(X)
    found = captured(own_client)
    assert [{name: np.shape(value) for name, value in each.outputs.items()} for each in found] == [
        fields
    ] * 12
    davy.watch(make, "f:1")(X[0:1])
    assert {*captured(own_client)[-1].outputs} == {*fields}


@pytest.mark.parametrize(
    "answer", [lambda x: (each for each in x), lambda x: object(), lambda x: Beta], ids=str
)
def test_what_cannot_travel_is_no_label(answer: Any, own_client: str) -> None:
    davy.watch(Answers(answer), "m:1")(X)
    assert len(captured(own_client)) == 1
    assert davy.stats()["left_out"] == {"m:1 outputs.value: type": 1}
