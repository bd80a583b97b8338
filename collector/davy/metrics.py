"""The catalogue of every metric Davy exports: name, kind, labels, help. Dashboards, rules and docs are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as Prometheus sees it; counters end in ``_total``, units stand in the name.

    `known` is the values its last label is known to take: they are shown as zero from the first sight of a model, so
    that the first event is a step that ``rate`` and ``increase`` see.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    known: tuple[str, ...] = ()


DROP_REASONS: Final = (
    "before_capture", "bytes_full", "encode_error", "queue_full", "refused", "scrub_error", "send_error", "shutdown",
    "spool_expired", "spool_torn", "thinned", "too_large",
)  # fmt: skip
"""Why the SDK counts an inference of a model instead of sending it."""
INCOMPLETE_REASONS: Final = (
    "batch_as_row", "inputs_failed", "no_inputs", "no_rows", "payload_failed", "payload_refused", "shadow_dropped",
    "shadow_failed", "stream_cut", "stream_dropped",
)  # fmt: skip
"""Why a call is recorded in part; `davy.fields.losses` says what to do about each."""

INFERENCES = Metric(
    "davy_inferences_total", "counter", "Inferences read from the log and counted.", ("model",)
)
REPEATED = Metric(
    "davy_repeated_inferences_total", "counter", "Inferences that arrived a second time and were counted once.",
    ("model",),
)  # fmt: skip
DROPPED = Metric(
    "davy_dropped_total", "counter", "Inferences the SDK could not send, or thinned out, by reason.",
    ("model", "reason"), known=DROP_REASONS,
)  # fmt: skip
LEFT_OUT = Metric(
    "davy_fields_left_out_total", "counter",
    "Values that could not travel, by field and reason; their inferences arrived without them.",
    ("model", "field", "reason"),
)  # fmt: skip
INCOMPLETE = Metric(
    "davy_incomplete_total", "counter",
    "Calls recorded without a part, or not understood, by reason; they are not among the dropped.",
    ("model", "reason"), known=INCOMPLETE_REASONS,
)  # fmt: skip
LATE = Metric(
    "davy_late_inferences_total", "counter",
    "Inferences that came after their window was tested; it was tested again.", ("model",),
)  # fmt: skip
RESTATED = Metric(
    "davy_restated_windows_total", "counter", "Windows tested again because inferences came late.", ("model",)
)
LAST_INFERENCE = Metric(
    "davy_last_inference_timestamp_seconds", "gauge", "Event time of the newest inference read.", ("model",)
)
TESTED_UNTIL = Metric(
    "davy_tested_timestamp_seconds", "gauge", "Event time up to which inferences were tested.", ("model",)
)
BLIND = Metric("davy_blind", "gauge", "1 while a known model sends nothing: blind, not healthy.", ("model",))
MODEL_STATE = Metric(
    "davy_model_state", "gauge",
    "1 for the state a model is in, 0 for the others: drifting, blind, unwatched (it has no reference) or healthy.",
    ("model", "state"),
)  # fmt: skip
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
INCIDENT_OPEN = Metric(
    "davy_incident_open", "gauge", "1 while an incident is open.", ("model", "cause"), known=("drift",)
)
INCIDENTS = Metric(
    "davy_incidents_total", "counter", "Incidents opened.", ("model", "cause"), known=("drift",)
)
SCORE = Metric(
    "davy_score", "histogram", "Per-sample scores as upper-tail ranks in the reference (0 is most extreme).",
    ("model", "score"), (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0),
)  # fmt: skip
FLAGS = Metric(
    "davy_flags_total",
    "counter",
    "Samples flagged for the miner, by reason.",
    ("model", "reason"),
    known=("control", "incident"),
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
    "Time for which the oldest record that a role has yet to read has waited, 0 when all are read.",
    ("role",),
)
UNREAD_SECONDS = Metric(
    "davy_unread_seconds",
    "gauge",
    "Time for which no process has read on in a partition that holds unread inferences.",
    ("partition",),
)
ROLE_SILENT = Metric(
    "davy_role_silent_seconds", "gauge",
    "Time since a role last did what there was to do, without a failure.", ("role",),
)  # fmt: skip
CHECK_FAILING = Metric(
    "davy_check_failing", "gauge", "1 while a check of /readyz finds something wrong.", ("check",)
)
BUILD_INFO = Metric(
    "davy_build_info", "gauge", "1, with the versions of Davy and Python.", ("version", "python")
)
RECORDS = Metric("davy_records_total", "counter", "Log records a role handled.", ("role",))
BATCH_SECONDS = Metric(
    "davy_batch_seconds", "histogram", "Time one role took for one transaction of log records.", ("role",),
    (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
)  # fmt: skip
ROLE_ERRORS = Metric(
    "davy_role_errors_total", "counter", "Failures a role recovered from, by kind.", ("role", "error")
)
PLUGIN_FAILURES = Metric(
    "davy_plugin_failures_total",
    "counter",
    "Calls of a plug-in (monitor, scorer, arm, form, exporter) that raised, and were left out.",
    ("kind", "plugin"),
)
PLUGIN_SUSPENDED = Metric(
    "davy_plugin_suspended",
    "gauge",
    "1 for a plug-in that is left out for the model until it is upgraded, because it failed again and again.",
    ("model", "kind", "plugin"),
)
LOG_REPLACED = Metric(
    "davy_log_replaced_total", "counter",
    "Partitions a role began anew, because another log took the place of the one it had read.", ("role",),
)  # fmt: skip
CLOCK_SET_BACK = Metric(
    "davy_clock_set_back_total", "counter",
    "Times at which the clock by which inferences were appended turned out to have been ahead.", ("role",),
)  # fmt: skip
CANDIDATES = Metric("davy_candidates", "gauge", "Candidates by state.", ("model", "state"))
DUPLICATES = Metric(
    "davy_duplicates_total",
    "counter",
    "Samples set aside as duplicates of a candidate.",
    ("model", "kind"),
    known=("exact", "near"),
)
UNLABELLABLE = Metric(
    "davy_unlabellable_total",
    "counter",
    "Candidates nobody can be asked about, by cause: nothing to see, no answer, damaged, refused or error.",
    ("model", "cause"),
    known=("nothing to see", "no answer", "damaged", "refused", "error"),
)
TASKS = Metric("davy_label_tasks_total", "counter", "Tasks confirmed in the labelling tool.", ("model",))
LABELS = Metric(
    "davy_labels_total", "counter", "Labels read back, by verdict.", ("model", "verdict"),
    known=("failure", "correct", "unknown", "skipped", "deleted"),
)  # fmt: skip
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
UNNAMED = Metric(
    "davy_gateway_refused_inferences_total", "counter",
    "Inferences the gateway refused for want of room for new names, by bound: key, all or fields.", ("bound",),
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
