"""The Prometheus alert rules, made from the catalogue of metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from davy import metrics
from davy_dashboards._promql import grew

JOB: Final = "davy"
_RUNBOOK: Final = "docs/metrics.md"


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert: when it fires, how loud, what it says and what to run.

    `severity` is ``page`` for what must wake somebody and ``ticket`` for what can wait for the morning.
    """

    name: str
    expression: str
    severity: Literal["page", "ticket"]
    summary: str
    description: str
    run: str
    patience: str = "0s"

    def as_prometheus(self) -> dict[str, Any]:
        """Return the rule as Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": self.patience,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "run": self.run,
                "runbook_url": f"{_RUNBOOK}#{self.name.lower()}",
            },
        }


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        name="DavyIncidentOpen",
        expression=f"max by (model, cause) ({metrics.INCIDENT_OPEN.name}) == 1",
        severity="page",
        summary="{{ $labels.model }} is failing: {{ $labels.cause }}",
        description="The inputs or outputs of {{ $labels.model }} are no longer like its reference."
        " The incident says since when, which features moved and by how much, and holds the samples to look at.",
        run="davy incidents",
    ),
    Rule(
        name="DavyModelBlind",
        expression=f"max by (model) ({metrics.BLIND.name}) == 1",
        severity="ticket",
        summary="{{ $labels.model }} sends nothing",
        description="No inference of {{ $labels.model }} has arrived for longer than detect.blind_seconds:"
        " it may be failing unseen.",
        run="davy doctor",
    ),
    Rule(
        name="DavyModelUnwatched",
        expression=f'max by (model) ({metrics.MODEL_STATE.name}{{state="unwatched"}}) == 1',
        severity="ticket",
        patience="1h",
        summary="Nobody watches {{ $labels.model }}",
        description="{{ $labels.model }} sends inferences and has no reference to be compared with: whatever happens"
        " to it, no alarm is raised.",
        run="davy reference fit --model NAME:VERSION --from-log",
    ),
    Rule(
        name="DavyPluginSuspended",
        expression=f"max by (model, kind, plugin) ({metrics.PLUGIN_SUSPENDED.name}) == 1",
        severity="ticket",
        summary="{{ $labels.model }} goes without {{ $labels.kind }} {{ $labels.plugin }}",
        description="The {{ $labels.kind }} {{ $labels.plugin }} failed again and again on inferences of"
        " {{ $labels.model }} and is left out. All else about the model goes on as before.",
        run="davy doctor",
    ),
    Rule(
        name="DavyInferencesDropped",
        expression=grew(metrics.DROPPED, "10m", by=("model", "reason")),
        severity="ticket",
        summary="{{ $labels.model }}: inferences are dropped ({{ $labels.reason }})",
        description="The SDK could not send {{ $value | humanize }} inferences of {{ $labels.model }}"
        " in the last ten minutes, reason {{ $labels.reason }}. The serving app is not affected.",
        run="davy doctor",
    ),
    Rule(
        name="DavyDeadLetters",
        expression=grew(metrics.DEAD_LETTERS, "10m", by=("topic", "error")),
        severity="ticket",
        summary="Records of {{ $labels.topic }} were set aside unread ({{ $labels.error }})",
        description="{{ $value | humanize }} records could not be read in the last ten minutes."
        " Their bytes are kept and can be replayed.",
        run="davy dlq list",
    ),
    Rule(
        name="DavyLagGrowing",
        expression=f"min_over_time({metrics.LAG.name}[10m]) > 1000 and deriv({metrics.LAG.name}[10m]) > 0",
        severity="ticket",
        patience="5m",
        summary="{{ $labels.role }} falls behind",
        description="{{ $labels.role }} has {{ $value | humanize }} log records to read, and more every minute.",
        run="davy doctor",
    ),
    Rule(
        name="DavyPartitionUnread",
        expression=f"max by (partition) ({metrics.UNREAD_SECONDS.name}) > 300",
        severity="page",
        summary="Nobody reads partition {{ $labels.partition }}",
        description="Partition {{ $labels.partition }} holds inferences, and no process has read on in it for"
        " {{ $value | humanizeDuration }}. No alarm can be raised past this time, whatever the model.",
        run="davy doctor",
    ),
    Rule(
        name="DavyRoleSilent",
        expression=f"max by (role) ({metrics.ROLE_SILENT.name}) > 60",
        severity="page",
        summary="{{ $labels.role }} gets nothing done",
        description="{{ $labels.role }} has done nothing of its work, nor found that there is none, for"
        " {{ $value | humanizeDuration }}: it hangs, or fails again and again.",
        run="davy doctor",
    ),
    Rule(
        name="DavyCheckFailing",
        expression=f"max by (check) ({metrics.CHECK_FAILING.name}) == 1",
        severity="page",
        patience="1m",
        summary="Davy cannot work: {{ $labels.check }}",
        description="The check {{ $labels.check }} of /readyz finds something wrong. `davy doctor` and /readyz say"
        " what, and what to do.",
        run="davy doctor",
    ),
    Rule(
        name="DavyRoleFailing",
        expression=grew(metrics.ROLE_ERRORS, "10m", by=("role", "error"), more_than=2),
        severity="ticket",
        summary="{{ $labels.role }} keeps failing: {{ $labels.error }}",
        description="{{ $labels.role }} failed {{ $value | humanize }} times in the last ten minutes and"
        " tried again; nothing is lost, but it may not get on.",
        run="davy doctor",
    ),
    Rule(
        name="DavyCandidatesUnlabellable",
        expression=grew(metrics.UNLABELLABLE, "1h", by=("model", "cause")),
        severity="ticket",
        summary="{{ $labels.model }}: samples nobody can be asked about ({{ $labels.cause }})",
        description="{{ $value | humanize }} samples of {{ $labels.model }} were chosen in the last hour and cannot"
        " become tasks. Their labels are spent on others; they stay, with the reason.",
        run="davy candidates --state unlabellable",
    ),
    Rule(
        name="DavyDown",
        expression=f'up{{job="{JOB}"}} == 0 or absent(up{{job="{JOB}"}})',
        severity="page",
        patience="1m",
        summary="Davy does not answer",
        description="Prometheus cannot read Davy's metrics: no model is watched. Serving apps go on; what their"
        " SDK cannot send is counted.",
        run="davy doctor",
    ),
)


def rules_yaml() -> str:
    """Return the rule file: the same text for the same catalogue, byte for byte."""
    import yaml

    groups = [{"name": "davy", "rules": [rule.as_prometheus() for rule in RULES]}]
    text = yaml.safe_dump({"groups": groups}, sort_keys=False, allow_unicode=True, width=110)
    return f"# Generated by `make generate`; change dashboards/davy_dashboards/rules.py instead.\n{text}"
