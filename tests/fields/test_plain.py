"""What travels of a value: the promises of ``davy.fields`` about any value whatever."""

from __future__ import annotations

import copy
from collections import namedtuple
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

from davy.codec import dump_any
from davy.fields import Flattener, Unfit, column, flatten, is_missing, plain, record
from davy.fields.flattening import DEPTH, NAMES

pytestmark = pytest.mark.fast


@dataclass
class Pair:
    left: Any
    right: Any


Point = namedtuple("Point", "x y")  # noqa: PYI024 - apps have these


class Text(str):
    __slots__ = ("more",)


class Items(list[Any]):
    """A list that an app gave attributes."""


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text().map(Text),
    st.binary(max_size=20),
    st.binary(max_size=20).map(bytearray),
    st.complex_numbers(),
    st.decimals(),
    st.fractions(),
    st.dates(),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    of_numpy.from_dtype(np.dtype("f4")),
    of_numpy.from_dtype(np.dtype("M8[s]")),
    of_numpy.from_dtype(np.dtype("m8[ms]")),
    st.sampled_from([len, Pair, range(3), NotImplemented, ...]),
)
ARRAYS = of_numpy.arrays(
    st.one_of(
        of_numpy.boolean_dtypes(),
        of_numpy.integer_dtypes(),
        of_numpy.floating_dtypes(),
        of_numpy.complex_number_dtypes(),
        of_numpy.datetime64_dtypes(max_period="s", min_period="s"),
        of_numpy.timedelta64_dtypes(max_period="ms", min_period="ms"),
        of_numpy.unicode_string_dtypes(max_len=4),
    ),
    of_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
VALUES = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(Items),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4),
        st.builds(Pair, inner, inner),
        st.builds(Point, inner, inner),
    ),
    max_leaves=12,
)
PLAIN = (type(None), bool, int, float, str, bytes, np.ndarray, list, dict)


@given(VALUES)
def test_a_value_travels_or_is_unfit_for_a_reason(value: Any) -> None:
    found = _plain(value)
    if found is not Unfit:
        _require_plain(found)
        dump_any(found)


@given(VALUES)
def test_what_travels_travels_as_it_is(value: Any) -> None:
    found = _plain(value)
    if found is not Unfit:
        assert _same(plain(found), found)


@given(VALUES)
def test_a_value_is_never_changed(value: Any) -> None:
    before = copy.deepcopy(value)
    _plain(value)
    record(value)
    flatten({"value": value})
    assert _same(value, before)


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=4))
def test_fields_have_no_mapping_but_one_that_is_too_deep_or_too_wide(fields: dict[str, Any]) -> None:
    for value in flatten(fields).values():
        inner = record(value)
        assert inner is None or _size(inner) > NAMES or _depth(inner) > DEPTH


@given(st.integers(1, DEPTH + 3), st.integers(1, 2))
def test_a_mapping_is_flattened_to_a_depth_and_then_stays_one_value(depth: int, width: int) -> None:
    value: Any = 1.0
    for _ in range(depth):
        value = {f"k{place}": value for place in range(width)}
    found = flatten({"x": value})
    assert ("x" in found) == (depth > DEPTH or width**depth > NAMES)


def test_a_mapping_with_other_keys_each_time_gives_a_bounded_number_of_names() -> None:
    flattener, names = Flattener(), set[str]()
    for place in range(2_000):
        names.update(flattener.flatten({"scores": {f"user-{place}": 1.0, "all": 2.0}}))
    assert len(names) <= NAMES + 2
    assert "scores" in names


def test_a_value_that_holds_itself_is_unfit() -> None:
    cyclic: list[Any] = ["text"]
    cyclic.append(cyclic)
    with pytest.raises(Unfit) as caught:
        plain(cyclic)
    assert caught.value.reason == "nesting"
    loop: dict[str, Any] = {}
    loop["self"] = loop
    assert list(flatten({"x": loop})) == ["x"]


@given(st.lists(SCALARS, max_size=6))
def test_a_column_is_row_by_row_what_its_values_are(values: list[Any]) -> None:
    lost: dict[str, int] = {}
    found = column(values, lost)
    assert len(found) == len(values)
    unfit = 0
    for row, value in zip(found, values, strict=True):
        alone = _plain(value)
        unfit += alone is Unfit
        if alone is Unfit or is_missing(alone):
            assert is_missing(row)
        else:
            assert _alike(row, alone)
    assert sum(lost.values()) == unfit


@given(of_numpy.arrays(st.sampled_from(["f4", "i8", "?", "M8[s]", "m8[s]", "U3"]), st.integers(0, 5)))
def test_a_column_that_is_an_array_is_row_by_row_what_its_values_are(values: Any) -> None:
    for row, value in zip(column(values), values, strict=True):
        alone = plain(value)
        assert (is_missing(row) and is_missing(alone)) or _alike(row, alone)


@given(st.timedeltas(min_value=timedelta(days=-(10**5)), max_value=timedelta(days=10**5)))
def test_a_span_is_its_seconds_whatever_made_it(span: timedelta) -> None:
    assert plain(np.timedelta64(span, "us")) == pytest.approx(plain(span), abs=1e-3)


def _plain(value: Any) -> Any:
    try:
        return plain(value)
    except Unfit:
        return Unfit


def _require_plain(value: Any) -> None:
    assert type(value) in PLAIN
    if isinstance(value, dict):
        assert all(type(key) is str for key in value)
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _require_plain(item)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, Pair) and isinstance(other, Pair):
        return _same([one.left, one.right], [other.left, other.right])
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and _same(list(one.values()), list(other.values()))
    if isinstance(one, (list, tuple)) and type(one) is type(other):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and (repr(one) == repr(other) or bool(one == other) or is_missing(one))


def _alike(one: Any, other: Any) -> bool:
    """Whether a row of a column is a value: numbers may have another type there."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=False)
    return bool(one == other)


def _size(fields: dict[str, Any]) -> int:
    inner = [record(value) for value in fields.values()]
    return sum(1 if each is None else _size(each) for each in inner)


def _depth(fields: dict[str, Any]) -> int:
    inner = [record(value) for value in fields.values()]
    return 1 + max((_depth(each) for each in inner if each is not None), default=0)
