"""The drift monitor: a score-dictionary e-detector on every stream, averaged into one alarm."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import log
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from davy import event
from davy.codec import dump_any, load_any
from davy.config import DetectSettings
from davy.errors import DecodeError, ReferenceInvalid
from davy_detectors.aggregates import Counts
from davy_detectors.base import Alarm, Reading
from davy_detectors.batch import Floats
from davy_detectors.drift.bets import Bets
from davy_detectors.drift.evidence import BLOCK, Evidence, Singles
from davy_detectors.reference import Reference
from davy_detectors.reference.binning import NumberBins
from davy_detectors.reference.reference import ScoredBatch

_CAUSE: Final = "drift"
_VERSION: Final = 4
_LIST_ERROR: Final = 0.002


class ScoreDictionaryDetector:
    """Raises an alarm when the distribution of any monitored stream has left the reference's.

    Each stream's bins are scored by a dictionary of bounded functions (location, scale, tails, half-lines, single
    categories, missing), each score is bet to have a higher mean than the reference allows, sampling error of the
    reference included, and the bets of a stream are mixed into a Shiryaev-Roberts statistic. The alarm is raised when
    the average over the streams reaches `false_alarm_every`. Then the statistic starts again.

    If inferences are independent and like the reference's, the mean number of inferences between alarms is at least
    `false_alarm_every`: whatever the distributions, whatever the dependence between streams, however often one looks
    and however inferences are cut into steps, except with probability `reference_error` over the drawing of the
    reference.

    Parameters
    ----------
    reference
        What is normal.
    settings
        `false_alarm_every`, `tolerance` and `reference_error` are used.

    References
    ----------
    Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", NEJSDS 2024.
    Dandapanthula and Ramdas, "Multiple testing in multi-stream sequential change detection", arXiv 2501.04130.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> from davy_detectors.batch import Batch
    >>> normal = Batch.from_columns("m:1", {"x": rng.normal(size=10_000)})
    >>> settings = DetectSettings()
    >>> detector = ScoreDictionaryDetector(Reference.fit("m:1", normal, settings=settings), settings)
    >>> changed = Batch.from_columns("m:1", {"x": rng.normal(1.0, size=1_000)})
    >>> scored = detector.reference.scored(changed)
    >>> alarm = detector.test(detector.aggregate(scored, np.arange(1_000) // 50, 20), [50] * 20)[0]
    >>> alarm.features[0].feature, alarm.features[0].change
    ('inputs.x', 'larger')
    """

    name: Final = "e-detector"
    aggregate_type: Final = Counts

    def __init__(self, reference: Reference, settings: DetectSettings) -> None:
        self.reference = reference
        self._threshold = settings.false_alarm_every
        self._settled = [settings.tolerance, settings.reference_error]
        self._settings = settings
        self._width = max(len(bins.counts) for bins in reference.bins.values())
        self._missing = np.array([bins.missing for bins in reference.bins.values()])
        self._live = np.array([name not in reference.unproven for name in reference.streams])
        self._done = 0

    @cached_property
    def _bets(self) -> dict[str, Bets]:
        """The bets on each stream; made when first needed, for those who count need none."""
        bins = self.reference.bins
        return {name: Bets.of(each, self._settings, len(bins)) for name, each in bins.items()}

    @cached_property
    def _groups(self) -> list[tuple[slice, Evidence]]:
        numbers = sum(isinstance(bins, NumberBins) for bins in self.reference.bins.values())
        bets = list(self._bets.values())
        parts = [slice(0, numbers), slice(numbers, len(bets))]
        return [(part, Evidence(bets[part], self._width)) for part in parts if bets[part]]

    def aggregate(self, scored: ScoredBatch, windows: NDArray[np.int64], total: int) -> list[Counts]:
        """Count inferences by window and bin, each of shape ``(streams, bins)``; what a failed scorer gives is none."""
        bins, rows = scored.bins, scored.watched
        counts = Counts.of_bins(bins, windows, total, self._width)
        return counts if rows.all() else [Counts(one.values * rows[:, None]) for one in counts]

    def test(self, aggregates: Sequence[Counts], sizes: Sequence[int]) -> list[Alarm]:
        """Take in windows of `sizes` inferences; return alarms in order."""
        alarms = []
        for start in range(0, len(sizes), BLOCK):
            block = np.stack([one.values for one in aggregates[start : start + BLOCK]])
            prepared = [group.prepare(block[:, part]) for part, group in self._groups]
            self._silence_unseen(block, prepared)
            for size, *step in zip(sizes[start : start + BLOCK], *prepared, strict=True):
                statistic = self._step(size, step)
                if statistic >= self._threshold:
                    alarms.append(self._alarm(statistic))
                    for _, group in self._groups:
                        group.restart()
        return alarms

    def reading(self) -> Reading:
        """Return the evidence over the threshold: the average, and each stream's."""
        ratios = self._statistics() / self._threshold
        by_name = zip(self._bets, ratios.tolist(), strict=True)
        return Reading(ratio=float(ratios.mean()), features=dict(by_name))

    def sample_scores(self, scored: ScoredBatch, alarm: Alarm) -> Floats:
        """Return what each inference pays the winning bets of the guilty features, shape ``(n,)``.

        A log-likelihood ratio of "after the change" against "like the reference". Needs nothing but the alarm, so it
        also answers for one raised before a restart.

        Raises
        ------
        ReferenceInvalid
            The alarm names a feature or a change that this reference does not have.
        """
        scores = np.zeros(len(scored))
        if not len(scored):
            return scores
        bins = scored.bins
        streams = self.reference.streams
        for found in alarm.features:
            bets = self._bets.get(found.feature)
            score = bets.score_named(found.change, found.current) if bets else None
            if bets is None or score is None:
                raise ReferenceInvalid(
                    "alarm", f"{found.feature}: {found.change}", "ask with the reference that raised it"
                )
            payoffs = bets.payoffs[:, score, bets.best_stake(score, found.current)]
            scores += payoffs[bins[streams.index(found.feature)]]
        return scores

    def to_bytes(self) -> bytes:
        """Return the state: evidence, and how many inferences were tested."""
        return dump_any(
            {
                "v": _VERSION,
                "detector": self.name,
                "reference": self.reference.version,
                "settings": self._settled,
                "done": self._done,
                "seen": self._live.copy(),
                "evidence": [group.dump() for _, group in self._groups],
            }
        )

    def restore(self, data: bytes) -> None:
        """Go on from what `to_bytes` gave.

        Raises
        ------
        DecodeError
            These are not the bytes of such a state, or another version, reference or setting made them.
        """
        try:
            state = load_any(data)
            self._refuse_foreign(state)
            for (_, group), found in zip(self._groups, state["evidence"], strict=True):
                group.load(found)
            self._done = int(state["done"])
            self._live = np.array(state["seen"], bool).reshape(len(self._missing))
        except DecodeError:
            raise
        except Exception as error:  # bytes from anywhere: every failure means damage
            raise DecodeError("detector state", f"{len(data)} bytes", f"is damaged: {error}") from error

    def _refuse_foreign(self, state: dict[str, Any]) -> None:
        expected = {
            "v": _VERSION,
            "detector": self.name,
            "reference": self.reference.version,
            "settings": self._settled,
        }
        for key, value in expected.items():
            if state[key] != value:
                raise DecodeError(f"detector state, {key}", state[key], f"is not of {value!r}; start anew")

    def _silence_unseen(
        self, block: NDArray[np.int64], prepared: Sequence[Sequence[tuple[Singles, Singles]]]
    ) -> None:
        """Clear the evidence of streams that never had a live value, or that nobody could look at in a window.

        A payoff of zero is less than any bet pays, so the promise stands. From its first value on a stream that only
        the reference had is tested as any other, and what vanishes then is missing.
        """
        looked = block.any(axis=2)
        if self._live.all() and looked.all():
            return
        present = block.sum(axis=2) > block[:, np.arange(len(self._missing)), self._missing]
        seen = np.logical_or.accumulate(np.concatenate([self._live[None], present]), axis=0)
        self._live = seen[-1]
        for (part, _), steps in zip(self._groups, prepared, strict=True):
            for (payoffs, _), known in zip(steps, (seen[1:] & looked)[:, part], strict=True):
                payoffs[~known] = 0.0

    def _step(self, size: int, prepared: Sequence[tuple[Singles, Singles]]) -> float:
        self._done += size
        groups = zip(self._groups, prepared, strict=True)
        return sum(group.step(*bets, size) for (_, group), bets in groups) / len(self._bets)

    def _statistics(self) -> Floats:
        return np.concatenate([group.statistics() for _, group in self._groups])

    def _alarm(self, statistic: float) -> Alarm:
        statistics = self._statistics()
        order = np.argsort(-statistics, kind="stable")
        guilty = [
            self._accuse(int(row), float(statistics[row])) for row in order[: _listed(statistics[order])]
        ]
        age = guilty[0][1]
        return Alarm(
            cause=_CAUSE,
            event=self._done - 1,
            onset_event=max(0, round(self._done - age)),
            statistic=statistic,
            threshold=self._threshold,
            features=[found for found, _ in guilty],
        )

    def _accuse(self, row: int, statistic: float) -> tuple[event.Evidence, float]:
        """Say what changed in a stream and how many inferences ago."""
        name = self.reference.streams[row]
        part, group = next(found for found in self._groups if row < found[0].stop)
        bets = self._bets[name]
        score, age, total = bets.clearest(group.winners(row - part.start))
        current = total / age
        found = event.Evidence(
            feature=name,
            change=bets.scores[score].describe(current),
            reference=float(bets.means[score]),
            current=current,
            log_evidence=log(statistic),
        )
        return found, age


def _listed(ordered: Floats) -> int:
    """Count the guilty among statistics in falling order: e-BH on e-detectors, and always the first.

    The error over patience of the list, its false discovery rate over the mean number of inferences, is at most
    0.002, one in ten for every 50 inferences (Dandapanthula and Ramdas, section 4).
    """
    places = np.arange(1, len(ordered) + 1)
    enough = np.flatnonzero(ordered * places >= len(ordered) / _LIST_ERROR)
    return int(enough[-1]) + 1 if len(enough) else 1
