"""The metrics of one model, shown by the process that tests it and by no other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from davy import metrics
from davy_detectors._shown import Shown

if TYPE_CHECKING:
    from davy.meter import Meter
    from davy_detectors._totals import Totals

_FEATURES: Final = 50
_NOTABLE: Final = 0.1
_SHOWN: Final = (
    metrics.INFERENCES, metrics.REPEATED, metrics.DROPPED, metrics.FLAGS, metrics.LATE, metrics.RESTATED,
    metrics.LAST_INFERENCE, metrics.BLIND, metrics.INCIDENTS, metrics.INCIDENT_OPEN,
    metrics.DRIFT_EVIDENCE, metrics.FEATURE_EVIDENCE,
)  # fmt: skip


class Display:
    """Brings the metrics of a model up to what is known, and takes them back when another process goes on.

    Parameters
    ----------
    meter
        Of this process.
    model
        Whose metrics.
    """

    def __init__(self, meter: Meter, model: str) -> None:
        self._meter = meter
        self._model = model
        self._counters = Shown(meter)
        self._features: set[str] = set()

    def totals(self, totals: Totals, open_causes: set[str]) -> None:
        """Show what was counted and which incidents are open."""
        model, show = self._model, self._counters.total
        show(metrics.INFERENCES, totals.events, model=model)
        show(metrics.REPEATED, totals.repeated, model=model)
        show(metrics.LATE, totals.late, model=model)
        show(metrics.RESTATED, totals.restated, model=model)
        for reason, count in totals.dropped.items():
            show(metrics.DROPPED, count, model=model, reason=reason)
        for reason, count in totals.flags.items():
            show(metrics.FLAGS, count, model=model, reason=reason)
        for cause, count in totals.incidents.items():
            show(metrics.INCIDENTS, count, model=model, cause=cause)
            self._meter.set(metrics.INCIDENT_OPEN, float(cause in open_causes), model=model, cause=cause)
        if totals.last_at:
            self._meter.set(metrics.LAST_INFERENCE, totals.last_at / 1e9, model=model)

    def evidence(self, ratio: float | None, by_feature: Mapping[str, float]) -> None:
        """Show the evidence, of at most 50 features: all, or those that once had a tenth of what an alarm needs."""
        if ratio is None:
            return
        self._meter.set(metrics.DRIFT_EVIDENCE, ratio, model=self._model)
        few, shown = len(by_feature) <= _FEATURES, self._features
        for feature, found in by_feature.items():
            if feature in shown or few or (found >= _NOTABLE and len(shown) < _FEATURES):
                shown.add(feature)
                self._meter.set(metrics.FEATURE_EVIDENCE, found, model=self._model, feature=feature)

    def silent(self, blind: bool) -> None:
        """Show whether the model sends nothing."""
        self._meter.set(metrics.BLIND, float(blind), model=self._model)

    def close(self) -> None:
        """Take everything back: a number nobody keeps up is worse than none."""
        for metric in _SHOWN:
            self._meter.forget(metric, model=self._model)
