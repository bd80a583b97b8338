"""From metrics of the catalogue to PromQL, so that no expression can name a metric that does not exist."""

from __future__ import annotations

import re
from collections.abc import Mapping

from davy.metrics import Metric


def select(
    metric: Metric,
    *,
    suffix: str = "",
    filtered: bool = True,
    excluded: Mapping[str, str] | None = None,
    **match: str,
) -> str:
    """Name the series of a metric, narrowed to the dashboard's ``$model`` where the metric has models.

    Examples
    --------
    >>> from davy import metrics
    >>> select(metrics.BLIND)
    'davy_blind{model=~"$model"}'
    >>> select(metrics.LAG, role="mine")
    'davy_lag_records{role="mine"}'
    >>> select(metrics.LAG, excluded={"role": "mine|detect"})
    'davy_lag_records{role!~"mine|detect"}'
    """
    matchers = ['model=~"$model"'] if filtered and "model" in metric.labels else []
    matchers += [f'{label}="{value}"' for label, value in match.items()]
    matchers += [f'{label}!~"{values}"' for label, values in (excluded or {}).items()]
    return f"{metric.name}{suffix}{{{','.join(matchers)}}}" if matchers else f"{metric.name}{suffix}"


def latest(metric: Metric, *, by: tuple[str, ...] | None = None) -> str:
    """Return a gauge, the largest over the processes that export it.

    Examples
    --------
    >>> from davy import metrics
    >>> latest(metrics.LAG)
    'max by (role) (davy_lag_records)'
    """
    return f"max by ({_labels(metric, by)}) ({select(metric)})"


def per_second(metric: Metric, *, by: tuple[str, ...] | None = None) -> str:
    """Return the rate of a counter, summed over the processes that export it.

    Examples
    --------
    >>> from davy import metrics
    >>> per_second(metrics.INFERENCES)
    'sum by (model) (rate(davy_inferences_total{model=~"$model"}[$__rate_interval]))'
    """
    return f"sum by ({_labels(metric, by)}) (rate({select(metric)}[$__rate_interval]))"


def in_range(metric: Metric, *, by: tuple[str, ...] | None = None) -> str:
    """Return how much a counter grew in the time shown."""
    return f"sum by ({_labels(metric, by)}) (increase({select(metric)}[$__range]))"


def quantile(metric: Metric, level: float, *, by: tuple[str, ...] | None = None) -> str:
    """Return a quantile of a histogram over the last few scrapes."""
    buckets = f"rate({select(metric, suffix='_bucket')}[$__rate_interval])"
    return f"histogram_quantile({level:g}, sum by (le, {_labels(metric, by)}) ({buckets}))"


def share_below(metric: Metric, bound: float, *, by: tuple[str, ...] | None = None) -> str:
    """Return the share of a histogram's observations that are at most `bound`, which must be one of its buckets."""
    if bound not in metric.buckets:
        raise ValueError(f"{metric.name} has no bucket {bound:g}")
    labels = _labels(metric, by)
    below = select(metric, suffix="_bucket", le=str(float(bound)))
    all_of = select(metric, suffix="_count")
    return (
        f"sum by ({labels}) (rate({below}[$__rate_interval]))"
        f" / sum by ({labels}) (rate({all_of}[$__rate_interval]))"
    )


def grew(metric: Metric, window: str, *, by: tuple[str, ...], more_than: float = 0) -> str:
    """Select the series of a counter that grew by more than `more_than` within `window`.

    A labelled counter appears with its first event. ``increase`` needs two samples and would miss that event,
    so a series that was not there one window ago counts with all it has.
    """
    labels, name = ", ".join(by), metric.name
    return (
        f"sum by ({labels}) (increase({name}[{window}])) > {more_than:g}"
        f" or sum by ({labels}) ({name} unless {name} offset {window}) > {more_than:g}"
    )


def mentions(expression: str, metric: Metric) -> bool:
    """Whether an expression reads `metric`.

    Examples
    --------
    >>> from davy import metrics
    >>> mentions("rate(davy_gateway_inferences_total[5m])", metrics.INFERENCES)
    False
    """
    suffix = "_(bucket|count|sum)" if metric.kind == "histogram" else ""
    return re.search(rf"\b{metric.name}{suffix}\b", expression) is not None


def _labels(metric: Metric, by: tuple[str, ...] | None) -> str:
    return ", ".join(metric.labels if by is None else by)
