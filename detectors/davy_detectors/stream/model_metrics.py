"""The metrics of one model, shown by the process that tests it and by no other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from davy import metrics
from davy.fields.losses import read_loss
from davy_detectors.models.known import STATES, State
from davy_detectors.plugins import KINDS
from davy_detectors.stream.counters import MonotonicCounters

if TYPE_CHECKING:
    from davy.meter import Meter
    from davy_detectors.plugins import Suspension
    from davy_detectors.stream.totals import Totals

_FEATURES: Final = 50
_NOTABLE: Final = 0.1
_SHOWN: Final = (
    metrics.INFERENCES, metrics.REPEATED, metrics.DROPPED, metrics.LEFT_OUT, metrics.INCOMPLETE, metrics.FLAGS,
    metrics.LATE, metrics.RESTATED, metrics.LAST_INFERENCE, metrics.TESTED_UNTIL, metrics.BLIND, metrics.INCIDENTS,
    metrics.INCIDENT_OPEN, metrics.DRIFT_EVIDENCE, metrics.FEATURE_EVIDENCE, metrics.MODEL_STATE,
    metrics.PLUGIN_SUSPENDED,
)  # fmt: skip


class ModelMetrics:
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
        self._counters = MonotonicCounters(meter)
        self._features: set[str] = set()
        for metric in _SHOWN:
            if metric.kind == "counter" or metric.known:
                meter.zero(metric, model=model)

    def totals(self, totals: Totals, open_causes: set[str], scorers: Iterable[str] = ()) -> None:
        """Show what was counted and which incidents are open; `scorers` may flag samples."""
        model, show = self._model, self._counters.total
        show(metrics.INFERENCES, totals.events, model=model)
        show(metrics.REPEATED, totals.repeated, model=model)
        show(metrics.LATE, totals.late, model=model)
        show(metrics.RESTATED, totals.restated, model=model)
        for reason, count in totals.dropped.items():
            show(metrics.DROPPED, count, model=model, reason=reason)
        for reason, count in totals.incomplete.items():
            show(metrics.INCOMPLETE, count, model=model, reason=reason)
        for each, count in totals.left_out.items():
            name, why = read_loss(each) or (each, "")
            show(metrics.LEFT_OUT, count, model=model, field=name, reason=why)
        for scorer in scorers:
            self._meter.zero(metrics.FLAGS, model=model, reason=f"score:{scorer}")
        for reason, count in totals.flags.items():
            show(metrics.FLAGS, count, model=model, reason=reason)
        for cause, count in totals.incidents.items():
            show(metrics.INCIDENTS, count, model=model, cause=cause)
            self._meter.set(metrics.INCIDENT_OPEN, float(cause in open_causes), model=model, cause=cause)
        if totals.last_at:
            self._meter.set(metrics.LAST_INFERENCE, totals.last_at / 1e9, model=model)

    def tested(self, until: int) -> None:
        """Show up to which event time, nanoseconds, inferences were tested; 0 says that none were."""
        if until:
            self._meter.set(metrics.TESTED_UNTIL, until / 1e9, model=self._model)

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

    def suspended(self, suspensions: Iterable[Suspension]) -> None:
        """Show for which plug-ins the model is blind."""
        for kind in KINDS:
            self._meter.forget(metrics.PLUGIN_SUSPENDED, model=self._model, kind=kind)
        for one in suspensions:
            self._meter.set(metrics.PLUGIN_SUSPENDED, 1.0, model=self._model, kind=one.kind, plugin=one.name)

    def silent(self, blind: bool) -> None:
        """Show whether the model sends nothing."""
        self._meter.set(metrics.BLIND, float(blind), model=self._model)

    def state(self, state: State) -> None:
        """Show which state the model is in."""
        for each in STATES:
            self._meter.set(metrics.MODEL_STATE, float(each == state), model=self._model, state=each)

    def close(self) -> None:
        """Take everything back: a number nobody keeps up is worse than none."""
        for metric in _SHOWN:
            self._meter.forget(metric, model=self._model)
