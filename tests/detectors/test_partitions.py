"""Detection over partitions and processes: the answer depends on the inferences and on nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.partitions import Cluster, Sent, answer, traffic
from support.streams import BEGIN, MODEL, SECOND, bury, give_reference, pass_time, rows, sample

from davy.codec import load_any
from davy.config import DetectSettings
from davy.event import INFERENCES
from davy.health.progress import Progress
from davy.runtime import Pulse
from davy_detectors.stream.role import DetectTarget

pytestmark = pytest.mark.fast

COUNT, ONSET, END = 9_000, 6_000, 8_000
SETTINGS = DetectSettings(false_alarm_every=100_000, quiet_events=500)
SHIFTED = (
    (np.random.default_rng(3).random(COUNT) < 0.15) & (np.arange(COUNT) >= ONSET) & (np.arange(COUNT) < END)
)
SENT = traffic(rows(COUNT, 7, shifted=SHIFTED), hosts=16)


def once(sent: Sequence[Sent], settings: DetectSettings = SETTINGS) -> dict[str, Any]:
    """Return the answer of one process that handles one partition in the order of time."""
    cluster = Cluster(1, settings)
    give_reference(cluster.runtime)
    process = cluster.start()
    for at, key, value in sent:
        cluster.send(at, key, value)
        cluster.run(process)
    cluster.finish()
    return answer(cluster.runtime.store)


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Any]:
    found = once(SENT)
    (incident,) = found["incidents"]
    assert abs(incident.onset_event - ONSET) <= 200
    assert ONSET < incident.raised_event < ONSET + 600
    assert SHIFTED[[int.from_bytes(name, "big") for name in incident.samples]].mean() > 0.8
    assert found["state"]["events"] == COUNT
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("partitions", [1, 4, 16])
def test_any_partitions_processes_kills_and_repetitions_give_the_same_answer(
    partitions: int, seed: int, undisturbed: dict[str, Any]
) -> None:
    rng = np.random.default_rng([seed, partitions])
    cluster = Cluster(partitions, SETTINGS)
    give_reference(cluster.runtime)
    for _ in range(1 + seed % 3):
        cluster.start(steps=int(rng.integers(20, 400)))
    for at, key, value in SENT:
        cluster.send(at, key, value)
        if rng.random() < 0.05:
            cluster.send(at, key, value)  # the sender heard no answer
        while rng.random() < 0.4:
            cluster.run(cluster.processes[rng.integers(len(cluster.processes))])
    cluster.finish()
    assert cluster.deaths > 0
    assert answer(cluster.runtime.store) == undisturbed


@pytest.mark.parametrize(("partitions", "restate_seconds"), [(1, 60.0), (4, 3.0), (16, 60.0)])
def test_inferences_that_come_late_give_the_answer_they_would_have_given_in_time(
    partitions: int, restate_seconds: float
) -> None:
    """A third of the early envelopes is held back beyond the lateness; with 3 s the snapshot moves on meanwhile."""
    settings = replace(SETTINGS, restate_seconds=restate_seconds)
    rng = np.random.default_rng(partitions)
    sent = [
        (at + int(rng.uniform(1.2, 2.5) * SECOND), key, value)
        if at < BEGIN + 3 * SECOND and rng.random() < 0.3
        else (at, key, value)
        for at, key, value in SENT
    ]
    cluster = Cluster(partitions, settings)
    give_reference(cluster.runtime)
    processes = [cluster.start() for _ in range(2)]
    for at, key, value in sorted(sent):
        cluster.send(at, key, value)
        for process in processes:
            cluster.run(process)
    cluster.finish()
    late = load_any(cluster.runtime.store.get("detect", MODEL) or b"")["late"]
    assert late > 200
    found, expected = answer(cluster.runtime.store), once(SENT, settings)
    shared = min(
        len(found["windows"]), len(expected["windows"])
    )  # when old ones are forgotten is a matter of timing
    for name in ("windows", "counts"):
        assert found.pop(name)[-shared:] == expected.pop(name)[-shared:]
    assert found == expected


def test_evidence_that_comes_late_raises_the_alarm_it_would_have_raised_in_time(
    undisturbed: dict[str, Any],
) -> None:
    early = [one for one in SENT if one[0] <= BEGIN + 6_900_000_000]
    during = [one for one in early if one[0] > BEGIN + 6_000_000_000]
    cluster = Cluster(4, SETTINGS)
    give_reference(cluster.runtime)
    process = cluster.start()
    for at, key, value in early:
        if (at, key, value) not in during:
            cluster.send(at, key, value)
            cluster.run(process)
    clean = traffic(rows(400, 8), hosts=1, first=COUNT, begin=BEGIN + 9 * SECOND)
    for at, key, value in clean:
        cluster.send(at, key, value)
    pass_time(cluster.runtime, 2.0)
    cluster.run(process)
    assert answer(cluster.runtime.store)["incidents"] == []
    for _, key, value in during:
        cluster.send(0, key, value)
    cluster.run(process)
    cluster.finish()
    (incident,), (expected,) = answer(cluster.runtime.store)["incidents"], undisturbed["incidents"]
    for name in ("onset_event", "onset_at", "raised_event", "raised_at", "id"):
        assert getattr(incident, name) == getattr(expected, name)
    assert SHIFTED[[int.from_bytes(name, "big") for name in incident.samples]].mean() > 0.8


def test_a_partition_that_nobody_reads_holds_the_test_up_until_it_is_read(
    undisturbed: dict[str, Any],
) -> None:
    cluster = Cluster(4, SETTINGS)
    give_reference(cluster.runtime)
    reading, sleeping = cluster.start(), cluster.start()
    cluster.send(*SENT[0])
    for process in (reading, sleeping, reading):
        cluster.run(process)
    for at, key, value in SENT[1:]:
        cluster.send(at, key, value)
        cluster.run(reading)
    state = load_any(cluster.runtime.store.get("detect", MODEL) or b"")
    assert 0 < state["events"] < COUNT
    assert state["tested"] < BEGIN + SECOND
    cluster.finish()
    assert answer(cluster.runtime.store) == undisturbed
    assert load_any(cluster.runtime.store.get("detect", MODEL) or b"")["late"] == 0


def test_a_process_that_has_no_patience_tests_a_part_at_a_time_and_finds_the_same(
    undisturbed: dict[str, Any],
) -> None:
    cluster = Cluster(4, SETTINGS)
    give_reference(cluster.runtime)
    process = cluster.start()
    for at, key, value in SENT:
        cluster.send(at, key, value)
    process.counting.drain()
    pass_time(cluster.runtime, 2.0)
    tested: list[int] = []
    while len(tested) < 2 or tested[-1] > tested[-2]:
        cluster.run(process, patience=0.0)
        tested.append(load_any(cluster.runtime.store.get("detect", MODEL) or b"")["tested"])
    assert len(tested) > 4
    cluster.finish()
    assert answer(cluster.runtime.store) == undisturbed


def test_a_process_whose_clock_is_an_hour_behind_tests_as_soon_as_any_other(
    undisturbed: dict[str, Any],
) -> None:
    cluster = Cluster(4, SETTINGS)
    give_reference(cluster.runtime)
    process = cluster.start(behind=3600 * SECOND)
    for at, key, value in SENT:
        cluster.send(at, key, value)
        cluster.run(process)
    (incident,) = answer(cluster.runtime.store)["incidents"]
    assert incident.id == undisturbed["incidents"][0].id


def test_a_model_that_another_process_tests_is_no_longer_shown(undisturbed: dict[str, Any]) -> None:
    cluster = Cluster(4, SETTINGS)
    give_reference(cluster.runtime)
    first, second = cluster.start(), cluster.start()
    for at, key, value in SENT[:40]:
        cluster.send(at, key, value)
    cluster.run(first)
    assert cluster.metric(first, "davy_blind", model=MODEL) == 0
    bury(cluster.runtime, f"model/{MODEL}")
    pass_time(cluster.runtime, 2.0)
    cluster.run(second)
    for at, key, value in SENT[40:80]:
        cluster.send(at, key, value)
    cluster.run(first)  # it still believes to hold the model, and is refused
    assert cluster.metric(first, "davy_blind", model=MODEL) is None
    assert cluster.metric(second, "davy_blind", model=MODEL) == 0
    cluster.finish()
    assert (
        cluster.metric(second, "davy_inferences_total", model=MODEL)
        == answer(cluster.runtime.store)["state"]["events"]
    )


def test_every_process_tells_for_how_long_nobody_reads_a_partition() -> None:
    cluster = Cluster(2, SETTINGS)
    reader, other = cluster.start(), cluster.start()
    anybody = replace(cluster.runtime, pulse=Pulse(clock=lambda: cluster.clock.now / SECOND))
    progress = Progress(anybody, "detect", (INFERENCES,))

    def turn(*readers: DetectTarget) -> list[float | None]:
        for one in readers:
            one.counting.step()
        progress.look()
        progress.show()
        return [sample(anybody, "davy_unread_seconds", partition=str(n)) for n in range(2)]

    assert turn(reader, other) == [0, 0]
    keys = [next(f"m#{n}" for n in range(99) if cluster.log.partition_of(f"m#{n}") == p) for p in range(2)]
    for key in keys:
        cluster.send(BEGIN, key, SENT[0][2])
    turn(reader)
    pass_time(cluster.runtime, 100.0)
    assert turn(reader) == [0, 100]  # the other has its partition, and does not read
    cluster.send(BEGIN + 100 * SECOND, keys[1], SENT[1][2])
    pass_time(cluster.runtime, 100.0)
    assert turn(reader) == [0, 200]
    assert turn(reader, other) == [0, 0]
