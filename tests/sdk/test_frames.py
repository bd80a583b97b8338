"""A frame that is one inference is a sequence a column, whatever the number of its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from support.sdk_rig import inferences_in

import davy
from davy.event import Inference

pytestmark = pytest.mark.fast


def captured(url: str) -> list[Inference]:
    assert davy.flush()
    return inferences_in(url)


def told(fields: Any) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()
    }


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_columns_are_sequences_once_a_frame_had_several_rows(own_client: str, make: Any) -> None:
    score = davy.watch(lambda tx: float(len(tx)), "m:1")
    for rows in (1, 3, 1, 2):
        score(make({"amount": [2.5] * rows, "mcc": ["a"] * rows}))
    first, *others = captured(own_client)
    assert first.inputs == {"amount": 2.5, "mcc": "a"}
    for each, rows in zip(others, (3, 1, 2), strict=True):
        assert told(each.inputs) == {"tx.amount": [2.5] * rows, "tx.mcc": ["a"] * rows}


def test_an_index_of_moments_or_with_a_name_is_a_column(own_client: str) -> None:
    at = pd.date_range("2026-01-01", periods=2, freq="h")

    @davy.watch(model="m:1")
    def forecast(history: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"yhat": [1.0, 2.0]}, index=at)

    forecast(pd.DataFrame({"y": [0.0, 1.0]}, index=pd.Index(["a", "b"], name="shop")))
    (found,) = captured(own_client)
    assert told(found.inputs) == {"history.shop": ["a", "b"], "history.y": [0.0, 1.0]}
    assert told(found.outputs) == {
        "index": ["2026-01-01", "2026-01-01T01:00"],
        "yhat": [1.0, 2.0],
    }


def test_an_answer_of_one_row_is_a_row(own_client: str) -> None:
    davy.watch(lambda x: pd.DataFrame({"label": ["cat"], "score": [0.5]}), "m:1")(1.0)
    (found,) = captured(own_client)
    assert found.outputs == {"label": "cat", "score": 0.5}


def test_a_frame_in_a_mapping_is_sequences_too(own_client: str) -> None:
    davy.capture("m:1", {"tx": pd.DataFrame({"amount": [1.0, 2.0]}), "age": 4}, {"value": 1.0})
    (found,) = captured(own_client)
    assert told(found.inputs) == {"tx.amount": [1.0, 2.0], "age": 4}
