"""The kinds of panel the dashboard is made of: one function each, with the house's choices made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as queries

DATASOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"
Steps = Sequence[tuple[float | None, str]]
Query = tuple[str, str]
"""A PromQL expression and the legend of its series."""


def lines(
    title: str,
    about: str,
    *queries: Query,
    unit: str = "short",
    width: int = 12,
    threshold: float | None = None,
) -> Any:
    """Draw series over time; with `threshold` a red line across."""
    panel = _common(timeseries.Panel(), title, about, unit, width)
    panel = panel.line_width(2).fill_opacity(8).show_points(shapes.VisibilityMode.NEVER).axis_soft_min(0)
    panel = panel.legend(_legend()).tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI))
    if threshold is not None:
        style = common.GraphThresholdsStyleConfig().mode(shapes.GraphTresholdsStyleMode.LINE)
        panel = panel.thresholds(_steps([(None, GREEN), (threshold, RED)])).thresholds_style(style)
        panel = panel.axis_soft_max(threshold * 1.1)
    return _with_queries(panel, queries)


def numbers(
    title: str,
    about: str,
    *queries: Query,
    unit: str = "short",
    width: int = 6,
    steps: Steps = ((None, BLUE),),
    names: Mapping[str, tuple[str, str]] | None = None,
    none: str = "no data",
) -> Any:
    """Show the latest value of every series, large; `names` puts a word and a colour in the place of a value."""
    panel = _common(stat.Panel(), title, about, unit, width).thresholds(_steps(steps)).no_value(none)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel = panel.color_mode(shapes.BigValueColorMode.BACKGROUND if names else shapes.BigValueColorMode.VALUE)
    panel = panel.graph_mode(shapes.BigValueGraphMode.NONE).text_mode(shapes.BigValueTextMode.VALUE_AND_NAME)
    if names:
        panel = panel.mappings([_mapping(names)])
    return _with_queries(panel, queries, instant=True)


def bars(title: str, about: str, *queries: Query, width: int = 12, steps: Steps = ((None, BLUE),)) -> Any:
    """Show the latest value of every series as a bar, for comparing."""
    panel = _common(bargauge.Panel(), title, about, "short", width).thresholds(_steps(steps)).min(0)
    panel = panel.orientation(shapes.VizOrientation.HORIZONTAL).no_value("none")
    panel = panel.display_mode(shapes.BarGaugeDisplayMode.BASIC)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return _with_queries(panel, queries, instant=True)


def states(
    title: str, about: str, *queries: Query, names: Mapping[str, tuple[str, str]], width: int = 24
) -> Any:
    """Draw the state of every series over time as coloured stretches."""
    panel = _common(statetimeline.Panel(), title, about, "short", width).mappings([_mapping(names)])
    panel = panel.merge_values(True).show_value(shapes.VisibilityMode.NEVER).legend(_legend())
    return _with_queries(panel, queries)


def rows(title: str, about: str, expression: str, *, columns: Sequence[str], width: int = 12) -> Any:
    """List the labels of the series an expression selects now."""
    panel = _common(table.Panel(), title, about, "short", width).no_value("none")
    wanted = {name: position for position, name in enumerate(columns)}
    panel = panel.with_transformation(
        models.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True, "Value": True},
                "indexByName": wanted,
                "renameByName": {},
            },
        )
    )
    query = (
        prometheus.Dataquery().expr(expression).format(queries.PromQueryFormat.TABLE).instant().ref_id("A")
    )
    return panel.with_target(query.datasource(DATASOURCE))


def _common(panel: Any, title: str, about: str, unit: str, width: int) -> Any:
    return panel.title(title).description(about).datasource(DATASOURCE).unit(unit).span(width).height(7)


def _with_queries(panel: Any, expressions: Sequence[Query], *, instant: bool = False) -> Any:
    for letter, (expression, legend) in zip("ABCDEFGH", expressions, strict=False):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(letter)
        query = query.instant() if instant else query.range()
        panel = panel.with_target(query.datasource(DATASOURCE))
    return panel


def _legend() -> Any:
    options = common.VizLegendOptions().show_legend(True).placement(shapes.LegendPlacement.BOTTOM)
    return options.display_mode(shapes.LegendDisplayMode.LIST)


def _steps(steps: Steps) -> Any:
    thresholds = [models.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(thresholds)


def _mapping(names: Mapping[str, tuple[str, str]]) -> Any:
    results = {
        value: models.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(names.items())
    }
    return models.ValueMap(options=results)
