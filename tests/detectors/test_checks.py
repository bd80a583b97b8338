"""The conformance kit finds what it promises to find."""

from __future__ import annotations

from copy import copy
from functools import reduce

import numpy as np
import pytest

from davy_detectors.aggregates import Counts
from davy_detectors.base import Reading
from davy_detectors.checks import CheckFailed, check_monitor, check_scorer
from davy_detectors.drift import ScoreDictionaryDetector
from davy_detectors.reference.binning import CategoryBins
from davy_detectors.uncertainty import MahalanobisPlusPlus, MaximumSoftmaxProbability


class _Upside(MaximumSoftmaxProbability):
    def score(self, batch):
        return -super().score(batch)


class _InPlace(MahalanobisPlusPlus):
    def score(self, batch):
        scores = super().score(batch)
        column = batch.fields.get(("embedding",))
        if column is not None and len(batch):
            column.values[0, 0] += 1.0
        return scores


class _ByRank(MaximumSoftmaxProbability):
    def score(self, batch):
        return super().score(batch).argsort().argsort().astype(float)


class _Hoarder(MaximumSoftmaxProbability):
    @classmethod
    def fit(cls, batch):
        found = cls()
        found.kept = batch.probs.copy()
        return found

    def dump(self):
        return {"kept": self.kept}

    @classmethod
    def load(cls, state):
        found = cls()
        found.kept = state["kept"]
        return found


@pytest.mark.fast
@pytest.mark.parametrize(
    ("cls", "promise"),
    [
        (_Upside, "AUROC"),
        (_InPlace, "leaves its input"),
        (_ByRank, "as in a batch"),
        (_Hoarder, "bounded size"),
    ],
)
def test_a_scorer_that_breaks_a_promise_is_told_which(cls, promise):
    with pytest.raises(CheckFailed, match=promise):
        check_scorer(cls)


class _ByCall(ScoreDictionaryDetector):
    """Tests whatever it was given as one step, so it matters how many it was given."""

    def test(self, aggregates, sizes):
        return super().test([reduce(Counts.merge, aggregates)], [sum(sizes)]) if sizes else []


class _Order(ScoreDictionaryDetector):
    """Counts the first inference it sees twice."""

    def aggregate(self, scored, windows, total):
        counts = super().aggregate(scored, windows, total)
        if len(scored):
            again = super().aggregate(scored.take(slice(0, 1)), windows[:1], total)
            counts = [one.merge(other) for one, other in zip(counts, again, strict=True)]
        return counts


class _Forgetful(ScoreDictionaryDetector):
    def restore(self, data):
        fresh = self.to_bytes()
        super().restore(data)
        super().restore(fresh)


class _Deaf(ScoreDictionaryDetector):
    def test(self, aggregates, sizes):
        super().test(aggregates, sizes)
        return []


class _Nervous(ScoreDictionaryDetector):
    def __init__(self, reference, settings):
        super().__init__(reference, settings)
        self._threshold /= 200


class _Diary(ScoreDictionaryDetector):
    def __init__(self, reference, settings):
        super().__init__(reference, settings)
        self._seen = b""

    def test(self, aggregates, sizes):
        self._seen += b"".join(one.to_bytes() for one in aggregates)
        return super().test(aggregates, sizes)

    def to_bytes(self):
        state = super().to_bytes()
        return len(state).to_bytes(8) + state + self._seen

    def restore(self, data):
        end = 8 + int.from_bytes(data[:8])
        super().restore(data[8:end])
        self._seen = data[end:]


class _Infinite(ScoreDictionaryDetector):
    def reading(self):
        found = super().reading()
        return Reading(found.ratio or np.inf, found.features)


class _Credulous(ScoreDictionaryDetector):
    """Believes that what its reference does not hold there is not: the count of the unseen is always zero."""

    def __init__(self, reference, settings):
        known = copy(reference)
        known.bins = {name: self._sure(bins) for name, bins in reference.bins.items()}
        super().__init__(known, settings)

    @staticmethod
    def _sure(bins):
        if not isinstance(bins, CategoryBins):
            return bins
        counts = bins.counts.copy()
        counts[bins.missing - 1] = 0
        return CategoryBins(bins.categories, bins.others, counts)


@pytest.mark.parametrize(
    ("cls", "promise"),
    [
        (_Credulous, "clean (categories by Zipf|user agents)"),
        (_ByCall, "one window at a time"),
        (_Order, "merge to the same bytes"),
        (_Forgetful, "state back|never stopped"),
        (_Deaf, "raises an alarm"),
        (_Nervous, "false alarms"),
        (_Diary, "bounded size|refuses"),
        (_Infinite, "finite readings"),
    ],
)
def test_a_monitor_that_breaks_a_promise_is_told_which(cls, promise):
    with pytest.raises(CheckFailed, match=promise):
        check_monitor(cls)
