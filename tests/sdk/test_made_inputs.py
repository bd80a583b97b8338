"""``inputs=function`` makes the fields: what it makes once holds for every inference; where it fails, that is said."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sdk_rig import inferences_in

import davy
from davy.sdk.calls.batches import repeated
from davy.sdk.integrations._tables import TableWatch
from davy.sdk.options import Options

pytestmark = pytest.mark.fast


def captured(url: str) -> list[dict[str, Any]]:
    assert davy.flush()
    return [dict(each.inputs) for each in inferences_in(url)]


class Forecaster:
    def fit(self) -> None: ...

    def predict(self, n_periods: int = 10) -> Any:
        return np.zeros(n_periods)


SINGLE: Mapping[str, Any] = {
    "a number": 3,
    "a float": 0.5,
    "a truth": True,
    "a text": "w",
    "a number of NumPy": np.float32(0.5),
    "an array without axes": np.array(2.0),
    "a day": date(2026, 1, 2),
    "a decimal": Decimal("1.5"),
    "bytes": b"abc",
}


@pytest.mark.parametrize("value", SINGLE.values(), ids=SINGLE)
def test_a_single_value_holds_for_every_inference_of_a_batch(value: Any, own_client: str) -> None:
    made = {"one": value, "place": [0, 1, 2], "inner": {"deep": value}}
    davy.watch(Forecaster(), "a:1", inputs=lambda n_periods: made).predict(3)
    davy.watch(lambda x: [1.0, 2.0, 3.0], "f:1", inputs=lambda x: made, batched=True)(3)
    davy.watch(lambda x: 1.0, "one:1", inputs=lambda x: {"one": value})(3)
    *batches, alone = captured(own_client)
    assert [each["place"] for each in batches] == [0, 1, 2] * 2
    assert {str(each[name]) for each in batches for name in ("one", "deep")} == {str(alone["one"])}
    assert davy.stats()["left_out"] == {}


def test_so_does_one_of_a_model_of_tables(own_client: str) -> None:
    def predict(data: Any) -> Any:
        return np.zeros(len(data))

    watch = TableWatch(predict, "t:1", Options(inputs=lambda data: {"season": "w", "x": data[:, 0]}))
    found = watch.columns((np.ones((3, 2)),), {}, np.zeros(3)).inputs
    assert {name: [*values] for name, values in found.items()} == {"season": ["w"] * 3, "x": [1.0] * 3}


def test_a_missing_value_is_missing_and_what_has_another_length_is_said(own_client: str) -> None:
    made = {"none": None, "x": [1, 2], "n": 2}
    davy.watch(lambda x: [1.0, 2.0, 3.0], "a:1", inputs=lambda x: made, batched=True)(3)
    assert captured(own_client) == [{"n": 2}] * 3
    assert davy.stats()["left_out"] == {"a:1 inputs.x: length": 3}


@given(
    st.dictionaries(st.text(max_size=3), st.integers() | st.text() | st.floats(), max_size=4),
    st.integers(1, 5),
)
def test_whatever_is_single_is_there_for_every_inference(fields: dict[str, Any], rows: int) -> None:
    found = repeated(fields, rows)
    assert found.keys() == fields.keys()
    assert all(len(values) == rows for values in found.values())


def raises(*args: Any, **kwargs: Any) -> Any:
    raise KeyError(args)


FAIL: Mapping[str, Callable[..., Any]] = {
    "raises": raises,
    "takes other arguments": dict,
    "gives a list": lambda x: [x],
    "gives nothing": lambda x: None,
    "gives a text": lambda x: "x",
}


@pytest.mark.parametrize("make", FAIL.values(), ids=FAIL)
@pytest.mark.parametrize("batched", [None, True])
def test_where_it_fails_the_answer_is_recorded_and_the_log_names_model_and_option(
    make: Any, batched: bool | None, own_client: str, caplog: pytest.LogCaptureFixture
) -> None:
    f = davy.watch(lambda x: [0.5, 2.0], "m:1", inputs=make, batched=batched)
    with caplog.at_level(logging.WARNING, "davy"):
        assert f([1.0, 2.0]) == f([1.0, 2.0]) == [0.5, 2.0]
    found = captured(own_client)
    assert found == [{}] * (4 if batched else 2)
    stats = davy.stats()
    assert stats["misread"] == {"m:1: inputs_failed": len(found)}
    assert stats["dropped"] == {}
    (line,) = caplog.messages
    assert "m:1" in line
    assert "inputs=" in line


def test_a_stream_is_recorded_without_inputs_as_well(own_client: str) -> None:
    def words(x: Any) -> Any:
        yield "a"

    list(davy.watch(words, "m:1", inputs=raises)(3))
    assert captured(own_client) == [{}]
    assert davy.stats()["misread"] == {"m:1: inputs_failed": 1}


def test_it_is_asked_of_every_call_whatever_it_made_before(own_client: str) -> None:
    f = davy.watch(lambda x, ok: 1.0, "m:1", inputs=lambda x, ok: {"x": x} if ok else {})
    for ok in (True, True, False, True, False):
        f(1.5, ok)
    assert sorted(map(len, captured(own_client))) == [0, 0, 1, 1, 1]
    assert davy.stats()["misread"] == {}


def test_a_frame_is_the_fields_of_its_columns(own_client: str) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    davy.watch(lambda x: [1.0, 2.0], "m:1", inputs=lambda x: x, batched=True)(frame)
    assert captured(own_client) == [{"a": 1.0, "b": "x"}, {"a": 2.0, "b": "y"}]


@pytest.mark.parametrize("options", [{"embedding": "h"}, {"members": {"o:1": abs}}, {"tokenizer": object()}])
@pytest.mark.parametrize("target", [lambda x: x, Forecaster()], ids=["function", "object"])
def test_an_option_that_means_nothing_here_is_said_and_counted(
    options: dict[str, Any], target: Any, own_client: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "davy"):
        davy.watch(target, "m:1", **options)
    assert davy.stats()["integration_failed"] == 1
    assert f"{next(iter(options))}= means nothing" in caplog.text


@pytest.mark.parametrize("answer", [np.array([0.5, 2.0]), [0.5, 2.0], (0.5, 2.0)], ids=str)
def test_an_answer_that_is_called_embedding_is_the_embedding(answer: Any, own_client: str) -> None:
    f = davy.watch(lambda x: answer, "m:1", output="embedding")
    f(1)
    f(2)
    davy.watch(lambda x: np.array([[0.5, 2.0]] * 3), "b:1", output="embedding", batched=True)([1, 2, 3])
    assert davy.flush()
    found = inferences_in(own_client)
    assert [np.asarray(each.embedding).tolist() for each in found] == [[0.5, 2.0]] * 5
    assert all(not each.outputs for each in found)
