"""Values that had two meanings once: each is one thing, however it comes."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from davy.codec import Encoder, decode, pack
from davy.fields import is_missing, plain, record
from davy.sdk.fields import input_columns, output_columns
from davy_detectors.reference.loading import read_file

pytestmark = pytest.mark.fast

Point = namedtuple("Point", "x y")  # noqa: PYI024 - apps have these


class Planet(Enum):
    EARTH = 1

    def __init__(self, number: int) -> None:
        self.radius = 6.4


class Name(str):  # noqa: SLOT000 - as apps have them
    def __init__(self, _: str) -> None:
        self.language = "en"


class Amount(float):
    def __init__(self, _: float) -> None:
        self.currency = "EUR"


class Rows(list[Any]):
    pass


@pytest.mark.parametrize(
    ("value", "travels"),
    [
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Planet.EARTH, 1),
        (Name("a"), "a"),
        (Amount(2.5), 2.5),
        (np.str_("a"), "a"),
    ],
)
def test_a_single_value_is_no_record_whatever_attributes_it_has(value: Any, travels: Any) -> None:
    assert record(value) is None
    chunk = Encoder().encode("m:1", bytes(16), 1, {"x": value}, {})
    assert decode(pack([chunk])).inference(0).inputs == {"x": travels}


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (Point(1.0, "a"), {"x.x": 1.0, "x.y": "a"}),
        (pd.Interval(1.0, 2.0), {"x.left": 1.0, "x.right": 2.0}),
        (np.array([(1.0, 2)], [("a", "f8"), ("b", "i4")])[0], {"x.a": 1.0, "x.b": 2}),
        (pd.Series({"a": 1.0, "b": "c"}), {"x.a": 1.0, "x.b": "c"}),
    ],
)
def test_a_record_is_one_alone_and_in_a_batch(value: Any, parts: dict[str, Any]) -> None:
    alone = decode(pack([Encoder().encode("m:1", bytes(16), 1, {"x": value}, {})]))
    column = np.empty(2, object)
    for place in range(2):
        column[place] = value
    batch = decode(pack([Encoder().encode_batch("m:1", bytes(32), 1, {"x": column}, {})]))
    assert alone.inference(0).inputs == parts
    assert batch.inference(1).inputs == parts


def test_a_sparse_row_is_an_array() -> None:
    found = plain(sparse.csr_matrix([[0.0, 2.0]]))
    np.testing.assert_array_equal(found, [[0.0, 2.0]])
    assert record(sparse.csr_matrix([[0.0, 2.0]])) is None


def test_a_set_is_a_list_in_one_order() -> None:
    assert plain({"b", "a", "c"}) == ["a", "b", "c"]
    assert len(plain({"b", 1, None})) == 3


def test_a_subclass_of_a_list_is_a_list() -> None:
    np.testing.assert_array_equal(plain(Rows([1.0, 2.0])), [1.0, 2.0])
    np.testing.assert_array_equal(plain([Rows([1.0]), Rows([2.0])]), [[1.0], [2.0]])
    assert plain(range(3)).tolist() == [0, 1, 2]


def test_a_signalling_nan_is_missing() -> None:
    assert is_missing(Decimal("sNaN"))
    assert plain(Decimal("sNaN")) is None


def test_rows_of_different_lengths_are_a_column() -> None:
    rows: Sequence[Any] = [[1.0, 2.0], [3.0], []]
    assert [len(row) for row in input_columns({"x": rows}, None)["x"]] == [2, 1, 0]
    (column,) = output_columns(rows, "x")[0].values()
    assert [len(row) for row in column] == [2, 1, 0]


@pytest.mark.parametrize(
    ("values", "read"),
    [
        ([(1.0, 2.0)] * 3, [1.0, 2.0]),
        ([np.array([1.0, 2.5])] * 3, [1.0, 2.5]),
        ([["red", "blue"]] * 3, ["red", "blue"]),
        ([np.array(["red", "blue"])] * 3, ["red", "blue"]),
        ([{"red", "blue"}] * 3, ["blue", "red"]),
    ],
)
def test_a_cell_that_pandas_wrote_is_what_it_was(values: list[Any], read: list[Any], tmp_path: Path) -> None:
    frame = pd.DataFrame({"inputs.x": pd.Series(values), "inputs.y": [1.0, 2.0, 3.0]})
    frame.to_csv(tmp_path / "a.csv")
    found = read_file("m:1", tmp_path / "a.csv")
    assert list(found.fields["inputs", "x"].values[0]) == read


@pytest.mark.parametrize("cells", [["(555)", "(777)"], ["[sic]", "[...]"], ["{x}", "{y}"]])
def test_a_cell_in_brackets_that_is_no_list_is_text(cells: list[str], tmp_path: Path) -> None:
    pd.DataFrame({"inputs.x": cells}).to_csv(tmp_path / "a.csv", index=False)
    assert read_file("m:1", tmp_path / "a.csv").fields["inputs", "x"].values.tolist() == cells


def test_infinity_in_a_cell_is_a_number(tmp_path: Path) -> None:
    pd.DataFrame({"inputs.x": [1.5, np.inf, -np.inf, np.nan]}).to_csv(tmp_path / "a.csv", index=False)
    found = read_file("m:1", tmp_path / "a.csv").fields["inputs", "x"].values
    np.testing.assert_array_equal(found, [1.5, np.inf, -np.inf, np.nan])


def test_periods_in_parquet_are_the_moments_they_begin(tmp_path: Path) -> None:
    months = pd.period_range("2026-01", periods=3, freq="M")
    weeks = pd.period_range("2026-01-01", periods=3, freq="W")
    pd.DataFrame({"inputs.month": months, "inputs.week": weeks}).to_parquet(tmp_path / "a.parquet")
    found = read_file("m:1", tmp_path / "a.parquet")
    assert found.fields["inputs", "month"].values.astype("M8[D]").astype(str).tolist() == [
        "2026-01-01",
        "2026-02-01",
        "2026-03-01",
    ]
    assert list(found.unread) == ["inputs.week"]
