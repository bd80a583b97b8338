"""Where the accepted false alarms of a model go, what delay they cost, and how often a clean week has an alarm.

Both are worked out by the e-detector itself on inferences drawn from the model's reference, as counts of bins and each
stream for itself. Seeds are fixed, so the same reference and settings give the same numbers in as many runs as there is
time for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import entry_points
from math import inf, isfinite
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from davy_detectors.aggregates import Counts
from davy_detectors.base import Floats
from davy_detectors.budget import DAY, most_a_day, relative, shares, with_share
from davy_detectors.drift import ScoreDictionaryDetector
from davy_detectors.drift.band import clopper_pearson
from davy_detectors.reference.binning import CategoryBins, NumberBins

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy_detectors.reference import Reference
    from davy_detectors.stream.totals import Totals

SHIFTS: Final = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Of a stream's values, in standard deviations of its normal scores."""
_SHARE: Final = 0.05
_SEED: Final = 5
_RUNS: Final = 10
_STEP: Final = 20
_LONGEST: Final = 100_000
_WEEK: Final = 7
_LOOKS: Final = 1_008
_WEEKS: Final = 200
_BLOCK: Final = 32
_ERROR: Final = 0.025
"""Of each end of an interval of 95 %."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one monitor may spend of a model's accepted false alarms.

    Attributes
    ----------
    monitor, weight
        Which, and its part of all; those of all monitors add up to one.
    every
        Mean number of inferences between its false alarms, at least.
    a_day
        Mean number of its false alarms a day at the model's traffic, at most; None where that is not known.
    """

    monitor: str
    weight: float
    every: float
    a_day: float | None


@dataclass(frozen=True, slots=True)
class Delay:
    """How long a change takes to raise an alarm.

    Attributes
    ----------
    feature, change
        What moved, and how far.
    inferences
        Median number from the change to the alarm; None where most runs raised none in 100 000.
    days
        The same at the model's traffic; None where that is not known.
    runs, missed
        How many there were, and how many of them raised no alarm.
    """

    feature: str
    change: str
    inferences: float | None
    days: float | None
    runs: int
    missed: int


@dataclass(frozen=True, slots=True)
class CleanWeek:
    """How often a week like the reference raises an alarm.

    Attributes
    ----------
    inferences, looks
        Of a week, and how often in it the monitor looks here; it looks more often live.
    runs, alarms
        How many weeks were drawn, and how many of them raised an alarm.
    low, high
        Interval of the probability with confidence 95 % (Clopper and Pearson).
    bound
        What the promise says it is at most.
    """

    inferences: int
    looks: int
    runs: int
    alarms: int
    low: float
    high: float
    bound: float


def traffic(totals: Totals) -> float | None:
    """Return the inferences a day that a model has shown since its first one; None before two moments had any."""
    elapsed = totals.last_at - totals.first_seen
    return totals.events * DAY / elapsed if totals.first_seen and elapsed > 0 else None


def installed() -> list[str]:
    """Return the names of the monitors that are installed here."""
    return sorted(point.name for point in entry_points(group="davy.monitors"))


def spending(settings: DetectSettings, monitors: Sequence[str], a_day: float | None) -> list[Share]:
    """Return what every monitor may spend of a model's accepted false alarms at a traffic of `a_day` inferences.

    Examples
    --------
    >>> from davy.config import DetectSettings
    >>> [(one.monitor, one.every, one.a_day) for one in spending(DetectSettings(), ["a", "b"], 1e6)]
    [('a', 2000000.0, 0.5), ('b', 2000000.0, 0.5)]
    """
    found = []
    for name, weight in shares(monitors, settings.monitor_weights).items():
        own = with_share(settings, weight)
        counted = None if a_day is None else min(a_day, _most(name, settings))
        found.append(Share(name, weight, own.false_alarm_every, counted and counted / own.false_alarm_every))
    return found


def features(reference: Reference, settings: DetectSettings) -> dict[str, float]:
    """Return the part of every monitored stream in the evidence of a model; parts add up to one."""
    weights = relative(reference.streams, settings.feature_weights)
    return {name: weight / len(weights) for name, weight in weights.items()}


def _most(monitor: str, settings: DetectSettings) -> float:
    """Return how many inferences of a day count for a monitor's promise at most."""
    for point in entry_points(group="davy.monitors", name=monitor):
        with suppress(Exception):  # doctor says of a plug-in that cannot be loaded that it is suspended
            if getattr(point.load(), "exposed", False):
                return most_a_day(settings)
    return inf


