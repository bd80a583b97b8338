"""The catalogue of every metric Davy exports: name, kind, labels, help. Dashboards, rules and docs are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as Prometheus sees it; counters end in ``_total``, units stand in the name."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


INFERENCES = Metric(
    "davy_inferences_total", "counter", "Inferences read from the log and counted.", ("model",)
)
REPEATED = Metric(
    "davy_repeated_inferences_total", "counter", "Inferences that arrived a second time and were counted once.",
    ("model",),
)  # fmt: skip
DROPPED = Metric(
    "davy_dropped_total", "counter", "Inferences the SDK could not send, or thinned out, by reason.",
    ("model", "reason"),
)  # fmt: skip
LATE = Metric(
    "davy_late_inferences_total", "counter",
    "Inferences that came after their epoch was tested; it was tested again.", ("model",),
)  # fmt: skip
RESTATED = Metric(
    "davy_restated_epochs_total", "counter", "Epochs tested again because inferences came late.", ("model",)
)
LAST_INFERENCE = Metric(
    "davy_last_inference_timestamp_seconds", "gauge", "Event time of the newest inference read.", ("model",)
)
BLIND = Metric("davy_blind", "gauge", "1 while a known model sends nothing: blind, not healthy.", ("model",))
REFERENCE_SIZE = Metric(
    "davy_reference_inferences", "gauge", "Inferences the active reference was fitted on.", ("model",)
)
DRIFT_EVIDENCE = Metric(
    "davy_drift_evidence_ratio", "gauge",
    "Evidence for drift over the alarm threshold, all features together; 1 raises the alarm.", ("model",),
)  # fmt: skip
FEATURE_EVIDENCE = Metric(
    "davy_drift_feature_evidence_ratio", "gauge",
    "Evidence for drift of one feature over the alarm threshold.", ("model", "feature"),
)  # fmt: skip
INCIDENT_OPEN = Metric("davy_incident_open", "gauge", "1 while an incident is open.", ("model", "cause"))
INCIDENTS = Metric("davy_incidents_total", "counter", "Incidents opened.", ("model", "cause"))
SCORE = Metric(
    "davy_score", "histogram", "Per-sample scores as upper-tail ranks in the reference (0 is most extreme).",
    ("model", "score"), (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0),
)  # fmt: skip
FLAGS = Metric(
    "davy_flags_total", "counter", "Samples flagged for the miner, by reason.", ("model", "reason")
)
DEAD_LETTERS = Metric(
    "davy_dead_letters_total",
    "counter",
    "Records set aside unread, and messages the log refused.",
    ("topic", "error"),
)
LAG = Metric("davy_lag_records", "gauge", "Log records a role has yet to read.", ("role",))
LAG_SECONDS = Metric(
    "davy_lag_seconds",
    "gauge",
    "Time since the append of the last record read, 0 when all are read.",
    ("role",),
)
UNREAD_SECONDS = Metric(
    "davy_unread_seconds",
    "gauge",
    "Time for which no process has read on in a partition that holds unread inferences.",
    ("partition",),
)
RECORDS = Metric("davy_records_total", "counter", "Log records a role handled.", ("role",))
BATCH_SECONDS = Metric(
    "davy_batch_seconds", "histogram", "Time one role took for one transaction of log records.", ("role",),
    (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
)  # fmt: skip
ROLE_ERRORS = Metric(
    "davy_role_errors_total", "counter", "Failures a role recovered from, by kind.", ("role", "error")
)
CANDIDATES = Metric("davy_candidates", "gauge", "Candidates by state.", ("model", "state"))
DUPLICATES = Metric(
    "davy_duplicates_total", "counter", "Samples set aside as duplicates of a candidate.", ("model", "kind")
)
TASKS = Metric("davy_label_tasks_total", "counter", "Tasks confirmed in the labelling tool.", ("model",))
LABELS = Metric("davy_labels_total", "counter", "Labels read back, by verdict.", ("model", "verdict"))
DATASETS = Metric("davy_dataset_versions", "gauge", "Dataset versions built.", ("model",))
ORPHANS = Metric(
    "davy_orphaned_payloads_total", "counter", "Payloads deleted because nothing referred to them any more."
)
REQUESTS = Metric(
    "davy_gateway_requests_total", "counter", "Requests the gateway answered.", ("route", "status")
)
RECEIVED = Metric(
    "davy_gateway_inferences_total", "counter", "Inferences the gateway wrote to the log.", ("model",)
)
REPEATED_AT_GATEWAY = Metric(
    "davy_gateway_repeated_inferences_total", "counter",
    "Inferences sent to the gateway again within its memory of ids: acknowledged, not written twice.", ("model",),
)  # fmt: skip
UNJOINED = Metric(
    "davy_gateway_unjoined_total", "counter",
    "Logged requests and responses written without their other half.", ("half",),
)  # fmt: skip
ARCHIVED = Metric("davy_archived_total", "counter", "Rows written to the archive.", ("topic",))
REPEATED_IN_ARCHIVE = Metric(
    "davy_archive_repeated_total", "counter",
    "Rows left out of a file of the archive because the file has their id already.", ("topic",),
)  # fmt: skip

CATALOGUE: Final[tuple[Metric, ...]] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
