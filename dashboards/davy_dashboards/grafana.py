"""The Grafana dashboard "Davy", made from the catalogue of metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from davy import metrics
from davy.metrics import CATALOGUE, Metric
from davy_dashboards import _panels as panels
from davy_dashboards._panels import BLUE, GREEN, RED, YELLOW
from davy_dashboards._promql import in_range, latest, mentions, per_second, quantile, select, share_below

UID: Final = "davy"
_COLOURS: Final[Mapping[str, str]] = {"healthy": GREEN, "unwatched": BLUE, "blind": YELLOW}
_SHOWN: Final = {**_COLOURS, "failing": RED}
_STATES: Final = {str(number): (state, colour) for number, (state, colour) in enumerate(_SHOWN.items())}
_OPEN: Final = {"0": ("closed", GREEN), "1": ("open", RED)}
_QUIET: Final = ((None, GREEN), (1.0, RED))


def dashboard_json(catalogue: Sequence[Metric] = CATALOGUE) -> str:
    """Return the dashboard as Grafana imports it: the same text for the same catalogue, byte for byte.

    Metrics that no panel names yet get a plain panel in a last row, so nothing exported stays unseen.
    """
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    built = _dashboard(catalogue).build()
    for number, panel in enumerate(built.panels, start=1):
        panel.id_val = number
    return json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _dashboard(catalogue: Sequence[Metric]) -> Any:
    from grafana_foundation_sdk.builders import dashboard
    from grafana_foundation_sdk.models import dashboard as models

    board = dashboard.Dashboard("Davy").uid(UID).tags(["davy"]).timezone("browser").readonly()
    board = board.description("Is a model failing, since when, by what, and what is done about it.")
    board = board.refresh("10s").time("now-6h", "now").tooltip(models.DashboardCursorSync.CROSSHAIR)
    board = board.with_variable(
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    )
    board = board.with_variable(_model_variable()).annotation(_incident_marks())
    named = ""
    for title, content in _rows():
        board = board.with_row(dashboard.Row(title))
        for panel in content:
            board = board.with_panel(panel)
            named += "".join(f"{target.expr} " for target in panel.build().targets)
    unnamed = [metric for metric in catalogue if not mentions(named, metric)]
    if unnamed:
        board = board.with_row(dashboard.Row("More"))
    for metric in unnamed:
        board = board.with_panel(_plain(metric))
    return board


def _rows() -> Iterator[tuple[str, Sequence[Any]]]:
    yield "Models", _models()
    yield "Traffic", _traffic()
    yield "Drift", _drift()
    yield "Incidents", _incidents()
    yield "Queue", _queue()
    yield "Health", _health()


def _models() -> list[Any]:
    known = [
        f"{number} * {select(metrics.MODEL_STATE, state=state)}" for number, state in enumerate(_COLOURS)
    ]
    incident = select(metrics.MODEL_STATE, excluded={"state": "|".join(_COLOURS)})
    state = " or ".join([*known, f"{len(_COLOURS)} * {incident}"])
    age = f"time() - {latest(metrics.LAST_INFERENCE)}"
    return [
        panels.numbers(
            "State", "Failing: the cause is in Incidents. Unwatched: it has no reference. Blind: nothing arrives."
            " Nobody can say whether such a model is healthy.", (f"max by (model) ({state})", "{{model}}"),
            width=12, names=_STATES, none="no model has sent anything yet",
        ),
        panels.numbers(
            "Last inference", "Age of the newest inference, by its own time.", (age, "{{model}}"), unit="s"
        ),
        panels.numbers(
            "Reference", "Inferences the active reference was fitted on; a model without one is not watched.",
            (latest(metrics.REFERENCE_SIZE), "{{model}}"), none="no reference",
            steps=((None, RED), (100, YELLOW), (1000, BLUE)),
        ),
    ]  # fmt: skip


def _traffic() -> list[Any]:
    return [
        panels.lines("Inferences a second", "Read from the log, by model.",
                     (per_second(metrics.INFERENCES), "{{model}}"), unit="ops", width=8),
        panels.lines("Dropped a second", "Not sent by the SDK, by reason: sent = stored + counted.",
                     (per_second(metrics.DROPPED), "{{model}} {{reason}}"), unit="ops", width=8),
        panels.lines("Repeated a second", "Arrived a second time, after a retry, and counted once.",
                     (per_second(metrics.REPEATED), "{{model}}"), unit="ops", width=8),
    ]  # fmt: skip


def _drift() -> list[Any]:
    top = f"topk(10, {latest(metrics.FEATURE_EVIDENCE)})"
    return [
        panels.lines("Evidence for drift", "All features together over the alarm threshold; 1 raises the alarm.",
                     (latest(metrics.DRIFT_EVIDENCE), "{{model}}"), threshold=1.0),
        panels.bars("Features with most evidence", "One feature alone over the alarm threshold, ten largest.",
                    (top, "{{model}} {{feature}}"), steps=((None, BLUE), (0.5, YELLOW), (1, RED))),
        panels.lines("Extreme samples", "Share of samples whose score is among the most extreme 1 % of the"
                     " reference: 1 % when nothing has changed.",
                     (share_below(metrics.SCORE, 0.01), "{{model}} {{score}}"), unit="percentunit"),
        panels.lines("Samples flagged a second", "Handed to the miner, by reason.",
                     (per_second(metrics.FLAGS), "{{model}} {{reason}}"), unit="ops"),
    ]  # fmt: skip


def _incidents() -> list[Any]:
    is_open = latest(metrics.INCIDENT_OPEN)
    return [
        panels.numbers("Open now", "Incidents that are open.", (f"sum({is_open}) or vector(0)", "open"),
                       steps=_QUIET),
        panels.numbers("Opened in the time shown", "By model.",
                       (in_range(metrics.INCIDENTS, by=("model",)), "{{model}}"), none="none"),
        panels.rows("Open incidents", "`davy incidents` lists them with onset, features and samples.",
                    f"{is_open} == 1", columns=("model", "cause")),
        panels.states("Timeline", "From onset of the alarm to its resolution.", (is_open, "{{model}} {{cause}}"),
                      names=_OPEN),
    ]  # fmt: skip


def _queue() -> list[Any]:
    return [
        panels.lines("Candidates by state", "Samples on their way to a person.",
                     (latest(metrics.CANDIDATES), "{{model}} {{state}}")),
        panels.bars("Labels by verdict", "Read back in the time shown.",
                    (in_range(metrics.LABELS), "{{model}} {{verdict}}")),
        panels.lines("Tasks confirmed a second", "Candidates that Label Studio holds.",
                     (per_second(metrics.TASKS), "{{model}}"), unit="ops", width=6),
        panels.bars("Cannot be asked", "Chosen in the time shown, but nobody can be asked about them, by cause.",
                    (in_range(metrics.UNLABELLABLE), "{{model}} {{cause}}"), width=6),
        panels.lines("Duplicates a second", "Set aside so that nobody labels the same thing twice, by kind.",
                     (per_second(metrics.DUPLICATES), "{{model}} {{kind}}"), unit="ops", width=6),
        panels.numbers("Dataset versions", "Built so far.", (latest(metrics.DATASETS), "{{model}}"), width=6,
                       none="none yet"),
    ]  # fmt: skip


def _health() -> list[Any]:
    return [
        panels.lines("Lag", "Log records a role has yet to read.", (latest(metrics.LAG), "{{role}}"), width=8),
        panels.lines("Testing behind", "Between the newest inference and the event time up to which all were tested.",
                     (f"{latest(metrics.LAST_INFERENCE)} - {latest(metrics.TESTED_UNTIL)}", "{{model}}"),
                     unit="s", width=8),
        panels.lines("Partitions nobody reads", "How long nobody has read on where inferences wait, by partition.",
                     (latest(metrics.UNREAD_SECONDS), "{{partition}}"), unit="s", width=8),
        panels.lines("Roles that do nothing", "Time since a role last did what there was to do, without a failure.",
                     (latest(metrics.ROLE_SILENT), "{{role}}"), unit="s", width=8),
        panels.lines("Waiting", "How long the oldest record that a role has yet to read has waited.",
                     (latest(metrics.LAG_SECONDS), "{{role}}"), unit="s", width=8),
        panels.lines("Failing checks", "1 while a check of /readyz finds something wrong; `davy doctor` says what.",
                     (latest(metrics.CHECK_FAILING), "{{check}}"), width=8),
        panels.lines("Time of one transaction", "Median and 95th percentile, by role.",
                     (quantile(metrics.BATCH_SECONDS, 0.5), "{{role}} median"),
                     (quantile(metrics.BATCH_SECONDS, 0.95), "{{role}} 95 %"), unit="s", width=8),
        panels.lines("Role errors a second", "Failures a role recovered from, by kind.",
                     (per_second(metrics.ROLE_ERRORS), "{{role}} {{error}}"), unit="ops", width=8),
        panels.bars("Dead letters", "Records set aside in the time shown; `davy dlq list` groups them.",
                    (in_range(metrics.DEAD_LETTERS), "{{topic}} {{error}}"), width=8,
                    steps=((None, RED),)),
        panels.lines("Gateway requests a second", "By route and status.",
                     (per_second(metrics.REQUESTS), "{{route}} {{status}}"), unit="ops", width=8),
        panels.lines("Gateway inferences a second", "Written to the log over HTTP, by model.",
                     (per_second(metrics.RECEIVED), "{{model}}"), unit="ops", width=8),
        panels.lines("Archived rows a second", "Written as Parquet, and left out for an id that came twice, by topic.",
                     (per_second(metrics.ARCHIVED), "{{topic}}"),
                     (per_second(metrics.REPEATED_IN_ARCHIVE), "{{topic}} repeated"), unit="ops", width=8),
    ]  # fmt: skip


def _plain(metric: Metric) -> Any:
    legend = " ".join(f"{{{{{label}}}}}" for label in metric.labels)
    match metric.kind:
        case "counter":
            expression = per_second(metric)
        case "gauge":
            expression = latest(metric)
        case "histogram":
            expression = quantile(metric, 0.95)
    return panels.lines(metric.name, metric.help, (expression, legend), width=8)


def _model_variable() -> Any:
    from grafana_foundation_sdk.builders import dashboard
    from grafana_foundation_sdk.models import dashboard as models

    every = models.VariableOption(selected=True, text=["All"], value=["$__all"])
    variable = dashboard.QueryVariable("model").label("Model").datasource(panels.DATASOURCE)
    variable = variable.query(f"label_values({metrics.INFERENCES.name}, model)").multi(True)
    variable = variable.include_all(True).all_value(".*").current(every)
    variable = variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return variable.sort(models.VariableSort.ALPHABETICAL_ASC)


def _incident_marks() -> Any:
    from grafana_foundation_sdk.builders import dashboard

    marks = dashboard.AnnotationQuery().name("Incidents").datasource(panels.DATASOURCE).enable(True)
    return marks.icon_color(RED).expr(f"{latest(metrics.INCIDENT_OPEN)} == 1")
