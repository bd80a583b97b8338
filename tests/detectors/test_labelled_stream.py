"""Feedback and labels over the whole role: partitions, processes that die, clocks, the log behind the index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from support.labelled import LENGTH, Accuracy, feed, install, pairs_by_window
from support.partitions import Cluster, traffic
from support.streams import BEGIN, MODEL, SECOND, give_reference, id_of, make_runtime, pass_time, rows

from davy import metrics
from davy.codec import Encoder, dump, load_any, pack
from davy.config import DetectSettings
from davy.errors import PluginFailed
from davy.event import FEEDBACK, INFERENCES, LABELS, Feedback, Label
from davy.log import Message
from davy.sdk.ids import join as make_id
from davy_detectors.aggregates import Counts
from davy_detectors.incidents.incident import INCIDENTS
from davy_detectors.labelled.join import COLLECTION as JOINS
from davy_detectors.plugins import Plugins
from davy_detectors.stream.role import DetectTarget

pytestmark = pytest.mark.fast

COUNT = 3_000
SETTINGS = DetectSettings(false_alarm_every=100_000)
COLUMNS = rows(COUNT, 7)
SENT = traffic(COLUMNS, hosts=16)
ANSWERS = COLUMNS["outputs.probs"].argmax(axis=1)
DAY = 86_400 * SECOND


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Accuracy)


def at_of(row: int) -> int:
    """Return the event time of a row of `traffic`."""
    return BEGIN + row // 2 * 2_000_000


def told(count: int, seed: int = 0) -> list[Feedback]:
    """Return feedback about some rows, from the moment of each to three seconds later; a quarter says it was wrong."""
    rng, found = np.random.default_rng(seed), []
    for row in rng.choice(COUNT, count, replace=False).tolist():
        truth = int(ANSWERS[row]) ^ int(rng.random() < 0.25)
        found.append(Feedback(id_of(row), truth, at_of(row) + int(rng.integers(0, 3 * SECOND)), model=MODEL))
    return found


def by_window(said: Sequence[Feedback]) -> dict[int, list[int]]:
    """Return how many were wrong and right in each window, of the first that was said of each inference."""
    found: dict[int, list[int]] = {}
    first: dict[bytes, Feedback] = {}
    for one in sorted(said, key=lambda one: one.at):
        first.setdefault(one.id, one)
    for one in first.values():
        row = int.from_bytes(one.id, "big")
        at = max(one.at, at_of(row))
        found.setdefault(at - at % LENGTH, [0, 0])[int(one.truth == ANSWERS[row])] += 1
    return found


def counted(cluster: Cluster) -> dict[int, list[int]]:
    """Return the same as the role found it."""
    return {
        start: Counts.from_bytes(data).values.tolist()
        for start, (_, data) in pairs_by_window(cluster.runtime.store).items()
    }


def fates(cluster: Cluster) -> dict[str, int]:
    """Return what became of feedback and labels."""
    found: dict[str, int] = load_any(cluster.runtime.store.get(JOINS, MODEL) or b"")["counts"]
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("partitions", [1, 4, 16])
def test_feedback_in_any_order_over_any_partitions_and_kills_gives_the_same_windows(
    partitions: int, seed: int
) -> None:
    said = told(700)
    rng = np.random.default_rng([seed, partitions])
    cluster = Cluster(partitions, SETTINGS)
    give_reference(cluster.runtime)
    for _ in range(1 + seed):
        cluster.start(steps=int(rng.integers(20, 300)))
    events = [(at, key, value) for at, key, value in SENT]
    events += [(one.at + int(rng.integers(0, 4 * SECOND)), "", dump(one)) for one in said]
    events += [(one.at + int(rng.integers(0, 4 * SECOND)), "", dump(one)) for one in said[:200]]
    for at, key, value in sorted(events):
        if key:
            cluster.send(at, key, value)
        else:
            pass_time(cluster.runtime, until=at)
            cluster.log.producer().append([Message(FEEDBACK, f"{MODEL}{rng.integers(9)}", value)])
        if rng.random() < 0.2:
            cluster.run(cluster.processes[rng.integers(len(cluster.processes))])
    cluster.finish()
    assert cluster.deaths > 0
    assert counted(cluster) == by_window(said)
    assert fates(cluster) == {"joined": 700, "repeated": 200, "too_late": 0}


def test_a_monitor_over_feedback_opens_an_incident_and_shows_what_was_joined() -> None:
    cluster, said = Cluster(4, SETTINGS), told(1_000)
    give_reference(cluster.runtime)
    process = cluster.start()
    for at, key, value in SENT:
        cluster.send(at, key, value)
    feed(cluster, BEGIN + 8 * SECOND, *said)
    cluster.run(process)
    for _ in range(4):
        pass_time(cluster.runtime, 2.0)
        cluster.run(process)
    causes = {key.split("/")[0] for key, _ in cluster.runtime.store.items(INCIDENTS)}
    assert len(causes) == 1
    (incident,) = [load_any(data) for _, data in cluster.runtime.store.items(INCIDENTS)]
    assert "accuracy" in str(incident)
    assert cluster.metric(process, "davy_feedback_joined_total", model=MODEL) == 1_000
    assert cluster.metric(process, "davy_feedback_too_late_total", model=MODEL) == 0


def test_feedback_that_names_no_model_is_counted_and_finds_its_inference() -> None:
    cluster, said = Cluster(4, SETTINGS), told(50)
    give_reference(cluster.runtime)
    process = cluster.start()
    for at, key, value in SENT:
        cluster.send(at, key, value)
    stranger = Feedback(id_of(1), 1, BEGIN, model="nobody:1")
    feed(cluster, BEGIN + 8 * SECOND, *(replace(one, model="") for one in said), stranger, key="")
    cluster.run(process)
    cluster.finish()
    assert counted(cluster) == by_window(said)
    for reason, count in (("unknown model", 50), ("no reference", 1)):
        assert cluster.metric(process, metrics.FEEDBACK_UNPLACED.name, reason=reason) == count


def test_labels_count_like_feedback_of_a_kind_of_their_own_and_skips_do_not() -> None:
    cluster, said = Cluster(1, SETTINGS), told(40)
    give_reference(cluster.runtime)
    process = cluster.start()
    for at, key, value in SENT:
        cluster.send(at, key, value)
    pass_time(cluster.runtime, until=BEGIN + 8 * SECOND)
    made = [Label("c", one.id, MODEL, one.truth, 1, one.at, "ann") for one in said]
    made += [Label("c", id_of(row), MODEL, None, 1, BEGIN, "ann", state="skipped") for row in range(5)]
    cluster.log.producer().append([Message(LABELS, MODEL, dump(one)) for one in made])
    feed(cluster, BEGIN + 8 * SECOND, *said)
    cluster.run(process)
    cluster.finish()
    assert counted(cluster) == {start: [2 * n for n in both] for start, both in by_window(said).items()}
    assert fates(cluster)["joined"] == 80


def test_feedback_weeks_later_meets_what_the_index_kept_and_what_only_the_log_still_has(tmp_path) -> None:
    settings = replace(SETTINGS, join_inferences=1_000)
    runtime = make_runtime("sqlite", tmp_path, settings)
    give_reference(runtime)
    rng, encoder = np.random.default_rng(0), Encoder()
    ids = [make_id(at_of(row), int(rng.integers(2**61)) | 1 << 63) for row in range(COUNT)]
    producer = runtime.log.producer()
    for start in range(0, COUNT, 100):
        chunks = [
            encoder.encode(
                MODEL, ids[row], at_of(row), {"age": 0.0}, {"probs": COLUMNS["outputs.probs"][row]}
            )
            for row in range(start, start + 100)
        ]
        pass_time(runtime, until=at_of(start + 100))
        producer.append([Message(INFERENCES, MODEL, pack(chunks))])
    _detect(runtime)
    index = runtime.store.items(f"join/{MODEL}/inferences")
    kept = {int(low) for _, data in index for low in load_any(data)["low"].tolist()}
    assert 1_000 <= len(kept) <= 1_250
    pass_time(runtime, 20 * DAY / SECOND)
    never = make_id(at_of(3), 5 | 1 << 63)
    said = [ids[2], ids[700], ids[COUNT - 1], never]
    told_at = runtime.clock()
    answers = dict(zip(ids, ANSWERS.tolist(), strict=True))
    events = [Feedback(one, answers.get(one, 0), told_at, model=MODEL) for one in said]
    producer.append([Message(FEEDBACK, MODEL, dump(one)) for one in events])
    _detect(runtime)
    found: dict[str, int] = load_any(runtime.store.get(JOINS, MODEL) or b"")["counts"]
    assert found == {"joined": 3, "repeated": 0, "too_late": 1}
    (pair,) = pairs_by_window(runtime.store).items()
    assert pair[0] == told_at - told_at % LENGTH
    assert Counts.from_bytes(pair[1][1]).values.tolist() == [0, 3]


def test_nothing_of_feedback_is_read_or_kept_where_no_monitor_watches_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    cluster = Cluster(1, SETTINGS)
    give_reference(cluster.runtime)
    process = cluster.start()
    for at, key, value in SENT[:20]:
        cluster.send(at, key, value)
    feed(cluster, BEGIN + 8 * SECOND, *told(10))
    cluster.run(process)
    cluster.finish()
    assert process.labels is None
    assert not list(cluster.runtime.store.items(f"join/{MODEL}/inferences"))
    assert cluster.runtime.store.get(JOINS, MODEL) is None


def test_a_monitor_whose_maker_does_not_say_what_it_watches_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Silent:
        name = "silent"

        def __new__(cls, reference, settings):
            return Accuracy(reference, settings)

    install(monkeypatch, Silent)
    runtime = Cluster(1, SETTINGS).runtime
    found = Plugins(runtime)
    assert found.labelled
    with pytest.raises(PluginFailed, match="say so on what makes the monitor, too"):
        found._make("silent", give_reference(runtime), SETTINGS)


def _detect(runtime) -> None:
    target = DetectTarget(runtime)
    target.counting.drain()
    while target.hear():
        pass
    pass_time(runtime, 4.0)
    for _ in range(3):
        target.testing.turn()
    target.close()
