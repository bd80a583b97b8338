"""One budget: shares that add up, days beside inferences, and the same bytes whatever comes late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from davy.config import DetectSettings, load
from davy.errors import SettingError
from davy_detectors.base import takes_exposures
from davy_detectors.batch import Batch
from davy_detectors.budget import DAY, exposures, most_a_day, relative, shares, with_share
from davy_detectors.checks import aggregated
from davy_detectors.drift import ScoreDictionaryDetector
from davy_detectors.reference import Reference
from davy_detectors.stream.monitor_run import MonitorRun
from davy_detectors.stream.windows import Window

pytestmark = pytest.mark.fast

SETTINGS = DetectSettings(false_alarm_every=20_000)
TWENTIETH = 50_000_000
WEIGHTS = st.dictionaries(st.text(max_size=4), st.floats(1e-3, 1e3), max_size=5)


@given(st.sets(st.text(max_size=4), min_size=1, max_size=8), WEIGHTS)
def test_shares_add_up_to_one_whatever_is_installed_and_asked_for(
    names: set[str], asked: dict[str, float]
) -> None:
    found = shares(names, [(name, str(weight)) for name, weight in asked.items()])
    assert found.keys() == names
    assert sum(found.values()) == pytest.approx(1.0)
    rates = [1 / with_share(SETTINGS, share).false_alarm_every for share in found.values()]
    assert sum(rates) == pytest.approx(1 / SETTINGS.false_alarm_every)


def test_without_weights_every_part_is_equal_to_the_bit() -> None:
    for count in range(1, 60):
        names = [str(each) for each in range(count)]
        assert set(relative(names).values()) == {1.0}
        assert set(shares(names).values()) == {1.0 / count}


def test_weights_come_from_the_settings_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "davy.toml"
    file.write_text('[detect.monitor_weights]\n"e-*" = 3\nmine = "1.5"\n')
    found = load(file=file, env={}).detect.monitor_weights
    assert shares(["e-detector", "mine"], found) == pytest.approx({"e-detector": 2 / 3, "mine": 1 / 3})
    for wrong in ("0", "-1", "nan", "much", ""):
        with pytest.raises(SettingError, match=r"detect\.feature_weights\.age"):
            load(env={"DAVY_DETECT_FEATURE_WEIGHTS": f"age={wrong}"})


@given(
    st.lists(st.tuples(st.integers(1, 3 * DAY), st.integers(1, 10_000)), min_size=1, max_size=30),
    st.floats(1.0, 1e6),
    st.integers(1, 29),
)
def test_both_promises_bound_what_windows_count_for_however_they_are_cut(
    steps: list[tuple[int, int]], most: float, cut: int
) -> None:
    starts = np.cumsum([gap for gap, _ in steps])
    sizes = np.array([size for _, size in steps])
    found = exposures(starts, sizes, -1, most)
    assert found[0] == 0.0
    assert (found <= sizes).all()
    assert found.sum() <= (starts[-1] - starts[0]) / DAY * most * (1 + 1e-9)
    first, rest = exposures(starts[:cut], sizes[:cut], -1, most), np.empty(0)
    if cut < len(starts):
        rest = exposures(starts[cut:], sizes[cut:], int(starts[cut - 1]), most)
    assert np.concatenate([first, rest]).tolist() == found.tolist()


def test_inferences_alone_count_unless_days_are_asked_for() -> None:
    assert most_a_day(DetectSettings()) == np.inf
    assert most_a_day(DetectSettings(false_alarm_days=30)) == pytest.approx(1e6 / 30)


def _reference(settings: DetectSettings = SETTINGS) -> Reference:
    rng = np.random.default_rng(0)
    return Reference.fit("m:1", _batch(rng.normal(size=(2_000, 2))), settings=settings)


def _batch(values: np.ndarray) -> Batch:
    return Batch.from_columns("m:1", {"inputs.a": values[:, 0], "inputs.b": values[:, 1]})


def _windows(monitor: ScoreDictionaryDetector, values: np.ndarray, size: int) -> list[Window]:
    steps = np.arange(len(values)) // size
    found = aggregated(monitor, monitor.reference.scored(_batch(values)), steps, len(values) // size)
    return [
        Window(n * TWENTIETH, size, n * TWENTIETH, {monitor.name: (size, data)})
        for n, data in enumerate(found)
    ]


def _run(reference: Reference, settings: DetectSettings, **more: object) -> MonitorRun:
    return MonitorRun(
        lambda: {"e-detector": ScoreDictionaryDetector(reference, settings)},
        most_a_day=most_a_day(settings),
        **more,  # type: ignore[arg-type]
    )


def _alarms(run: MonitorRun, windows: Sequence[Window]) -> list[int]:
    return [one.number for tested in run.run(windows) for one in tested.raised]


DAYS = replace(SETTINGS, false_alarm_days=0.01)
"""Accepts one alarm in a quarter of an hour: at 20 windows of 50 a second one in 864 000 inferences."""


@pytest.mark.parametrize("settings", [SETTINGS, DAYS])
@pytest.mark.parametrize("late", [0, 17, 63])
def test_late_windows_a_restart_and_a_moved_snapshot_give_the_same_bytes(
    settings: DetectSettings, late: int
) -> None:
    reference = _reference()
    monitor = ScoreDictionaryDetector(reference, settings)
    windows = _windows(monitor, np.random.default_rng(1).normal(size=(5_000, 2)), 50)
    straight = _run(reference, settings)
    straight.run(windows)
    expected = straight.monitors["e-detector"].to_bytes()
    run = _run(reference, settings)
    run.run([one for n, one in enumerate(windows[:80]) if n != late])
    run.go_back()
    run.run(windows[:80])
    run.advance(windows[:70], windows[69].start + TWENTIETH // 2)
    run.go_back()
    run.run(windows[70:80])
    since, number, states, before = run.snapshot
    resumed = _run(reference, settings, since=since, number=number, snapshot=states, before=before)
    resumed.run(windows[70:])
    run.run(windows[80:])
    assert run.monitors["e-detector"].to_bytes() == expected
    assert resumed.monitors["e-detector"].to_bytes() == expected


def test_days_ask_for_more_evidence_of_a_busy_model_and_for_none_less_of_an_idle_one() -> None:
    reference = _reference()
    values = np.random.default_rng(2).normal(0.3, 1.0, size=(20_000, 2))
    windows = _windows(ScoreDictionaryDetector(reference, SETTINGS), values, 10)
    sparse = [replace(one, start=(one.start + TWENTIETH) * 4_000) for one in windows]
    by_inferences = _alarms(_run(reference, SETTINGS), windows)
    busy, idle = (_alarms(_run(reference, DAYS, before=0), each) for each in (windows, sparse))
    assert by_inferences[0] < busy[0] < 3 * by_inferences[0], (by_inferences[0], busy[0])
    assert idle == by_inferences


def test_a_feature_with_more_weight_is_found_sooner_and_no_weights_change_no_bit() -> None:
    reference = _reference()
    values = np.random.default_rng(3).normal(size=(20_000, 2))
    values[:, 1] += 0.25
    delays = {}
    for weight in ("0.01", "1", "100"):
        settings = replace(SETTINGS, feature_weights=(("*.b", weight),))
        windows = _windows(ScoreDictionaryDetector(reference, settings), values, 10)
        run = _run(reference, settings)
        delays[weight] = _alarms(run, windows)[0]
        if weight == "1":
            plain = _run(reference, SETTINGS)
            plain.run(windows)
            states = [one.monitors["e-detector"].to_bytes() for one in (run, plain)]
            assert states[0] == states[1]
    assert delays["100"] <= delays["1"] < delays["0.01"], delays


def test_the_detector_says_that_it_keeps_days() -> None:
    assert takes_exposures(ScoreDictionaryDetector(_reference(), SETTINGS))
