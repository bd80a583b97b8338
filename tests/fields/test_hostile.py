"""One odd value costs its own field, and no more than a moment of the caller."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.sdk_rig import Store, start

import davy
from davy.fields import plain, record

pytestmark = pytest.mark.fast


def _proxy() -> Any:
    class Proxy:
        """As lazy proxies do outside of their context: not even its class can be asked for."""

        @property
        def __class__(self) -> Any:
            raise RuntimeError("working outside of request context")

    return Proxy()


class Endless(Mapping[str, float]):
    """Says that it is short, and never ends."""

    def __getitem__(self, key: str) -> float:
        return 1.0

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[str]:
        number = 0
        while True:
            number += 1
            yield str(number)


def _ring() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


def _laughs() -> list[Any]:
    found: list[Any] = [1.0]
    for _ in range(60):
        found = [found, found]
    return found


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_ring, "nesting"),
        (lambda: [_ring()], "nesting"),
        (_laughs, "nesting"),
        (_proxy, "unreadable"),
        (lambda: dict.fromkeys(range(300_000), 1.0), "size"),
        (Endless, "size"),
        (lambda: [{"a": 1}] * 300_000, "size"),
        (lambda: range(10**9), "size"),
        (lambda: range(0, -(10**30), -3), "size"),
        (lambda: [range(10**9), 1.0], "size"),
    ],
)
@pytest.mark.parametrize("watched", [True, False])
def test_an_odd_value_costs_its_field_and_holds_nobody(
    make: Callable[[], Any], reason: str, watched: bool
) -> None:
    sink, odd = Store(), make()
    start(sink)
    begun = time.thread_time()
    if watched:
        davy.watch(lambda ok, odd: {"value": 2.0}, "m:1")(1.0, odd)
    else:
        davy.capture("m:1", {"ok": 1.0, "odd": odd}, {"value": 2.0})
    assert time.thread_time() - begun < 0.5
    davy.flush()
    (found,) = sink.inferences
    assert (found.inputs["ok"], found.inputs["odd"], found.outputs["value"]) == (1.0, None, 2.0)
    assert davy.stats()["left_out"] == {f"m:1 inputs.odd: {reason}": 1}


@pytest.mark.parametrize("value", [range(0), range(3), range(10, 0, -2), range(100_000)], ids=str)
def test_a_range_is_its_numbers(value: range) -> None:
    assert np.array_equal(plain(value), np.asarray(value))


def test_what_a_mask_hides_is_missing_however_often_the_field_was_seen() -> None:
    sink = Store()
    start(sink)
    hidden = np.ma.masked_array([1.0, 99.0, 3.0], [0, 1, 0])
    for value in (np.ones(3), hidden, hidden.astype(int), np.ones(3)):
        davy.capture("m:1", {"x": value}, {})
    davy.watch(lambda x: np.zeros(3), "m:1", batched=True)(hidden)
    davy.flush()
    found = [one.inputs["x"] for one in sink.inferences]
    assert [np.isnan(value).tolist() for value in found[:4]] == [
        [False] * 3, [False, True, False], [False, True, False], [False] * 3
    ]  # fmt: skip
    assert np.isnan(found[5])
    assert 99.0 not in np.concatenate([np.atleast_1d(value) for value in found])


@pytest.mark.parametrize(
    ("inputs", "kept"),
    [
        ({"a.b": 1, "a": {"b": 2}}, {"a.b": 1, "a.b.2": 2}),
        ({"row": {1: 1.0, "1": 2.0}}, {"row.1": 1.0, "row.1.2": 2.0}),
        ({"row": pd.Series([1.0, 2.0], index=["a", "a"])}, {"row.a": 1.0, "row.a.2": 2.0}),
    ],
)
def test_names_that_meet_lose_nothing(inputs: dict[str, Any], kept: dict[str, Any]) -> None:
    sink = Store()
    start(sink)
    davy.capture("m:1", inputs, {})
    davy.flush()
    assert sink.inferences[0].inputs == kept


def test_columns_of_a_frame_with_one_name_are_all_kept() -> None:
    sink = Store()
    start(sink)
    frame = pd.DataFrame([[1.0, 2.0, 3.0]] * 2, columns=["a", "b", "a"])
    davy.watch(lambda frame: np.zeros(2), "m:1", batched=True)(frame)
    davy.flush()
    assert sink.inferences[0].inputs == {"a": 1.0, "b": 2.0, "a.2": 3.0}


def test_a_mapping_too_long_is_no_record() -> None:
    assert record({str(number): 1 for number in range(4097)}) is None
    assert len(plain({str(number): 1 for number in range(4097)})) == 4097
