"""Detection over partitions and processes: the answer depends on the inferences and on nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from partitions import Cluster, traffic
from streams import MODEL, give_reference, rows

from davy.codec import load, load_any
from davy.config import DetectSettings
from davy.runtime import Runtime
from davy_detectors.alerts import Incident

pytestmark = pytest.mark.fast

COUNT, ONSET, END = 9_000, 6_000, 8_000
SETTINGS = DetectSettings(false_alarm_every=100_000, quiet_events=500)
SHIFTED = (
    (np.random.default_rng(3).random(COUNT) < 0.15) & (np.arange(COUNT) >= ONSET) & (np.arange(COUNT) < END)
)
SENT = traffic(rows(COUNT, 7, shifted=SHIFTED), hosts=16)


def answer(runtime: Runtime) -> dict[str, Any]:
    """Give what must not depend on partitions, processes and the order of their work."""
    store = runtime.store
    state = load_any(store.get("detect", MODEL) or b"")
    incidents = [load(Incident, data) for _, data in store.items("incidents")]
    return {
        "incidents": sorted(incidents, key=lambda incident: incident.raised_event),
        "epochs": [load_any(data)[:4] for _, data in store.items(f"epochs/{MODEL}")],
        "counts": [load_any(data)[4]["e-detector"].tolist() for _, data in store.items(f"epochs/{MODEL}")],
        "state": {
            key: state[key] for key in ("events", "tested", "ratio", "alarmed", "calm_since", "incidents")
        },
        "numbers": {key: value.tolist() for key, value in state["trail"].items()},
    }


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Any]:
    cluster = Cluster(1, SETTINGS)
    give_reference(cluster.runtime)
    process = cluster.start()
    for at, key, value in SENT:
        cluster.send(at, key, value)
        cluster.run(process)
    cluster.finish()
    found = answer(cluster.runtime)
    (incident,) = found["incidents"]
    assert abs(incident.onset_event - ONSET) <= 200
    assert ONSET < incident.raised_event < ONSET + 600
    assert SHIFTED[[int.from_bytes(name, "big") for name in incident.samples]].mean() > 0.8
    assert found["state"]["events"] == COUNT
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("partitions", [1, 4, 16])
def test_any_partitions_processes_kills_and_repetitions_give_the_same_answer(
    partitions: int, seed: int, undisturbed: dict[str, Any]
) -> None:
    rng = np.random.default_rng([seed, partitions])
    cluster = Cluster(partitions, SETTINGS)
    give_reference(cluster.runtime)
    for _ in range(1 + seed % 3):
        cluster.start(steps=int(rng.integers(50, 2_000)))
    for at, key, value in SENT:
        cluster.send(at, key, value)
        if rng.random() < 0.05:
            cluster.send(at, key, value)  # the sender heard no answer
        while rng.random() < 0.4:
            cluster.run(cluster.processes[rng.integers(len(cluster.processes))])
    cluster.finish()
    assert answer(cluster.runtime) == undisturbed
