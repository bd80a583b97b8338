"""Prometheus counters that follow totals kept in the store."""

from __future__ import annotations

from davy.meter import Meter
from davy.metrics import Metric


class MonotonicCounters:
    """Brings counters up to stored totals, so that they survive restarts and replays count nothing twice.

    Examples
    --------
    >>> from davy import metrics
    >>> meter = Meter()
    >>> shown = MonotonicCounters(meter)
    >>> shown.total(metrics.INFERENCES, 200, model="digits:1"); shown.total(metrics.INFERENCES, 200, model="digits:1")
    >>> 'davy_inferences_total{model="digits:1"} 200.0' in meter.exposition().decode()
    True
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._values: dict[tuple[str, tuple[str, ...]], int] = {}

    def total(self, metric: Metric, value: int, /, **labels: str) -> None:
        """Show that a counter stands at `value`; it never goes back."""
        key = (metric.name, tuple(labels.values()))
        before = self._values.get(key, 0)
        if value > before:
            self._meter.add(metric, value - before, **labels)
            self._values[key] = value
