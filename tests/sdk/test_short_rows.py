"""Frames of one row, records and lists of texts go the short way: the log holds what the long way puts there."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import attrs
import msgspec
import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.sdk_rig import Store, start

import davy
from davy.codec import decode
from davy.event import INFERENCES
from davy.fields import column, columns_of
from davy.sdk.shortcut import Shortcuts
from davy.sdk.watching import Watch

pytestmark = pytest.mark.fast


class Model(pydantic.BaseModel):
    age: int
    income: float
    city: Any
    member: bool


@dataclasses.dataclass
class Data:
    age: int
    income: float
    city: Any
    member: bool


@attrs.define
class Attrs:
    age: int
    income: float
    city: Any
    member: bool


class Struct(msgspec.Struct):
    age: int
    income: float
    city: Any
    member: bool


class Tuple(NamedTuple):
    age: int
    income: float
    city: Any
    member: bool


class Plain:
    def __init__(self, age: int, income: float, city: Any, member: bool) -> None:
        self.age, self.income, self.city, self.member = age, income, city, member


def frame(age: int, income: float, city: Any, member: bool) -> pd.DataFrame:
    return pd.DataFrame({"age": [age], "income": [income], "city": [city], "member": [member]})


def model(age: int, income: float, city: Any, member: bool) -> Model:
    return Model.model_construct(age=age, income=income, city=city, member=member)


def texts(age: int, income: float, city: Any, member: bool) -> dict[str, Any]:
    return {"texts": [city, "b"] if member else [city], "age": age, "income": income}


KINDS: dict[str, Callable[..., Any]] = {
    "frame": frame,
    "pydantic": model,
    "dataclass": Data,
    "attrs": Attrs,
    "msgspec": Struct,
    "named tuple": Tuple,
    "plain object": Plain,
    "texts in a mapping": texts,
}
NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
COLUMNS: dict[str, Callable[[int], pd.Series]] = {
    "float64": lambda i: pd.Series([float(i)]),
    "float32": lambda i: pd.Series([float(i)], dtype="float32"),
    "float16": lambda i: pd.Series([float(i)], dtype="float16"),
    "int64": lambda i: pd.Series([i]),
    "int8": lambda i: pd.Series([i], dtype="int8"),
    "uint64": lambda i: pd.Series([2**63 + i], dtype="uint64"),
    "bool": lambda i: pd.Series([i % 2 == 0]),
    "text": lambda i: pd.Series([f"t{i}"], dtype=object),
    "string": lambda i: pd.Series([f"t{i}"], dtype="string"),
    "arrow string": lambda i: pd.Series([f"t{i}"], dtype="string[pyarrow]"),
    "category": lambda i: pd.Series([f"t{i}"], dtype="category"),
    "category of numbers": lambda i: pd.Series([i], dtype="category"),
    "Int64": lambda i: pd.Series([i], dtype="Int64"),
    "Float64": lambda i: pd.Series([i / 2], dtype="Float64"),
    "boolean": lambda i: pd.Series([i % 2 == 0], dtype="boolean"),
    "arrow integer": lambda i: pd.Series([i], dtype="int64[pyarrow]"),
    "arrow moment": lambda i: pd.Series([NOW], dtype="timestamp[us, UTC][pyarrow]"),
    "moment": lambda i: pd.Series(pd.to_datetime([f"2026-01-0{1 + i}"])),
    "zone": lambda i: pd.Series(pd.to_datetime([f"2026-01-0{1 + i}"]).tz_localize("Europe/Berlin")),
    "span": lambda i: pd.Series(pd.to_timedelta([i], unit="s")),
    "period": lambda i: pd.Series(pd.period_range("2026-01", periods=1, freq="M") + i),
    "interval": lambda i: pd.Series(pd.interval_range(i, i + 1)),
    "sparse": lambda i: pd.Series(pd.arrays.SparseArray([float(i)])),
    "decimal": lambda i: pd.Series([Decimal(i)], dtype=object),
    "list": lambda i: pd.Series([[float(i), 1.0]], dtype=object),
    "texts": lambda i: pd.Series([["a", "b"]], dtype=object),
    "mapping": lambda i: pd.Series([{"k": i}], dtype=object),
    "set": lambda i: pd.Series([{i}], dtype=object),
    "missing": lambda i: pd.Series([None if i % 2 else "t"], dtype=object),
    "gap": lambda i: pd.Series([np.nan if i % 2 else 1.0]),
    "unfit": lambda i: pd.Series([object() if i % 3 == 2 else 1.0], dtype=object),
}  # fmt: skip


def sent(
    given: Sequence[Any], answers: Sequence[Any], *, short: bool, batched: bool | None = None
) -> list[Any]:
    """Return what reached the log of some calls: names, values and their types; and how many went the long way."""
    sink = Store()
    start(sink)
    long: list[Any] = []
    take = Watch._take
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "_take", lambda *call: (long.append(call), take(*call))[1])
        if not short:
            patch.setattr(Shortcuts, "learn", lambda *_: None)
        waiting = iter(answers)
        watched = davy.watch(lambda x: next(waiting), "m:1", batched=batched)
        for each in given:
            watched(each)
        assert davy.flush()
        stats = davy.stats()
        davy.shutdown()
    envelopes = [decode(message.value) for message in sink.messages if message.topic == INFERENCES]
    found = sorted(
        (one.at, repr([dict(one.inputs), dict(one.outputs), one.embedding]), str([*one.inputs]))
        for envelope in envelopes
        for one in envelope.inferences()
    )
    accounts = {name: stats[name] for name in ("dropped", "left_out", "misread", "captured")}
    return [[each[1:] for each in found], accounts, len(long)]


def agree(given: Sequence[Any], answers: Sequence[Any], **more: Any) -> int:
    """Hold the two ways against one another; return how many calls went the long way."""
    *short, long = sent(given, answers, short=True, **more)
    *other, every = sent(given, answers, short=False, **more)
    assert short == other
    assert every == len(given)
    return int(long)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answer", [{"score": 0.5}, 0.5, "good"])
def test_rows_and_texts_go_the_short_way(kind: str, answer: Any) -> None:
    calls = [KINDS[kind](i, i + 0.5, f"city {i}", i % 2 == 0) for i in range(40)]
    assert agree(calls, [answer] * 40) <= 12


@pytest.mark.parametrize("kind", [*KINDS][:-1])
def test_answers_that_are_rows_go_the_short_way(kind: str) -> None:
    answers = [KINDS[kind](i, i + 0.5, f"city {i}", i % 2 == 0) for i in range(40)]
    assert agree([1.0] * 40, answers) <= 12


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_of_any_kind_is_the_same_by_both_ways(kind: str) -> None:
    calls = [pd.DataFrame({"x": COLUMNS[kind](i % 4), "y": [1.0]}) for i in range(12)]
    agree(calls, [0.5] * 12)
    with pytest.MonkeyPatch.context() as patch:
        whole = sent(calls, [0.5] * 12, short=False)[:2]
        patch.setattr("davy.fields.tables.arrays_of", lambda table: [table.iloc[:, i] for i in range(2)])
        assert sent(calls, [0.5] * 12, short=False)[:2] == whole


@pytest.mark.parametrize("kind", COLUMNS)
def test_an_array_of_pandas_is_the_column_that_its_series_is(kind: str) -> None:
    table = pd.concat([COLUMNS[kind](i) for i in range(4)], ignore_index=True).to_frame("x")
    lost: dict[str, int] = {}
    (values,) = (columns_of(table) or {}).values()
    found, told = column(values, lost), column(table["x"], dict[str, int]())
    assert (found.dtype, repr(found.tolist())) == (told.dtype, repr(told.tolist()))


def test_columns_of_one_name_keep_apart() -> None:
    table = pd.DataFrame([[1.0, 2.0, 3.0]], columns=["a", "b", "a"])
    assert agree([table] * 12, [0.5] * 12)


CITIES = st.sampled_from(
    [
        "Graz",
        "",
        None,
        3.5,
        7,
        True,
        ["a"],
        [1.0, 2.0],
        {"k": 1},
        {"headers": {}},
        Decimal(2),
        object,
        np.ones(2),
        NOW,
    ]
)


@pytest.mark.may_swallow
@settings(max_examples=60, phases=[Phase.explicit, Phase.generate])
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*KINDS]),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(),
            CITIES,
            st.booleans(),
            st.sampled_from(
                [{"score": 0.5}, 0.5, "good", ["a", "b"], ["a"], np.array([0.2, 0.8]), [[0.2, 0.8]]]
            ),
        ),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
)
def test_rows_of_any_content_are_the_same_by_both_ways(calls: list[Any], stacked: bool) -> None:
    rows = [KINDS[kind](*parts) for kind, *parts, _ in calls for _ in range(3)]
    if stacked:
        rows = [
            pd.concat([row, row]) if isinstance(row, pd.DataFrame) and i % 4 == 3 else row
            for i, row in enumerate(rows)
        ]
    agree(rows, [call[-1] for call in calls for _ in range(3)])


def test_a_frame_with_other_columns_is_another_one() -> None:
    given = [pd.DataFrame({"a": [1.0], "b": [2.0]})] * 6
    given += [
        pd.DataFrame({"b": [2.0], "a": [1.0]}),
        pd.DataFrame({"a": [1.0]}),
        pd.DataFrame({"a": [], "b": []}),
    ]
    given += [pd.DataFrame({"a": [1], "b": ["x"]}), pd.DataFrame({1: [1.0], 2: [2.0]}), *given[:6]]
    agree(given, [0.5] * len(given))
