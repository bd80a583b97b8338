"""Writes the metrics of the catalogue; the only file that knows prometheus-client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from davy.metrics import CATALOGUE, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from prometheus_client import CollectorRegistry


class Meter:
    """The instruments of one process, in a registry of its own (never the global one).

    Examples
    --------
    >>> from davy import metrics
    >>> meter = Meter()
    >>> meter.add(metrics.INFERENCES, 200, model="digits:1")
    >>> 'davy_inferences_total{model="digits:1"} 200.0' in meter.exposition().decode()
    True
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry: CollectorRegistry = CollectorRegistry(auto_describe=False)
        kinds: dict[str, Any] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
        self._instruments: dict[str, Any] = {}
        for metric in CATALOGUE:
            more = {"buckets": metric.buckets} if metric.buckets else {}
            self._instruments[metric.name] = kinds[metric.kind](
                metric.name.removesuffix("_total"),
                metric.help,
                metric.labels,
                registry=self._registry,
                **more,
            )

    def add(self, metric: Metric, amount: float = 1.0, /, **labels: str) -> None:
        """Count `amount` more of something."""
        self._child(metric, labels).inc(amount)

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Say what a gauge is now."""
        self._child(metric, labels).set(value)

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Put a value into a histogram."""
        self._child(metric, labels).observe(value)

    def observe_many(self, metric: Metric, values: NDArray[np.float64], /, **labels: str) -> None:
        """Put many values, shape ``(n,)`` and none of them NaN, into a histogram at once."""
        child = self._child(metric, labels)
        places = np.searchsorted(child._upper_bounds, values, side="left")
        for place, count in enumerate(np.bincount(places).tolist()):
            if count:
                child._buckets[place].inc(count)
        child._sum.inc(float(values.sum()))

    def forget(self, metric: Metric, /, **labels: str) -> None:
        """Show nothing any more of the series with these labels, whatever their other labels are."""
        self._instruments[metric.name].remove_by_labels(labels)

    def exposition(self) -> bytes:
        """Give every metric in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

    def _child(self, metric: Metric, labels: dict[str, str]) -> Any:
        instrument = self._instruments[metric.name]
        return instrument.labels(**labels) if metric.labels else instrument
