"""References: what they refuse, how they travel, what their bins and ranks promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from davy.codec import dump_any, load_any
from davy.config import DetectSettings
from davy.errors import DecodeError, ReferenceInvalid
from davy_detectors.batch import Batch
from davy_detectors.checks import sample
from davy_detectors.reference import Reference
from davy_detectors.reference.binning import QUANTILES, CategoryBins, NumberBins
from davy_detectors.reference.features import Feature

pytestmark = pytest.mark.fast
SETTINGS = DetectSettings()


def _fit(batch, **more):
    return Reference.fit(batch.model, batch, settings=SETTINGS, **more)


def test_fewer_than_200_inferences_are_refused_with_a_remedy():
    with pytest.raises(ReferenceInvalid, match=r"199.*at least 200"):
        _fit(sample(np.random.default_rng(0), 199))


def test_a_reference_too_small_for_its_flag_share_is_refused():
    with pytest.raises(ReferenceInvalid, match="at least 2000"):
        Reference.fit("m:1", sample(np.random.default_rng(0), 500), settings=DetectSettings(flag_share=0.001))


def test_a_reference_with_nothing_to_monitor_is_refused():
    batch = Batch.from_columns("m:1", {"tags.team": np.array(["a"] * 300, object)})
    with pytest.raises(ReferenceInvalid, match="capture inputs"):
        _fit(batch)


def test_a_reference_comes_back_from_its_bytes_with_the_same_version_and_answers():
    reference, batch = _fit(sample(np.random.default_rng(0), 1_000)), sample(np.random.default_rng(1), 300)
    again = Reference.from_bytes(reference.to_bytes())
    assert again.version == reference.version
    assert np.array_equal(again.scored(batch).bins, reference.scored(batch).bins)
    for name, ranks in reference.scored(batch).ranks.items():
        assert np.array_equal(again.scored(batch).ranks[name], ranks)


def test_the_version_follows_the_content():
    batch = sample(np.random.default_rng(0), 1_000)
    assert _fit(batch).version == _fit(batch).version
    assert _fit(batch).version != _fit(batch.take(slice(0, 999))).version
    assert _fit(batch).version != _fit(batch, seed=1).version


@pytest.mark.parametrize(
    "spoil", [lambda d: d[:-9], lambda d: b"", lambda d: b"\x93no", lambda d: dump_any(3)]
)
def test_damaged_bytes_are_refused(spoil):
    with pytest.raises(DecodeError):
        Reference.from_bytes(spoil(_fit(sample(np.random.default_rng(0), 200)).to_bytes()))


def test_bytes_of_another_version_are_refused_by_name():
    state = {**load_any(_fit(sample(np.random.default_rng(0), 200)).to_bytes()), "v": 99}
    with pytest.raises(DecodeError, match="99"):
        Reference.from_bytes(dump_any(state))


def test_ranks_of_clean_traffic_are_uniform_although_a_scorer_learned_from_the_reference():
    """Few inferences in many dimensions: scored on what it learned from, the geometry score would be far too low."""
    rng = np.random.default_rng(0)
    reference = _fit(Batch.from_columns("m:1", {"embedding": rng.normal(size=(600, 64)) + 0.3}))
    fresh = Batch.from_columns("m:1", {"embedding": rng.normal(size=(4_000, 64)) + 0.3})
    ranks = reference.scored(fresh).ranks["mahalanobis"]
    for share in (0.05, 0.2, 0.5):
        error = 4 * np.sqrt(share * (1 - share) * (1 / 300 + 1 / 4_000))
        assert abs((ranks <= share).mean() - share) < error
    assert (reference.scored(fresh).bins[0] == 0).mean() < 0.02


def test_a_sample_without_embedding_has_no_geometry_rank_and_counts_as_missing():
    reference = _fit(sample(np.random.default_rng(0), 500))
    batch = Batch.from_columns("m:1", {"inputs.length": np.zeros(3)})
    assert np.isnan(reference.scored(batch).ranks["mahalanobis"]).all()
    row = reference.streams.index("embedding.typicality")
    assert (reference.scored(batch).bins[row] == reference.bins["embedding.typicality"].missing).all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("draw", ["normal", "lognormal", "cauchy", "shifted"])
def test_bins_hold_the_shares_of_their_quantiles_for_any_continuous_distribution(draw, scale):
    rng = np.random.default_rng(0)
    values = {
        "normal": rng.normal(size=20_000),
        "lognormal": rng.lognormal(0, 3, 20_000),
        "cauchy": rng.standard_cauchy(20_000),
        "shifted": rng.normal(1e4, 1, 20_000),
    }[draw]
    counts = NumberBins.fit(Feature("numeric", values * scale)).counts
    expected = np.diff([0.0, *QUANTILES, 1.0])
    assert np.abs(counts[:28] / 20_000 - expected).max() < 0.006
    assert counts[28:].tolist() == [0, 0]


def test_one_lookup_for_all_streams_agrees_with_each_stream_alone():
    rng = np.random.default_rng(0)
    columns = {f"x{i}": rng.lognormal(i, 1 + i, 500) for i in range(5)}
    columns["x3"] = np.where(rng.random(500) < 0.2, np.nan, columns["x3"])
    columns["x4"] = [None if i % 7 == 0 else float(i) for i in range(500)]
    batch = Batch.from_columns("m:1", columns)
    reference = _fit(batch)
    for row, (name, bins) in zip(reference.scored(batch).bins, reference.bins.items(), strict=True):
        column = batch.fields[tuple(name.split("."))]
        assert np.array_equal(row, bins.bin(Feature("numeric", column.values, column.missing)))
        assert np.array_equal(np.bincount(row, minlength=30), bins.counts)


def test_missing_and_not_finite_values_have_bins_of_their_own():
    values = np.array([0.0, 1.0, np.nan, np.inf, -np.inf, 1e300, 2.0])
    missing = np.array([False] * 6 + [True])
    bins = NumberBins.fit(Feature("numeric", np.arange(1000.0)))
    assert bins.bin(Feature("numeric", values, missing))[2:].tolist() == [28, 29, 29, 29, 28]


def test_a_value_held_by_many_has_a_bin_apart_from_what_is_below_and_above():
    bins = NumberBins.fit(Feature("numeric", np.full(1000, 5.0)))
    below, held, above = bins.bin(Feature("numeric", np.array([4.9, 5.0, 5.1])))
    assert below < held < above
    zeros = NumberBins.fit(Feature("numeric", np.zeros(1000)))
    assert len(set(zeros.bin(Feature("numeric", np.array([0.0, -0.0]))).tolist())) == 1


def test_rare_categories_share_a_bin_and_unseen_ones_have_another():
    values = np.array([f"c{i:02d}" for i in range(40) for _ in range(20 * (100 - i))] + ["once"], object)
    bins = CategoryBins.fit(Feature("categorical", values))
    asked = np.array([*bins.categories, *bins.others, "never", "c01"], object)
    missing = np.array([False] * (len(asked) - 1) + [True])
    rare = [30] * len(bins.others)
    assert bins.bin(Feature("categorical", asked, missing)).tolist() == [*range(30), *rare, 31, 32]
    assert "c39" in bins.others
    assert "c00" in bins.categories


def test_what_is_counted_owes_nothing_to_which_categories_were_chosen():
    """All values different: all that is counted is unseen. Two categories seen often: nine tenths are counted."""
    hashes = CategoryBins.fit(Feature("categorical", np.array([f"h{i}" for i in range(1_000)], object)))
    assert hashes.counts.tolist() == [0] * 31 + [500, 0]
    often = CategoryBins.fit(Feature("categorical", np.array(["a", "b"] * 500, object)))
    assert often.counts.sum() == 900
    assert often.counts[2:].tolist() == [0, 0, 0]


@given(st.integers(0, 2**32), st.integers(1, 400), st.floats(1.1, 4.0))
def test_the_bound_of_the_unseen_is_of_a_sample(seed, size, exponent):
    """Whatever the tail: the part that is counted holds the unseen in the share they truly have, not zero."""
    draw = np.random.default_rng(seed).zipf(exponent, size)
    bins = CategoryBins.fit(Feature("categorical", draw))
    known = {*bins.categories, *bins.others}
    assert bins.counts[bins.missing - 1] <= sum(int(v) not in known for v in draw)
    assert size // 2 <= bins.counts.sum() <= size
    assert (
        CategoryBins.load(bins.dump()).bin(Feature("categorical", draw)).tolist()
        == bins.bin(Feature("categorical", draw)).tolist()
    )


@pytest.mark.parametrize("hole", [None, float("nan"), np.float64("nan"), np.float32("nan")])
def test_a_hole_in_a_category_is_missing_however_it_is_written(hole):
    values = np.array(["a", "b", hole] * 100, object)
    bins = CategoryBins.load(load_any(dump_any(CategoryBins.fit(Feature("categorical", values)).dump())))
    assert (bins.bin(Feature("categorical", values)) == bins.missing).sum() == 100
    numbers = CategoryBins.fit(Feature("categorical", np.array([1.0, np.nan] * 100)))
    assert numbers.bin(Feature("categorical", np.array([1.0, np.nan, 7.0]))).tolist() == [0, 3, 2]


def test_whole_numbers_true_and_text_are_categories_as_they_are():
    whole = CategoryBins.fit(Feature("categorical", np.array([1, 1, 1, 2] * 100)))
    assert whole.bin(Feature("categorical", np.array([1.0, 2.0, 1.5]))).tolist() == [0, 1, 3]
    odd = np.empty(2, object)
    odd[:] = [[1, 2], {"a": 1}]
    assert whole.bin(Feature("categorical", odd)).tolist() == [3, 3]
