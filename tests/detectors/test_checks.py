"""The conformance kit finds what it promises to find."""

from __future__ import annotations

import numpy as np
import pytest

from davy_detectors.base import Reading
from davy_detectors.checks import CheckFailed, check_monitor, check_scorer
from davy_detectors.drift import ScoreDictionaryDetector
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


class _ByEnvelope(ScoreDictionaryDetector):
    """Tests whatever it was given, so the borders of batches matter."""

    def update(self, batch):
        alarms = super().update(batch)
        if len(batch) % self._size:
            super().update(batch.take(slice(0, self._size - len(batch) % self._size)))
        return alarms


class _Forgetful(ScoreDictionaryDetector):
    def restore(self, data):
        fresh = self.to_bytes()
        super().restore(data)
        super().restore(fresh)


class _Deaf(ScoreDictionaryDetector):
    def update(self, batch):
        super().update(batch)
        return []


class _Nervous(ScoreDictionaryDetector):
    def __init__(self, reference, settings):
        super().__init__(reference, settings)
        self._threshold /= 200


class _Diary(ScoreDictionaryDetector):
    def __init__(self, reference, settings):
        super().__init__(reference, settings)
        self._seen = b""

    def update(self, batch):
        self._seen += batch.ids.tobytes()
        return super().update(batch)

    def to_bytes(self):
        return super().to_bytes() + self._seen

    def restore(self, data):
        super().restore(data[: len(super().to_bytes())])
        self._seen = data[len(super().to_bytes()) :]


class _Infinite(ScoreDictionaryDetector):
    def reading(self):
        found = super().reading()
        return Reading(found.ratio or np.inf, found.features)


@pytest.mark.parametrize(
    ("cls", "promise"),
    [
        (_ByEnvelope, "one inference at a time|borders of batches"),
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
