"""What the log shows about an alarm: carriers, size, and where to look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.streams import BEGIN, MODEL, SECOND, envelopes, give_reference, make_runtime, rows, send

from davy.codec import decode
from davy.config import DetectSettings
from davy.event import INFERENCES
from davy.log import Log, Record
from davy.runtime import Runtime
from davy_detectors.base import Alarm, Floats
from davy_detectors.batch import Batch
from davy_detectors.checks import watch
from davy_detectors.drift.edetector import ScoreDictionaryDetector
from davy_detectors.history.partition_index import PartitionIndex
from davy_detectors.history.scan import Source
from davy_detectors.history.sparse_index import SparseIndex
from davy_detectors.incidents import evidence
from davy_detectors.incidents.evidence import Case, affected_share, gather

pytestmark = pytest.mark.fast

ONSET, EVENTS, STEP = 3_000, 4_000, 100
HORIZON, LATENESS = 60 * SECOND, 5 * SECOND
SETTINGS = DetectSettings(false_alarm_every=100_000)


class Read:
    """A log that knows how many records a reading of it gave at most."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.most = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def read(self, *where: Any) -> Iterator[Record]:
        for count, record in enumerate(self._log.read(*where), start=1):
            self.most = max(self.most, count)
            yield record


class Scene:
    """A stream in a log, its trails, and the alarm its detector raised."""

    def __init__(self, tmp_path: Path, *, copies: bool = False) -> None:
        self.runtime: Runtime = make_runtime("memory", tmp_path, SETTINGS)
        self.reference = give_reference(self.runtime)
        numbers = np.arange(EVENTS)
        self.shifted = (numbers >= ONSET) & (np.random.default_rng(3).random(EVENTS) < 0.1)
        columns = rows(EVENTS, 7, shifted=self.shifted)
        if copies:
            guilty = np.flatnonzero(self.shifted)
            for values in columns.values():
                values[guilty] = values[guilty[0]]
        send(self.runtime, list(envelopes(columns, [STEP])))
        self.seen, numbers = PartitionIndex(), SparseIndex()
        for index, record in enumerate(self.runtime.log.read(INFERENCES, 0, 0)):
            self.seen.pass_by(record.offset, decode(record.value).at, late=False)
            numbers.add(index * STEP, BEGIN + index * STEP * 1_000_000)
        self.monitor = ScoreDictionaryDetector(self.reference, SETTINGS)
        self.alarm: Alarm = watch(self.monitor, Batch.from_columns(MODEL, columns), [STEP])[0]
        stop = BEGIN + EVENTS * 1_000_000
        self.source = Source(self.runtime.log, MODEL, numbers, {0: self.seen}, {}, HORIZON, LATENESS, stop)

    def case(self, *, calm_since: int = 0) -> Case:
        ranks = lambda batch: self.reference.scored(batch).ranks  # noqa: E731
        return Case(self.alarm, self.scores, ranks, 0, calm_since, self.alarm.onset_event)

    def scores(self, batch: Batch) -> Floats:
        return self.monitor.sample_scores(self.reference.scored(batch), self.alarm)


def test_carriers_are_the_planted_samples_best_first(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    found = gather(scene.source, scene.case())
    numbers = [int.from_bytes(carrier.inference_id, "big") for carrier in found.carriers]
    planted = scene.alarm.onset_event + np.flatnonzero(
        scene.shifted[scene.alarm.onset_event : scene.alarm.event + 1]
    )
    assert scene.shifted[numbers].mean() > 0.7
    assert len(set(planted) & set(numbers)) >= 0.9 * len(planted)
    scores = [carrier.score for carrier in found.carriers]
    assert scores == sorted(scores, reverse=True)
    assert found.onset_at == BEGIN + scene.alarm.onset_event * 1_000_000
    assert 0.02 < found.size < 0.2


def test_stretches_read_as_one_show_what_each_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path)
    case = replace(scene.case(calm_since=500), change=scene.alarm.onset_event - 100)
    together = gather(scene.source, case)
    # The calm slice is farther away than one read is long.
    monkeypatch.setattr(evidence, "_REREAD", scene.alarm.event - scene.alarm.onset_event)
    assert gather(scene.source, case) == together
    assert together.carriers


