"""Aggregates merge to the same bytes in any order, say what they are, and refuse what they cannot keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from davy.errors import AggregateInvalid
from davy_detectors.aggregates import Counts, Extremes, Quantiles, Several, Sums

pytestmark = pytest.mark.fast
NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=64)
MAKERS: dict[str, Callable[[np.ndarray[Any, Any]], Any]] = {
    "counts": lambda x: Counts.of_bins((np.nan_to_num(x) > 0).astype(int)[None], np.zeros(len(x), int), 1, 2)[
        0
    ],
    "sums": lambda x: Sums.of_rows(x[:, None], np.zeros(len(x), int), 1)[0],
    "extremes": lambda x: Extremes.of_rows(x[:, None], np.zeros(len(x), int), 1)[0],
    "quantiles": lambda x: Quantiles.of_rows(x, np.zeros(len(x), int), 1)[0],
    "several": lambda x: Several(
        {"n": Counts([len(x)]), "total": Sums.of_rows(x[:, None], np.zeros(len(x), int), 1)[0]}
    ),
}


def _tree(parts: Sequence[Any], rng: np.random.Generator) -> Any:
    forest = list(parts)
    while len(forest) > 1:
        one, other = (forest.pop(int(rng.integers(len(forest)))) for _ in range(2))
        forest.append(one.merge(type(other).from_bytes(other.to_bytes())))
    return forest[0]


@pytest.mark.parametrize("kind", MAKERS)
@given(values=st.lists(NUMBERS, min_size=1, max_size=30), seed=st.integers(0, 2**32 - 1))
def test_merged_in_any_order_the_bytes_are_those_of_all_at_once(
    kind: str, values: list[float], seed: int
) -> None:
    rng, make, numbers = np.random.default_rng(seed), MAKERS[kind], np.array(values)
    parts = np.array_split(rng.permutation(len(numbers)), int(rng.integers(1, 6)))
    assert _tree([make(numbers[part]) for part in parts], rng).to_bytes() == make(numbers).to_bytes()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), max_size=40))
def test_a_sum_is_the_double_nearest_to_the_exact_one(values: list[float]) -> None:
    (found,) = Sums.of_rows(np.array(values)[:, None].reshape(-1, 1), np.zeros(len(values), int), 1)
    exact = sum(map(Fraction, values), Fraction(0))
    try:
        nearest = float(exact)
    except OverflowError:
        nearest = float("inf") if exact > 0 else float("-inf")
    assert found.values.tolist() == [nearest]
    assert found.counts.tolist() == [len(values)]


@pytest.mark.parametrize("values", [[-1], [-1.94, 42.45], [0.5], [np.nan], [np.inf], [[1, 2], [3, -4]]])
def test_counts_refuse_what_they_would_not_give_back(values: Any) -> None:
    with pytest.raises(AggregateInvalid, match="whole numbers"):
        Counts(values)


def test_counts_of_whole_doubles_are_counts() -> None:
    assert Counts.from_bytes(Counts([2.0, 300.0]).to_bytes()).values.tolist() == [2, 300]


@pytest.mark.parametrize("kind", [Counts, Several])
def test_different_shapes_are_not_merged(kind: type) -> None:
    one, other = (
        (Counts([1]), Counts([1, 2])) if kind is Counts else (Several({"a": Counts([1])}), Several({}))
    )
    with pytest.raises(AggregateInvalid, match="same shape"):
        one.merge(other)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=200), st.floats(0.0, 1.0))
def test_a_quantile_is_within_a_hundredth(values: list[float], share: float) -> None:
    (sketch,) = Quantiles.of_rows(np.array(values), np.zeros(len(values), int), 1)
    exact = float(np.quantile(values, share, method="inverted_cdf"))
    assert sketch.quantile(share) == pytest.approx(exact, rel=0.011)
