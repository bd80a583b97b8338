"""Two, five and ten monitors on clean inferences raise no more alarms than the one budget accepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.stats import binom

from davy.config import DetectSettings
from davy_detectors.aggregates import Counts
from davy_detectors.base import Alarm, Monitor, Reading
from davy_detectors.batch import Batch
from davy_detectors.budget import most_a_day, shares, with_share
from davy_detectors.checks import aggregated
from davy_detectors.drift import ScoreDictionaryDetector
from davy_detectors.reference import Reference
from davy_detectors.stream.monitor_run import MonitorRun
from davy_detectors.stream.windows import Window

EVENTS, SIZE, EVERY = 1_000_000, 50, 5_000
ACCEPTED = EVENTS // EVERY
ERROR = 1e-4
"""Probability with which a promise that is kept to the letter fails a test here."""
SETTINGS = DetectSettings(false_alarm_every=EVERY)
TWENTIETH = 50_000_000


class ShareAbove:
    """A Shiryaev-Roberts monitor of the share of an input above a quantile, which it knows: no band makes it late."""

    aggregate_type = Counts
    exposed = True

    def __init__(self, name: str, column: int, share: float, reference: Reference, settings: DetectSettings):
        self.name, self.column, self.share = name, column, share
        self.reference, self._threshold = reference, settings.false_alarm_every
        stakes = np.array([0.1, 0.2, 0.4])
        self._won, self._lost = np.log1p(stakes * (1 - share) / share), np.log1p(-stakes)
        self._evidence, self._done = np.zeros(len(stakes)), 0

    def test(
        self, aggregates: Sequence[Counts], sizes: Sequence[int], exposures: Sequence[float] | None = None
    ) -> list[Alarm]:
        alarms = []
        for one, size, exposure in zip(aggregates, sizes, exposures or sizes, strict=True):
            above = int(one.values[0])
            self._done += size
            self._evidence = (self._evidence + exposure) * np.exp(
                above * self._won + (size - above) * self._lost
            )
            if self._evidence.mean() >= self._threshold:
                alarms.append(Alarm("share", self._done - 1, 0, 1.0, 1.0, []))
                self._evidence[:] = 0.0
        return alarms

    def reading(self) -> Reading:
        return Reading(0.0, {})

    def to_bytes(self) -> bytes:
        return b""


@cache
def _clean() -> np.ndarray:
    return np.random.default_rng(7).normal(size=(EVENTS, 3))


@cache
def _reference() -> Reference:
    return Reference.fit("m:1", _batch(np.random.default_rng(8).normal(size=(2_000, 3))), settings=SETTINGS)


def _batch(values: np.ndarray) -> Batch:
    return Batch.from_columns("m:1", {f"inputs.x{i}": column for i, column in enumerate(values.T)})


def _monitors(count: int, settings: DetectSettings, asked: Mapping[str, float]) -> dict[str, Monitor]:
    """Return the e-detector and others that watch the same inputs, each made with its share."""
    quantiles = np.linspace(0.2, 0.8, 9)
    names = ["e-detector", *(f"share-{n}" for n in range(count - 1))]
    weights = asked or shares(names)
    found: dict[str, Monitor] = {
        "e-detector": ScoreDictionaryDetector(_reference(), with_share(settings, weights["e-detector"]))
    }
    for n, name in enumerate(names[1:]):
        own = with_share(settings, weights[name])
        found[name] = ShareAbove(name, n % 3, float(quantiles[n]), _reference(), own)  # type: ignore[assignment]
    return found


@cache
def _windows() -> list[Window]:
    """Return the clean inferences as windows of a twentieth of a second, counted for ten monitors."""
    values, steps = _clean(), np.arange(SIZE * 2_000) // SIZE
    monitors = _monitors(10, SETTINGS, {})
    counted: dict[str, list[bytes]] = {}
    for name, monitor in monitors.items():
        if isinstance(monitor, ShareAbove):
            edge = float(np.quantile(_wide(), 1 - monitor.share))
            above = (values[:, monitor.column] > edge).reshape(-1, SIZE).sum(axis=1)
            counted[name] = [Counts([one]).to_bytes() for one in above]
        else:
            parts = np.split(values, EVENTS // len(steps))
            counted[name] = [
                data
                for part in parts
                for data in aggregated(monitor, _reference().scored(_batch(part)), steps, len(steps) // SIZE)
            ]
    return [
        Window(n * TWENTIETH, SIZE, n * TWENTIETH, {name: (SIZE, data[n]) for name, data in counted.items()})
        for n in range(EVENTS // SIZE)
    ]


def _wide() -> np.ndarray:
    from scipy.special import ndtri

    return ndtri((np.arange(100_000) + 0.5) / 100_000)


def _alarms(count: int, settings: DetectSettings, asked: Mapping[str, float] | None = None) -> int:
    run = MonitorRun(
        lambda: _monitors(count, settings, asked or {}),
        most_a_day=most_a_day(settings),
    )
    return sum(len(one.raised) for one in run.run(_windows()))


def _most(accepted: float) -> int:
    """Return the number of alarms that a rate as accepted exceeds with probability `ERROR`: one chance a window."""
    windows = EVENTS // SIZE
    return int(binom.ppf(1 - ERROR, windows, accepted / windows))


@pytest.mark.parametrize("count", [2, 5, 10])
def test_any_number_of_monitors_raises_no_more_alarms_than_the_one_budget(count: int) -> None:
    found = _alarms(count, SETTINGS)
    assert 0 < found <= _most(ACCEPTED)


def test_ten_monitors_with_the_whole_budget_each_would_raise_more() -> None:
    whole = dict.fromkeys(["e-detector", *(f"share-{n}" for n in range(9))], 1.0)
    assert _alarms(10, SETTINGS, whole) > _most(ACCEPTED)


def test_a_budget_in_days_is_kept_at_any_traffic() -> None:
    days = EVENTS / SIZE * TWENTIETH / 1e9 / 86_400
    accepted = 20
    settings = replace(SETTINGS, false_alarm_days=days / accepted)
    found = _alarms(10, settings)
    assert 0 < found <= _most(accepted)
    assert _alarms(10, SETTINGS) > _most(accepted)
