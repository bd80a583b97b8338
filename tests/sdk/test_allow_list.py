"""``inputs=[names]`` is an allow-list: whatever holds them, only what is named travels, and nothing is said aloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from support.sdk_rig import inferences_in

import davy
from davy.sdk.calls.choosing import choose, choose_leaves
from davy.sdk.calls.opening import open_arguments

pytestmark = pytest.mark.fast
ROW = {"age": 3.0, "ssn": 7.0}
FRAME = pd.DataFrame({"age": [3.0, 4.0], "ssn": [7.0, 8.0]})
X = FRAME.to_numpy()


@dataclass
class Person:
    age: float = 3.0
    ssn: float = 7.0


def captured(url: str) -> list[dict[str, Any]]:
    assert davy.flush()
    return [dict(each.inputs) for each in inferences_in(url)]


def one(x: Any) -> dict[str, str]:
    return {"label": "x"}


ONE: Mapping[str, Any] = {
    "a mapping": ROW,
    "a dataclass": Person(),
    "a row": pd.Series(ROW),
    "a structured row": np.array((3.0, 7.0), [("age", "f8"), ("ssn", "f8")])[()],
    "a frame of one row": FRAME[:1],
    "a frame of polars": pl.DataFrame(ROW),
    "a table of Arrow": pa.table({name: [value] for name, value in ROW.items()}),
}
MANY: Mapping[str, Any] = {
    "a frame": FRAME,
    "a frame of polars": pl.from_pandas(FRAME),
    "a table of Arrow": pa.Table.from_pandas(FRAME),
    "a mapping of columns": {"age": X[:, 0], "ssn": X[:, 1]},
    "records": [{"age": 3.0, "ssn": 7.0}, {"age": 4.0, "ssn": 8.0}],
    "objects": [Person(), Person(4.0)],
    "a structured array": np.array([(3.0, 7.0), (4.0, 8.0)], [("age", "f8"), ("ssn", "f8")]),
}

OTHERS = {**MANY, **ONE, "a number": 3.0, "a text": "text", "a vector": [1.0, 2.0], "a matrix": X}


@pytest.mark.parametrize("held", ONE.values(), ids=ONE)
@pytest.mark.parametrize("names", [["age"], ["x.age"], "age", ("age", "unheard-of")])
def test_of_what_an_argument_holds_only_what_is_named_travels(held: Any, names: Any, own_client: str) -> None:
    davy.watch(one, "m:1", inputs=names)(held)
    davy.watch(one, "m:1", inputs=names)(x=held)
    assert captured(own_client) == [{"age": 3.0}] * 2
    assert davy.stats()["misread"] == {}


@pytest.mark.parametrize("held", ONE.values(), ids=ONE)
def test_an_argument_that_is_named_travels_whole(held: Any, own_client: str) -> None:
    davy.watch(one, "m:1", inputs=["x"])(held)
    assert captured(own_client) == [ROW]


@pytest.mark.parametrize("name", [*OTHERS])
@pytest.mark.parametrize("batched", [False, True])
def test_where_nothing_is_named_nothing_travels_and_every_call_is_counted(
    name: str, batched: bool, own_client: str
) -> None:
    held = OTHERS[name]
    f = davy.watch(lambda x: [0.5, 0.25], "m:1", inputs=["agee"], batched=batched)
    for _ in range(3):
        f(held)
    found = captured(own_client)
    assert found == [{}] * (6 if batched else 3)
    assert davy.stats()["misread"] == {"m:1: no_inputs": len(found)}


@pytest.mark.parametrize("held", MANY.values(), ids=MANY)
def test_of_a_batch_only_the_columns_that_are_named_travel(held: Any, own_client: str) -> None:
    davy.watch(lambda x: np.zeros(2), "m:1", inputs=["age"], batched=True)(held)
    assert captured(own_client) == [{"age": 3.0}, {"age": 4.0}]


@pytest.mark.parametrize(
    "held", [FRAME, X, X.tolist(), pl.from_pandas(FRAME)], ids=["frame", "matrix", "lists", "polars"]
)
def test_of_an_estimator_that_knows_its_columns(held: Any, own_client: str) -> None:
    class Estimator:
        feature_names_in_ = ("age", "ssn")

        def fit(self) -> None: ...

        def predict(self, rows: Any) -> Any:
            return np.zeros(len(rows))

    davy.watch(Estimator(), "m:1", inputs=["age"]).predict(held)
    assert captured(own_client) == [{"age": 3.0}, {"age": 4.0}]


def test_a_matrix_without_names_gets_them_and_one_of_other_columns_stays(own_client: str) -> None:
    davy.watch(LinearRegression().fit(X, X[:, 0]), "m:1", inputs=["age", "ssn"]).predict(X)
    davy.watch(LinearRegression().fit(X[:, :1], X[:, 0]), "n:1", inputs=["age", "ssn"]).predict(X[:, :1])
    assert captured(own_client) == [ROW, {"age": 4.0, "ssn": 8.0}, {}, {}]
    assert davy.stats()["misread"] == {"n:1: no_inputs": 2}


@pytest.mark.parametrize(
    ("function", "call"),
    [
        (lambda **more: 1.0, {"ssn": "123"}),
        (lambda *more: 1.0, {}),
        (lambda user, item: 1.0, {"user": {"ssn": 1}, "item": {"ssn": 2}}),
    ],
)
def test_no_shape_of_a_call_lets_anything_else_through(
    function: Callable[..., Any], call: dict[str, Any], own_client: str
) -> None:
    davy.watch(function, "m:1", inputs=["age"])(*(() if call else ("123-45",)), **call)
    assert captured(own_client) == [{}]
    assert davy.stats()["misread"] == {"m:1: no_inputs": 1}


def test_items_of_one_name_in_several_arguments_and_deep_ones(own_client: str) -> None:
    f = davy.watch(lambda user, item: 1.0, "m:1", inputs=["user.home.city", "item.price"])
    f({"home": {"city": "Graz", "street": "x"}, "price": 1.0}, {"price": 2.0, "owner": "ann"})
    assert captured(own_client) == [{"user.home.city": "Graz", "item.price": 2.0}]


def test_an_empty_list_lets_nothing_through_and_is_no_loss(own_client: str) -> None:
    davy.watch(one, "m:1", inputs=[])(ROW)
    assert captured(own_client) == [{}]
    assert davy.stats()["misread"] == {}


def test_a_stream_is_held_to_it_as_well(own_client: str) -> None:
    def words(user: Any) -> Any:
        yield "a"

    list(davy.watch(words, "m:1", inputs=["age"])(ROW))
    list(davy.watch(words, "m:1", inputs=["agee"])(ROW))
    assert captured(own_client) == [{"age": 3.0}, {}]
    assert davy.stats()["misread"] == {"m:1: no_inputs": 1}


NAMES = st.sampled_from(["a", "b", "c", "x", "y"])
VALUES = st.recursive(
    st.integers() | st.text(max_size=3), lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=8
)


@given(st.dictionaries(NAMES, VALUES, max_size=4), st.sets(NAMES | st.just("a.b")))
@example({"user": {"age": 3, "ssn": 7}, "age": 4}, {"user.age"})
@example({"a": {"x": {"x": 0}}, "x": {"x": {"a": 0, "b": 0}}}, {"a"})
def test_nothing_is_chosen_that_no_name_leads_to(arguments: dict[str, Any], names: set[str]) -> None:
    everything = open_arguments(arguments)
    for chosen in (
        open_arguments(choose(arguments, names)),
        choose_leaves(everything, arguments, names, None),
    ):
        parts = {part for name in names for part in name.split(".")}
        assert all(parts & set(leaf.split(".")) or _holds(arguments, leaf, names) for leaf in chosen)
        assert len(chosen) <= len(everything)
    assert choose(arguments, set()) == {} == choose_leaves(everything, arguments, set(), None)
    assert choose(arguments, arguments.keys()) == arguments
    assert choose_leaves(everything, arguments, arguments.keys(), None) == everything


def _holds(arguments: Mapping[str, Any], leaf: str, names: set[str]) -> bool:
    """Whether a named argument holds the leaf, under its own name."""
    return any(leaf in open_arguments({name: arguments[name]}) for name in names & arguments.keys())
