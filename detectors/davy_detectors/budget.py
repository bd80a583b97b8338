"""One accepted rate of false alarms a model, spent over its monitors.

The user accepts one false alarm in `false_alarm_every` inferences of a model, whatever is installed. Each monitor gets
a share of that rate and the shares add up to one, so alarms of all together come as rarely as was asked for: expected
numbers of alarms add, whatever the dependence between monitors.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from davy.config import DetectSettings


def shares(names: Collection[str]) -> dict[str, float]:
    """Return the share of every monitor: equal parts, which add up to one.

    Examples
    --------
    >>> shares(["e-detector", "mine"])
    {'e-detector': 0.5, 'mine': 0.5}
    """
    return dict.fromkeys(sorted(names), 1.0 / max(1, len(names)))


def with_share(settings: DetectSettings, share: float) -> DetectSettings:
    """Return the settings of a monitor that may raise this share of the accepted alarms.

    Examples
    --------
    >>> from davy.config import DetectSettings
    >>> with_share(DetectSettings(false_alarm_every=1e6), 0.5).false_alarm_every
    2000000.0
    """
    return replace(settings, false_alarm_every=settings.false_alarm_every / share)
