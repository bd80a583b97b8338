"""Scorers: the conformance kit, and what each score means."""

from __future__ import annotations

from importlib.metadata import entry_points

import numpy as np
import pytest

from davy_detectors.batch import Batch
from davy_detectors.checks import check_scorer
from davy_detectors.uncertainty import (
    MahalanobisPlusPlus,
    Margin,
    MaximumSoftmaxProbability,
    PredictiveEntropy,
)

pytestmark = pytest.mark.fast
SCORERS = {entry.name: entry.load() for entry in entry_points(group="davy.scorers")}


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_every_installed_scorer_keeps_the_contract(name):
    check_scorer(SCORERS[name])


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_a_scorer_is_registered_under_its_own_name(name):
    assert SCORERS[name].name == name


@pytest.mark.parametrize("cls", [MaximumSoftmaxProbability, PredictiveEntropy, Margin])
def test_probability_scores_rank_a_certain_answer_below_a_torn_one_and_a_clueless_one(cls):
    certain, torn, clueless = [0.98, 0.01, 0.01], [0.52, 0.46, 0.02], [0.34, 0.33, 0.33]
    scores = cls().score(Batch.from_columns("m:1", {"outputs.probs": [certain, torn, clueless]}))
    assert scores[0] < scores[1] < scores[2]


@pytest.mark.parametrize("cls", [MaximumSoftmaxProbability, PredictiveEntropy, Margin, MahalanobisPlusPlus])
def test_a_batch_without_what_a_scorer_needs_fits_nothing(cls):
    assert cls.fit(Batch.from_columns("m:1", {"x": np.zeros(300)})) is None


def test_the_geometry_score_sees_what_lies_between_the_classes_and_ignores_the_length_of_an_embedding():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 2_000)
    points = np.where(label[:, None], 1.0, -1.0) * np.eye(8)[0] * 5 + rng.normal(size=(2_000, 8)) * 0.5
    fitted = MahalanobisPlusPlus.fit(Batch.from_columns("m:1", {"embedding": points, "outputs.label": label}))
    usual = fitted.score(Batch.from_columns("m:1", {"embedding": points}))
    between = fitted.score(Batch.from_columns("m:1", {"embedding": rng.normal(size=(500, 8)) * 0.5}))
    assert np.median(between) > np.quantile(usual, 0.999)
    longer = fitted.score(Batch.from_columns("m:1", {"embedding": points * 7}))
    assert np.allclose(usual, longer)


def test_the_geometry_score_holds_with_more_dimensions_than_inferences():
    rng = np.random.default_rng(0)
    fitted = MahalanobisPlusPlus.fit(Batch.from_columns("m:1", {"embedding": rng.normal(size=(50, 200)) + 1}))
    clean = fitted.score(Batch.from_columns("m:1", {"embedding": rng.normal(size=(500, 200)) + 1}))
    odd = fitted.score(Batch.from_columns("m:1", {"embedding": rng.normal(size=(500, 200)) - 1}))
    assert np.isfinite(clean).all()
    assert np.quantile(clean, 0.99) < np.quantile(odd, 0.01)


def test_rows_without_an_embedding_are_not_scored_and_do_not_spoil_the_others():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(300, 4))
    fitted = MahalanobisPlusPlus.fit(Batch.from_columns("m:1", {"embedding": points}))
    spoiled = points[:3].copy()
    spoiled[1] = np.nan
    scores = fitted.score(Batch.from_columns("m:1", {"embedding": spoiled}))
    assert np.isnan(scores).tolist() == [False, True, False]
    assert np.allclose(scores[[0, 2]], fitted.score(Batch.from_columns("m:1", {"embedding": points[[0, 2]]})))
