"""Watching functions: arguments by name, answers by meaning, and nothing changed for the caller."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from collections import namedtuple
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from support.sdk_rig import Store, inferences_in, start

import davy
from davy.event import Inference

pytestmark = pytest.mark.fast


def last(url: str) -> Inference:
    assert davy.flush()
    return inferences_in(url)[-1]


@davy.watch(model="double:1")
def double(x: float, scale: float = 2.0, *more: float, offset: int = 0, **rest: Any) -> float:
    """Doubles."""
    return x * scale + offset


def test_the_function_answers_as_before_and_keeps_its_name_and_signature() -> None:
    start(Store())
    assert double(3.0) == 6.0
    assert (double.__name__, double.__doc__) == ("double", "Doubles.")
    assert list(inspect.signature(double).parameters) == ["x", "scale", "more", "offset", "rest"]
    assert pickle.loads(pickle.dumps(double)) is double


@pytest.mark.parametrize(
    ("args", "kwargs", "found"),
    [
        ((3.0,), {}, {"x": 3.0, "scale": 2.0, "offset": 0}),
        ((), {"x": 3.0, "offset": 1}, {"x": 3.0, "scale": 2.0, "offset": 1}),
        (
            (3.0, 1.0, 7.0, 8.0),
            {"extra": "e"},
            {"x": 3.0, "scale": 1.0, "offset": 0, "more": [7.0, 8.0], "extra": "e"},
        ),
    ],
)
def test_arguments_are_bound_by_name(args: Any, kwargs: Any, found: Any, own_client: str) -> None:
    double(*args, **kwargs)
    given = dict(last(own_client).inputs)
    given |= {name: value.tolist() for name, value in given.items() if isinstance(value, np.ndarray)}
    assert given == found


def test_the_very_object_is_returned() -> None:
    answer = {"probs": np.array([0.5, 0.5])}
    start(Store())
    assert davy.watch(lambda x: answer, "m:1")(1) is answer


def test_the_models_own_exceptions_pass_and_nothing_is_captured() -> None:
    class Broken(Exception):
        pass

    @davy.watch("m:1")
    def predict(x: float) -> float:
        raise Broken(x)

    start(Store())
    with pytest.raises(Broken, match="3"):
        predict(3)
    with pytest.raises(TypeError):
        predict()
    assert davy.stats()["captured"] == 0


Answer = namedtuple("Answer", "label score")  # noqa: PYI024 - the untyped form is what is tested


class Typed(NamedTuple):
    value: float


@dataclass
class Scored:
    label: str
    embedding: list[float]


ANSWERS: list[tuple[Any, dict[str, Any], Any]] = [
    ({"probs": [0.5, 0.5], "embedding": [1.0]}, {"probs": [0.5, 0.5]}, [1.0]),
    ({"label": "cat", "logits": [1.0, 2.0]}, {"label": "cat", "logits": [1.0, 2.0]}, None),
    (np.array([0.25, 0.75]), {"probs": [0.25, 0.75]}, None),
    ([0.25, 0.75], {"probs": [0.25, 0.75]}, None),
    (np.array([0.25, 0.7]), {"value": [0.25, 0.7]}, None),
    (np.array([-0.5, 1.5]), {"value": [-0.5, 1.5]}, None),
    (np.array([1.0]), {"value": [1.0]}, None),
    (np.array([1, 0]), {"value": [1, 0]}, None),
    (np.full((2, 2), 0.25), {"value": [[0.25, 0.25], [0.25, 0.25]]}, None),
    (np.array([np.nan, 1.0]), {"value": [np.nan, 1.0]}, None),
    (0.5, {"value": 0.5}, None),
    (np.float32(0.5), {"value": 0.5}, None),
    (True, {"value": True}, None),
    ("cat", {"label": "cat"}, None),
    (Answer("cat", 0.5), {"label": "cat", "score": 0.5}, None),
    (Typed(0.5), {"value": 0.5}, None),
    (Scored("cat", [1.0, 2.0]), {"label": "cat"}, [1.0, 2.0]),
    (pd.Series({"label": "cat", "value": 0.5}), {"label": "cat", "value": 0.5}, None),
    (None, {}, None),
]


@pytest.mark.parametrize(("answer", "outputs", "embedding"), ANSWERS)
def test_answers_become_the_outputs_they_mean(
    answer: Any, outputs: Any, embedding: Any, own_client: str
) -> None:
    davy.watch(lambda x: answer, "m:1")(1.0)
    found = last(own_client)
    np.testing.assert_equal(
        {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in found.outputs.items()
        },
        outputs,
    )
    assert (None if found.embedding is None else found.embedding.tolist()) == embedding


@pytest.mark.parametrize(
    ("arguments", "inputs"),
    [
        (({"age": 3, "site": "x"},), {"age": 3, "site": "x"}),
        ((pd.Series({"age": 3, "site": "x"}),), {"age": 3, "site": "x"}),
        ((Scored("cat", [1.0]), 5), {"label": "cat", "embedding": [1.0], "second": 5}),
        (({"age": 3}, {"age": 4}), {"first.age": 3, "second.age": 4}),
        (({"age": 3}, {"size": 4}), {"first.age": 3, "second.size": 4}),
        (({"age": 3, "second": 7}, 5), {"age": 3, "first.second": 7, "second": 5}),
    ],
)
def test_records_among_the_arguments_become_fields(arguments: Any, inputs: Any, own_client: str) -> None:
    def predict(first: Any, second: Any = None) -> float:
        return 1.0

    davy.watch(predict, "m:1")(*arguments)
    found = last(own_client).inputs
    assert {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in found.items()
    } == inputs


def test_inputs_may_be_chosen_by_name_or_made_by_a_function(own_client: str) -> None:
    def predict(request: object, age: int, threshold: float) -> float:
        return 1.0

    davy.watch(predict, "m:1", inputs=["age"])(object(), 3, 0.5)
    assert dict(last(own_client).inputs) == {"age": 3}
    davy.watch(predict, "m:1", inputs=lambda request, age, threshold: {"decade": age // 10})(
        object(), 33, 0.5
    )
    assert dict(last(own_client).inputs) == {"decade": 3}


def test_coroutines_are_watched(own_client: str) -> None:
    @davy.watch("m:1")
    async def predict(x: float) -> float:
        await asyncio.sleep(0)
        return 2 * x

    assert inspect.iscoroutinefunction(predict)
    assert asyncio.run(predict(3.0)) == 6.0
    assert dict(last(own_client).outputs) == {"value": 6.0}


class Service:
    @davy.watch(model="m:1")
    def method(self, x: float) -> float:
        return x

    @classmethod
    @davy.watch(model="m:1")
    def of_class(cls, x: float) -> float:
        return x

    @davy.watch(model="m:1")
    @staticmethod
    def static(x: float) -> float:
        return x


@pytest.mark.parametrize("call", [Service().method, Service.of_class, Service.static, Service().static])
def test_methods_are_watched_without_self_and_cls(call: Any, own_client: str) -> None:
    assert call(3.0) == 3.0
    assert dict(last(own_client).inputs) == {"x": 3.0}


@pytest.mark.parametrize(
    "function", [partial(pow, 2), Service().method, abs], ids=["partial", "bound", "builtin"]
)
def test_any_routine_can_be_watched(function: Any, own_client: str) -> None:
    assert davy.watch(function, "m:1")(3) == function(3)
    assert last(own_client).outputs["value"] == function(3)


def test_latency_is_measured(own_client: str) -> None:
    davy.watch(lambda x: sum(range(100_000)), "m:1")(1.0)
    found = last(own_client)
    assert found.latency_ms is not None
    assert 0.1 < found.latency_ms < 5_000


def test_batched_functions_give_an_inference_a_row(own_client: str) -> None:
    @davy.watch(model="m:1", batched=True)
    def predict(x: Any, threshold: float = 0.5) -> dict[str, Any]:
        return {"probs": np.full((len(x), 2), 0.5), "embedding": x[:, :1], "label": ["a"] * len(x)}

    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    with davy.context(tags={"country": "FR"}, seq=10):
        predict(x)
    davy.flush()
    found = inferences_in(own_client)
    assert [one.inputs["x"].tolist() for one in found] == x.tolist()
    assert [(one.embedding.tolist(), one.outputs["label"]) for one in found if one.embedding is not None] == [
        ([0.0], "a"), ([2.0], "a"), ([4.0], "a"),
    ]  # fmt: skip
    assert [(one.seq, dict(one.tags)) for one in found] == [(seq, {"country": "FR"}) for seq in (10, 11, 12)]
    assert len({one.id for one in found}) == 3
    assert {tuple(one.inputs) for one in found} == {("x",)}


def test_a_large_batch_is_split_into_envelopes() -> None:
    sink = Store()
    start(sink)
    davy.watch(lambda x: x.sum(axis=1), "m:1", batched=True)(np.ones((1000, 3)))
    davy.flush()
    assert [envelope.count for envelope in sink.envelopes] == [200] * 5


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"age": [1, 2], "site": ["x", "y"]}),
        {"age": [1, 2], "site": ["x", "y"]},
        [{"age": 1, "site": "x"}, {"age": 2, "site": "y"}],
    ],
    ids=["frame", "columns", "records"],
)
def test_tables_become_fields_by_column(rows: Any, own_client: str) -> None:
    davy.watch(lambda rows: ["low", "high"], "m:1", batched=True)(rows)
    davy.flush()
    found = [(dict(one.inputs), dict(one.outputs)) for one in inferences_in(own_client)]
    assert found == [
        ({"age": 1, "site": "x"}, {"label": "low"}),
        ({"age": 2, "site": "y"}, {"label": "high"}),
    ]


def test_a_batch_whose_answer_has_another_length_is_counted() -> None:
    start(Store())
    predict = davy.watch(lambda x: np.zeros(3), "m:1", batched=True)
    assert len(predict(np.ones((2, 2)))) == 3
    assert davy.stats()["left_out"] == {"m:1 inputs.x: length": 3}


@pytest.mark.parametrize("target", [3, object(), Service, "digits:1"])
def test_what_cannot_be_watched_comes_back_as_it_is_and_is_counted(
    target: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert davy.watch(target, "m:1") is target
    assert davy.stats()["not_watchable"] == 1
    assert len(caplog.records) == 1


@pytest.mark.swallows
@pytest.mark.parametrize("model", ["", "no version", None])
def test_a_wrong_name_leaves_the_function_working(model: Any) -> None:
    start(Store())
    assert davy.watch(lambda x: 2 * x, model)(3) == 6
    assert davy.stats()["dropped"] == {"invalid_model": 1}
