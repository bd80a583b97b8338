"""The state of a model is the cause of its worst incident, and whatever tells of an alarm says who raised it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.streams import (
    BEGIN,
    MODEL,
    detect,
    envelopes,
    give_reference,
    make_runtime,
    read,
    rows,
    sample,
    send,
)

from davy.codec import dump, dump_any, load, load_any
from davy.config import DetectSettings
from davy.event import ALERTS, Alert
from davy.meter import Meter
from davy.store import Batch
from davy_detectors.incidents.incident import INCIDENTS, Incident, worst_cause
from davy_detectors.models.known import known_models, urgency
from davy_detectors.stream.model_metrics import ModelMetrics

pytestmark = pytest.mark.fast
SETTINGS = DetectSettings(false_alarm_every=1e5)


def _incident(cause: str, size: float, state: str = "open") -> Incident:
    return Incident(
        id=cause, model=MODEL, cause=cause, state=state, reference="r", onset_at=BEGIN, onset_event=0,
        raised_at=BEGIN, raised_event=1, last_event=1, patience=1, features=[], statistic=1.0, threshold=1.0, size=size,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("incidents", "expected"),
    [
        ([_incident("drift", 0.2)], "drifting"),
        ([_incident("drift", 0.2), _incident("late", 0.5)], "late"),
        ([_incident("drift", 0.2), _incident("late", 0.5, "resolved")], "drifting"),
        ([_incident("healthy", 0.1)], "failing: healthy"),
    ],
)
def test_the_state_is_the_cause_of_the_worst_open_incident(
    incidents: list[Incident], expected: str, tmp_path: Path
) -> None:
    runtime = make_runtime("memory", tmp_path, SETTINGS)
    for one in incidents:
        runtime.store.apply(Batch().put(INCIDENTS, one.id, dump(one)))
    (model,) = known_models(runtime.store, SETTINGS, BEGIN)
    assert (model.state, urgency(model.state)) == (expected, 0)


def test_what_affects_most_is_worst_and_then_what_is_surest() -> None:
    assert worst_cause([]) is None
    assert worst_cause([("a", 0.1, 9.0, 1.0), ("b", 0.2, 1.0, 1.0)]) == "b"
    assert worst_cause([("a", 0.1, 9.0, 1.0), ("b", 0.1, 20.0, 10.0)]) == "a"
    assert worst_cause([("a", 0.1, 9.0, 0.0)]) == "a"


def test_a_model_that_changes_its_state_is_in_one_state_only() -> None:
    meter = Meter()
    shown = ModelMetrics(meter, MODEL)
    for state in ("healthy", "late", "drifting", "healthy"):
        shown.state(state)
        found = [
            line for line in meter.exposition().decode().splitlines() if line.startswith("davy_model_state{")
        ]
        assert [line for line in found if line.endswith(" 1.0")] == [
            f'davy_model_state{{model="{MODEL}",state="{state}"}} 1.0'
        ]


def test_an_incident_and_its_alerts_say_who_raised_them_and_older_ones_are_read(tmp_path: Path) -> None:
    runtime = make_runtime("memory", tmp_path, SETTINGS)
    give_reference(runtime)
    send(runtime, list(envelopes(rows(4_000, 7, shifted=np.arange(4_000) >= 2_000), [200])))
    detect(runtime)
    (stored,) = (data for _, data in runtime.store.items(INCIDENTS))
    incident = load(Incident, stored)
    assert (incident.monitor, incident.cause) == ("e-detector", "drift")
    alerts = [load(Alert, one) for one in read(runtime, ALERTS)]
    assert {(one.monitor, one.cause) for one in alerts} == {("e-detector", "drift")}
    assert sample(runtime, "davy_model_state", model=MODEL, state="drifting") == 1
    older = load_any(stored)
    del older["monitor"]
    assert load(Incident, dump_any(older)) == replace(incident, monitor="")
