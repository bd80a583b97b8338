"""Writes the metrics of the catalogue; the only file that knows prometheus-client."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from davy.metrics import BUILD_INFO, CATALOGUE, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric as Family


class Meter:
    """The instruments of one process and what the system knows of it, in a registry of its own (never the global one).

    Examples
    --------
    >>> from davy import metrics
    >>> meter = Meter()
    >>> meter.add(metrics.INFERENCES, 200, model="digits:1")
    >>> 'davy_inferences_total{model="digits:1"} 200.0' in meter.exposition().decode()
    True
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

        self._registry: CollectorRegistry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._before: list[Callable[[], None]] = []
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
        self.set(BUILD_INFO, 1, version=version("davy"), python=platform.python_version())

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

    def zero(self, metric: Metric, /, **labels: str) -> None:
        """Show a counter or gauge that has not moved yet as zero, for every value its last label is known to take."""
        last = metric.labels[-1] if metric.labels else ""
        known: list[dict[str, str]] = (
            [{last: value} for value in metric.known] if last not in labels else [{}]
        )
        for more in known:
            self._child(metric, labels | more).inc(0)

    def forget(self, metric: Metric, /, **labels: str) -> None:
        """Show nothing any more of the series with these labels, whatever their other labels are."""
        self._instruments[metric.name].remove_by_labels(labels)

    def before_exposition(self, action: Callable[[], None]) -> None:
        """Call `action` whenever the metrics are read, to set what depends on the moment."""
        self._before.append(action)

    def forget_model(self, model: str) -> None:
        """Show nothing any more of a model."""
        for metric in CATALOGUE:
            if "model" in metric.labels:
                self.forget(metric, model=model)

    def exposition(self) -> bytes:
        """Return every metric in Prometheus' text format."""
        from prometheus_client import generate_latest

        for action in self._before:
            action()
        return generate_latest(_Timeless(self._registry))

    def _child(self, metric: Metric, labels: dict[str, str]) -> Any:
        instrument = self._instruments[metric.name]
        return instrument.labels(**labels) if metric.labels else instrument


class _Timeless:
    """A registry without the ``_created`` series, which nothing here reads and which double what a counter takes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Family]:
        for family in self._registry.collect():
            family.samples = [one for one in family.samples if not one.name.endswith("_created")]
            yield family
