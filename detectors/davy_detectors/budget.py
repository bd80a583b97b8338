"""One accepted rate of false alarms a model, spent over its monitors and their features as weights of one mixture.

The user accepts one false alarm in `false_alarm_every` inferences of a model and, where `false_alarm_days` is set, one
in so many days; both are kept. Weights add up to one on each level. A monitor with weight `w` raises an alarm in
``false_alarm_every / w`` inferences at most, so the alarms of all together are as rare as was asked for: expected
numbers add, whatever the dependence between monitors. Within a monitor the weighted average of the features' statistics
is tested, whose expectation is that of one. A segment is one more feature to a monitor that watches it apart, and needs
no other level; versions of a reference follow each other, each from no evidence, and so spend nothing twice.

Days need no rate of traffic. A Shiryaev-Roberts statistic ``R <- (R + x) P`` grows by `x`, the *exposure* of a window,
and ``R`` less the sum of exposures is a supermartingale for any that owe nothing to what the inferences look like. The
window's inferences as exposure give the promise in inferences, the time since the window before gives it in days, and
the smaller of both, in one unit, keeps both. It follows from event times alone, so a replay gives the same, and a model
whose traffic grows tenfold keeps its promise in days as it is.

References
----------
Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", NEJSDS 2024.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from math import inf
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from davy.config import DetectSettings

DAY: Final = 86_400 * 10**9
"""Nanoseconds."""
Asked = Sequence[tuple[str, str]]
"""Patterns of names, each with a weight; the first that matches counts."""


def relative(names: Collection[str], asked: Asked = ()) -> dict[str, float]:
    """Return the weight of every name beside the mean weight, by name; without `asked` all are one.

    Examples
    --------
    >>> relative(["a", "b", "c"], [("b", "4")])
    {'a': 0.5, 'b': 2.0, 'c': 0.5}
    """
    weights = {
        name: next((float(weight) for pattern, weight in asked if fnmatchcase(name, pattern)), 1.0)
        for name in names
    }
    mean = sum(weights.values()) / max(1, len(weights))
    return {name: weight / mean for name, weight in weights.items()}


def shares(names: Collection[str], asked: Asked = ()) -> dict[str, float]:
    """Return the share of every monitor, in the order of names; shares add up to one.

    Examples
    --------
    >>> shares(["mine", "e-detector"])
    {'e-detector': 0.5, 'mine': 0.5}
    >>> shares(["mine", "e-detector"], [("e-*", "3")])
    {'e-detector': 0.75, 'mine': 0.25}
    """
    return {name: weight / len(names) for name, weight in relative(sorted(names), asked).items()}


def with_share(settings: DetectSettings, share: float) -> DetectSettings:
    """Return the settings of a monitor that may raise this share of the accepted alarms.

    Examples
    --------
    >>> from davy.config import DetectSettings
    >>> with_share(DetectSettings(false_alarm_every=1e6, false_alarm_days=30.0), 0.5).false_alarm_every
    2000000.0
    """
    return replace(
        settings,
        false_alarm_every=settings.false_alarm_every / share,
        false_alarm_days=settings.false_alarm_days / share,
    )


def unmatched(names: Collection[str], asked: Asked) -> list[str]:
    """Return the patterns that match none of the names, in order.

    Examples
    --------
    >>> unmatched(["e-detector"], [("e-*", "3"), ("mine", "2")])
    ['mine']
    """
    return [pattern for pattern, _ in asked if not any(fnmatchcase(name, pattern) for name in names)]


def most_a_day(settings: DetectSettings) -> float:
    """Return how many inferences of a day count for the promise at most; infinity where only inferences do.

    It is the traffic at which both promises are the same: of a busier model the days decide, of another the inferences.

    Examples
    --------
    >>> from davy.config import DetectSettings
    >>> most_a_day(DetectSettings(false_alarm_every=3e6, false_alarm_days=30.0))
    100000.0
    """
    return settings.false_alarm_every / settings.false_alarm_days if settings.false_alarm_days else inf


def exposures(
    starts: NDArray[np.int64], sizes: NDArray[np.int64], before: int, most: float
) -> NDArray[np.float64]:
    """Return what windows count for in the promise, in inferences; shape ``(windows,)``.

    Parameters
    ----------
    starts, sizes
        When each window starts, nanoseconds, in order, and how many inferences it has; shape ``(windows,)``.
    before
        The start of the window before these, -1 when there is none: then no time has passed in the first.
    most
        What `most_a_day` gives.

    Examples
    --------
    >>> exposures(np.array([0, DAY, 3 * DAY]), np.array([10, 10, 3]), -1, 4.0).tolist()
    [0.0, 4.0, 3.0]
    """
    elapsed = np.diff(starts, prepend=before if before >= 0 else starts[:1]) / DAY
    return np.minimum(sizes, np.maximum(elapsed, 0.0) * most)
