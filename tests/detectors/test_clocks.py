"""A clock that jumps: what it told is taken back, drift is found as if nothing had been, and nothing counts twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.partitions import Cluster, Sent, answer, traffic
from support.streams import BEGIN, MODEL, SECOND, bury, give_reference, pass_time, rows

from davy.codec import dump_any, load_any
from davy.config import DetectSettings
from davy.event import INFERENCES
from davy.log import Record
from davy.store import Batch as Changes
from davy.store import Store
from davy_detectors.batch import Batch
from davy_detectors.reference import Reference
from davy_detectors.reference.active import put
from davy_detectors.stream.clocks import TOLERANCE, WATERMARKS, Clocks, Watermark, checks

HOUR = 3600 * SECOND
JUMPS = {"+1 h": HOUR, "-1 h": -HOUR, "+8 h": 8 * HOUR}
COUNT, AWAY, BACK, ONSET = 6_000, 1_500, 2_500, 3_500
SETTINGS = DetectSettings(false_alarm_every=100_000, quiet_events=500, blind_seconds=20.0)
SHIFTED = (np.random.default_rng(3).random(COUNT) < 0.15) & (np.arange(COUNT) >= ONSET)
ROWS = rows(COUNT, 7, shifted=SHIFTED)


def stretch(first: int, stop: int, jump: int = 0) -> list[Sent]:
    """Return some of the traffic, sent by hosts and stamped by a log whose clocks are off by `jump`."""
    part = {name: values[first:stop] for name, values in ROWS.items()}
    begin = BEGIN + first * 1_000_000 + jump
    return traffic(part, hosts=8, first=first, begin=begin)


def jumping(jump: int) -> list[Sent]:
    """Return the traffic, during a part of which all clocks are off by `jump`."""
    return [*stretch(0, AWAY), *stretch(AWAY, BACK, jump), *stretch(BACK, COUNT)]


def play(cluster: Cluster, sent: list[Sent], rng: np.random.Generator | None = None) -> None:
    """Let the clock jump to each append, and processes work in between."""
    for at, key, value in sent:
        cluster.clock.now = at
        cluster.send(at, key, value)
        while rng is not None and rng.random() < 0.4:
            cluster.run(cluster.processes[rng.integers(len(cluster.processes))])
        if rng is None:
            cluster.run(cluster.processes[0])


def accounted(store: Store) -> int:
    """Return how many inferences were tested for good, or lie in a window, each once."""
    snapshot = store.get("snapshots", MODEL)
    since, number = -1, 0
    if snapshot is not None:
        found = load_any(snapshot)
        since, number = found["since"], found["number"]
    windows = [load_any(data)[:2] for _, data in store.items(f"windows/{MODEL}")]
    return int(number + sum(size for start, size in windows if start > since))


def check(cluster: Cluster) -> None:
    store = cluster.runtime.store
    found = answer(store)
    (incident,) = found["incidents"]
    assert abs(incident.onset_event - ONSET) <= 200
    assert ONSET < incident.raised_event < ONSET + 600
    assert SHIFTED[[int.from_bytes(name, "big") for name in incident.samples]].mean() > 0.8
    assert found["state"]["events"] == accounted(store) == COUNT
    state = load_any(store.get("detect", MODEL) or b"")
    assert max(state["tested"], state["heard_at"], state["last_at"]) <= cluster.clock.now


@pytest.mark.fast
@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
def test_drift_after_a_jump_is_found_as_soon_as_without_it(jump: int) -> None:
    cluster = Cluster(1, SETTINGS)
    give_reference(cluster.runtime)
    process = cluster.start()
    play(cluster, jumping(jump))
    (incident,) = answer(cluster.runtime.store)["incidents"]  # while it goes on, not at the end of it
    assert incident.raised_event < ONSET + 600
    assert cluster.metric(process, "davy_clock_set_back_total", role="detect") == 1
    cluster.finish()
    check(cluster)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
def test_any_partitions_processes_and_kills_count_everything_once(
    jump: int, partitions: int, seed: int
) -> None:
    rng = np.random.default_rng([seed, partitions])
    cluster = Cluster(partitions, SETTINGS)
    give_reference(cluster.runtime)
    for _ in range(1 + seed % 3):
        cluster.start(steps=int(rng.integers(20, 300)))
    play(cluster, jumping(jump), rng)
    cluster.finish()
    check(cluster)


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
def test_a_process_that_starts_after_the_jump_takes_back_what_was_stored_before_it(jump: int) -> None:
    cluster = Cluster(1, SETTINGS)
    give_reference(cluster.runtime)
    cluster.start()
    play(cluster, [*stretch(0, AWAY), *stretch(AWAY, BACK, jump)])
    cluster.processes.pop().close()
    after = stretch(BACK, COUNT)
    for at, key, value in after[:8]:  # nobody counts meanwhile
        cluster.clock.now = at
        cluster.send(at, key, value)
    cluster.start()
    play(cluster, after[8:])
    cluster.finish()
    check(cluster)


def test_the_same_answer_follows_however_early_or_late_the_inferences_after_a_jump_are_counted() -> None:
    found = []
    for every in (1, 7, 40):
        cluster = Cluster(1, SETTINGS)
        give_reference(cluster.runtime)
        process = cluster.start()
        play(cluster, [*stretch(0, AWAY), *stretch(AWAY, BACK, HOUR)])
        pass_time(cluster.runtime, 3.0)
        cluster.run(process)
        for number, (at, key, value) in enumerate(stretch(BACK, COUNT)):
            cluster.clock.now = at
            cluster.send(at, key, value)
            if number % every == 0:
                cluster.run(process)
        cluster.finish()
        found.append(answer(cluster.runtime.store))
    assert found[0] == found[1] == found[2]


def test_a_partition_without_records_since_the_jump_holds_nothing_up() -> None:
    cluster = Cluster(2, SETTINGS)
    give_reference(cluster.runtime)
    process = cluster.start()
    keys = [next(f"m#{n}" for n in range(99) if cluster.log.partition_of(f"m#{n}") == p) for p in range(2)]
    ahead = stretch(AWAY, BACK, HOUR)
    play(cluster, [(at, keys[0], value) for at, _, value in stretch(0, AWAY)])
    play(cluster, [(at, keys[n % 2], value) for n, (at, _, value) in enumerate(ahead)])
    play(cluster, [(at, keys[0], value) for at, _, value in stretch(BACK, COUNT)])
    (incident,) = answer(cluster.runtime.store)["incidents"]
    assert incident.raised_event < ONSET + 600
    assert process.testing._present().closed < cluster.clock.now
    cluster.finish()
    check(cluster)


@pytest.mark.parametrize("stored", [dump_any(BEGIN + HOUR), None], ids=["earlier", "this"])
def test_state_that_an_earlier_version_left_in_the_future_is_taken_back(stored: bytes | None) -> None:
    cluster = Cluster(1, SETTINGS)
    give_reference(cluster.runtime)
    cluster.start()
    play(cluster, [*stretch(0, AWAY), *stretch(AWAY, BACK, HOUR)])
    cluster.processes.pop().close()
    if stored is not None:  # earlier versions kept the append time alone
        cluster.runtime.store.apply(Changes().put(WATERMARKS.name, "0", stored))
    cluster.start()
    play(cluster, stretch(BACK, COUNT))
    cluster.finish()
    check(cluster)


@pytest.mark.fast
def test_a_model_that_falls_silent_after_a_jump_is_blind_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("davy_detectors.stream.coordinator.time.monotonic", lambda: now)
    cluster = Cluster(1, SETTINGS)
    process = cluster.start()
    play(cluster, stretch(0, AWAY, HOUR))
    cluster.clock.now = BEGIN + AWAY * 1_000_000
    cluster.run(process)
    assert cluster.metric(process, "davy_blind", model=MODEL) == 0
    now += 21
    pass_time(cluster.runtime, 21)
    cluster.run(process)
    assert cluster.metric(process, "davy_blind", model=MODEL) == 1
    assert load_any(cluster.runtime.store.get("detect", MODEL) or b"")["heard_at"] < cluster.clock.now
    cluster.processes.pop().close()
    bury(cluster.runtime, f"model/{MODEL}")
    cluster.run(again := cluster.start())
    assert cluster.metric(again, "davy_blind", model=MODEL) == 1


def learned_when_ahead() -> Reference:
    batch = Batch.from_columns(MODEL, rows(5000, 1))
    until = BEGIN + HOUR + BACK * 1_000_000
    return Reference.fit(MODEL, batch, settings=SETTINGS, learned_until=until)


@pytest.mark.fast
def test_a_reference_learned_while_the_clock_was_ahead_is_tested_against_at_once() -> None:
    cluster = Cluster(1, SETTINGS)
    put(cluster.runtime.store, MODEL, learned_when_ahead().to_bytes())
    cluster.start()
    play(cluster, jumping(HOUR))
    cluster.finish()
    check(cluster)


@pytest.mark.fast
def test_doctor_says_what_the_clock_did() -> None:
    cluster = Cluster(1, SETTINGS)
    cluster.start()
    assert [check.found for check in checks(cluster.runtime)] == ["never set back"]
    play(cluster, stretch(0, AWAY, HOUR))
    cluster.clock.now = BEGIN
    (ahead,) = checks(cluster.runtime)
    assert (ahead.state, "3,60" in ahead.found) == ("warning", True)
    play(cluster, stretch(AWAY, BACK))
    (was,) = checks(cluster.runtime)
    assert was.state == "ok"
    assert was.found.startswith("was set back to 2023-11-14T22:13:2")


@pytest.mark.fast
def test_clocks_that_differ_a_little_are_no_jump() -> None:
    def at(moment: int, offset: int) -> Record:
        return Record(INFERENCES, 0, offset, "", b"", {}, moment)

    mark = Watermark()
    assert not any(mark.pass_by(at(moment, n)) for n, moment in enumerate([BEGIN, BEGIN - TOLERANCE]))
    assert mark.through == BEGIN
    assert mark.pass_by(at(BEGIN - TOLERANCE - 1, 2))
    assert mark.dated(at(BEGIN, 1)).at == mark.back == mark.through == BEGIN - TOLERANCE - 1
    assert mark.dated(at(BEGIN + HOUR, 3)).at == BEGIN + HOUR
    assert Watermark.of(mark.to_bytes()) == mark.in_log("") == mark
    assert mark.in_log("another") == Watermark(mark.through, log="another")
    assert Clocks({}, BEGIN).now == Clocks({0: mark}, BEGIN).now == BEGIN


@pytest.mark.fast
@given(
    moments=st.lists(st.integers(0, 60).map(lambda second: BEGIN + second * SECOND), min_size=1),
    cut=st.integers(0, 50),
)
def test_a_mark_depends_on_the_records_alone_and_dates_none_after_it(moments: list[int], cut: int) -> None:
    records = [Record(INFERENCES, 0, offset, "", b"", {}, at) for offset, at in enumerate(moments)]
    whole, stored = Watermark(), Watermark()
    times = sum(whole.pass_by(record) for record in records)
    again = sum(stored.pass_by(record) for record in records[:cut])
    stored = Watermark.of(stored.to_bytes())
    again += sum(stored.pass_by(record) for record in records[cut:])
    assert (stored, again) == (whole, times)
    dated = [whole.dated(record).at for record in records]
    assert max(dated) <= whole.through
    assert all(now <= at for now, at in zip(dated, moments, strict=True))
    if not times:
        assert dated == moments