def test_a_look_reads_beyond_an_alarm_only_as_far_as_something_came_late(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    found = gather(scene.source, scene.case())
    later = range(20_000, 100_000, 4_000)  # milliseconds; a look may go on for a minute
    for first in later:
        send(scene.runtime, list(envelopes(rows(400, first), [STEP], first=EVENTS + first)))
    log = Read(scene.runtime.log)
    source = replace(scene.source, log=log)  # type: ignore[arg-type]
    assert gather(source, scene.case()) == found
    in_time = EVENTS // STEP + 1
    assert log.most <= in_time
    scene.seen.last_late = log.end(INFERENCES)[INFERENCES, 0] - 1
    assert gather(source, scene.case()) == found
    assert in_time < log.most <= EVENTS // STEP + 4 * 11


def test_exact_duplicates_are_carried_once(tmp_path: Path) -> None:
    scene = Scene(tmp_path, copies=True)
    found = gather(scene.source, scene.case())
    numbers = [int.from_bytes(carrier.inference_id, "big") for carrier in found.carriers]
    assert scene.shifted[: scene.alarm.event + 1].sum() > 10
    assert scene.shifted[numbers].sum() == 1


def test_without_ordinary_inferences_the_level_is_that_of_the_carriers(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    found = gather(scene.source, scene.case(calm_since=scene.alarm.onset_event))
    scores = [carrier.score for carrier in found.carriers]
    assert min(scores) <= found.level <= max(scores)
    assert 0 < found.size <= 1


def test_what_retention_removed_is_missing_and_nothing_else(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    records = list(scene.runtime.log.read(INFERENCES, 0, 0))
    scene.runtime.log.retain(max_bytes=sum(len(r.value) for r in records[(ONSET + STEP) // STEP :]))
    found = gather(scene.source, scene.case())
    numbers = [int.from_bytes(carrier.inference_id, "big") for carrier in found.carriers]
    assert numbers
    assert min(numbers) >= ONSET + STEP
    assert scene.shifted[numbers].mean() > 0.7


def test_later_samples_are_flagged_with_a_probability_that_bounds_their_number(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    found = gather(scene.source, scene.case())
    clean = scene.scores(Batch.from_columns(MODEL, rows(5_000, 11)))
    assert np.mean(clean >= found.level) < 0.03
    window = Batch.from_columns(MODEL, rows(1_000, 12, shifted=np.ones(1_000, bool)))
    assert np.mean(scene.scores(window) >= found.level) > 0.95
    assert found.probability <= 1.0


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
def test_the_affected_share_is_estimated_from_below(share: float) -> None:
    rng = np.random.default_rng(0)
    estimates = []
    for _ in range(50):
        bad = rng.random(1_000) < share
        scores = rng.normal(size=1_000) + 4.0 * bad
        estimates.append(affected_share(scores, rng.normal(size=2_000)))
    assert 0.5 * share <= np.mean(estimates) <= share + 0.02


def test_the_affected_share_survives_scores_of_few_values() -> None:
    clean = np.repeat([0.0, 2.0], [1_980, 20])
    now = np.repeat([0.0, 2.0], [880, 120])
    assert 0.08 < affected_share(now, clean) < 0.12
    assert affected_share(clean, clean) == 0.0
    assert affected_share(np.empty(0), clean) == 0.0


def test_a_trail_stays_small_and_reaches_back_with_coarser_steps() -> None:
    trail, records, size = SparseIndex(), 50_000, 200
    for index in range(records):
        trail.add(index * size, 3 * index)
        assert len(trail) <= 1024
    now = records * size
    for number in range(0, now, 9_973):
        found = trail.before(number)
        assert found is not None
        start, offset = found
        assert offset == 3 * start // size
        assert 0 <= number - start <= max(2 * size, 0.1 * (now - start))


def test_a_trail_survives_a_restart_and_forgets_what_is_not_so_any_more() -> None:
    trail = SparseIndex()
    for key in (0, 200, 300):
        trail.add(key, key // 10)
    again = SparseIndex.load(trail.dump())
    again.forget_after(20)
    again.add(250, 25)
    assert (again.before(249), again.before(999)) == ((200, 20), (250, 25))
    assert [found.tolist() for found in again.since(210)] == [[200, 250], [20, 25]]