class Rehearsal:
    """Lets the e-detector watch inferences drawn from its reference.

    Parameters
    ----------
    reference
        What inferences are drawn from, and compared with.
    settings
        Of the monitor, with its share.
    a_day
        Inferences a day; None where that is not known, and then none are worked out in days.
    seconds
        After which no new run begins; each question has so many.
    """

    def __init__(
        self, reference: Reference, settings: DetectSettings, a_day: float | None, seconds: float
    ) -> None:
        self._reference, self._settings, self._a_day, self._seconds = reference, settings, a_day, seconds
        self._monitor = ScoreDictionaryDetector(reference, settings)
        self._fresh = self._monitor.to_bytes()
        width = max(len(bins.counts) for bins in reference.bins.values())
        rows = [np.pad(bins.counts, (0, width - len(bins.counts))) for bins in reference.bins.values()]
        self._counts: Floats = np.array(rows, np.float64)

    def delays(self) -> list[Delay]:
        """Return how long shifts of a stream of numbers and the doubling of a category take to raise an alarm."""
        changes = list(self._changes())
        return [self._delay(*change, self._seconds / len(changes)) for change in changes]

    def clean_week(self) -> CleanWeek | None:
        """Return how often a week like the reference raises an alarm; None where the traffic is not known.

        What is true is drawn anew for every week from what the reference leaves open (the Bayesian bootstrap, Rubin
        1981), so that its sampling error is part of the answer.
        """
        if self._a_day is None:
            return None
        total = max(1, round(self._a_day * _WEEK))
        looks = min(_LOOKS, total)
        sizes = np.diff(np.arange(looks + 1) * total // looks)
        runs, alarms, until = 0, 0, time.monotonic() + self._seconds
        while runs < _WEEKS and (not runs or time.monotonic() < until):
            rng = np.random.default_rng([_SEED, runs])
            shares = _normalised(rng.standard_gamma(self._counts))
            runs, alarms = runs + 1, alarms + (self._watch(shares, sizes, rng) is not None)
        low = 1.0 - clopper_pearson(runs - alarms, runs, _ERROR)
        bound = min(1.0, total * self._exposure / self._settings.false_alarm_every)
        return CleanWeek(total, looks, runs, alarms, low, clopper_pearson(alarms, runs, _ERROR), bound)

    def _changes(self) -> Iterator[tuple[str, str, int, Floats]]:
        """Yield a stream's name, what changes, its place and its counts after the change."""
        bins = list(self._reference.bins.items())
        numbers = [
            (np.count_nonzero(one.counts), -i)
            for i, (_, one) in enumerate(bins)
            if isinstance(one, NumberBins)
        ]
        if numbers:
            place = -max(numbers)[1]
            name, found = bins[place]
            for shift in SHIFTS:
                yield (
                    name,
                    f"larger by {shift:g} sd",
                    place,
                    shifted(self._counts[place], len(found.counts) - 2, shift),
                )
        categories = [
            (abs(share - _SHARE), i, code)
            for i, (_, one) in enumerate(bins)
            if isinstance(one, CategoryBins)
            for code, share in enumerate(one.counts[: len(one.categories)] / max(1, one.counts.sum()))
        ]
        if categories:
            _, place, code = min(categories)
            name, found = bins[place]
            assert isinstance(found, CategoryBins)
            share = float(found.counts[code] / found.counts.sum())
            after = self._counts[place].copy()
            after *= (1.0 - min(1.0, 2 * share)) / max(1.0 - share, 1e-12)
            after[code] = min(1.0, 2 * share) * found.counts.sum()
            said = f"category {str(found.categories[code])!r} from {share:.1%} to {min(1.0, 2 * share):.1%}"
            yield name, said, place, after

    def _delay(self, feature: str, change: str, place: int, counts: Floats, seconds: float) -> Delay:
        changed = self._counts.copy()
        changed[place] = counts
        shares, until = _normalised(changed), time.monotonic() + seconds
        sizes = np.full(_LONGEST // _STEP, _STEP)
        found: list[int | None] = []
        while len(found) < _RUNS and (not found or time.monotonic() < until):
            rng = np.random.default_rng([_SEED, place, len(found)])
            found.append(self._watch(shares, sizes, rng))
        middle = median(inf if one is None else one for one in found)
        inferences = middle if isfinite(middle) else None
        days = inferences / self._a_day if inferences is not None and self._a_day else None
        return Delay(feature, change, inferences, days, len(found), found.count(None))

    def _watch(self, shares: Floats, sizes: NDArray[np.int64], rng: np.random.Generator) -> int | None:
        """Draw windows of `sizes`; return how many inferences had come with the first alarm, None if there was none."""
        self._monitor.restore(self._fresh)
        for start in range(0, len(sizes), _BLOCK):
            block = sizes[start : start + _BLOCK]
            drawn: NDArray[np.int64] = rng.multinomial(block[:, None], shares)
            exposures = (block * self._exposure).tolist()
            alarms = self._monitor.test([Counts(one) for one in drawn], block.tolist(), exposures)
            if alarms:
                return alarms[0].event + 1
        return None

    @property
    def _exposure(self) -> float:
        """What an inference counts for in the promise at this traffic."""
        return 1.0 if self._a_day is None else min(1.0, most_a_day(self._settings) / self._a_day)


def shifted(counts: Floats, inside: int, shift: float) -> Floats:
    """Return counts of a stream of numbers whose normal scores became larger by `shift`.

    The first `inside` bins hold numbers, in rising order; the others are left as they are.

    Examples
    --------
    >>> shifted(np.array([500.0, 500.0, 10.0]), 2, 1.0).round().tolist()
    [159.0, 841.0, 10.0]
    """
    from scipy.special import ndtr, ndtri

    total = counts[:inside].sum()
    below = np.cumsum(counts[:inside])[:-1] / max(total, 1.0)
    edges = np.concatenate([[0.0], ndtr(ndtri(below) - shift), [1.0]])
    return np.concatenate([total * np.diff(edges), counts[inside:]])


def _normalised(counts: Floats) -> Floats:
    shares: Floats = counts / counts.sum(axis=1, keepdims=True)
    return shares
