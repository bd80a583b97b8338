"""The command `davy budget`, and what it works out, beside what the detector does on real inferences."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.streams import MODEL, detect, envelopes, give_reference, make_runtime, rows, send

from davy.cli import run_app
from davy.config import DetectSettings
from davy.runtime import Runtime
from davy_detectors.batch import Batch
from davy_detectors.budget_report import Rehearsal, features, shifted, spending
from davy_detectors.checks import watch
from davy_detectors.drift import ScoreDictionaryDetector
from davy_detectors.reference import Reference

pytestmark = pytest.mark.fast
SETTINGS = DetectSettings(false_alarm_every=100_000)
Run = Callable[..., Any]


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}")
    monkeypatch.setenv("DAVY_DETECT_FALSE_ALARM_EVERY", "100000")
    return make_runtime("sqlite", tmp_path, SETTINGS)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> Any:
        assert run_app(["budget", *arguments]) == 0
        out = capsys.readouterr().out
        return json.loads(out) if "--json" in arguments else out

    return call


def test_it_says_where_the_budget_goes_what_it_costs_and_how_often_a_clean_week_has_an_alarm(
    runtime: Runtime, run: Run
) -> None:
    give_reference(runtime, count=2_000)
    send(runtime, envelopes(rows(2_000, 2), [200]))
    detect(runtime)
    found = run("--model", MODEL, "--seconds", "0", "--json")
    (monitor,) = found["monitors"]
    assert (monitor["monitor"], monitor["weight"]) == ("e-detector", 1.0)
    assert found["inferences_a_day"] == pytest.approx(86_400_000, rel=0.01)  # one a millisecond
    assert monitor["false_alarms_a_day"] == pytest.approx(864, rel=0.01)
    assert sum(found["features"].values()) == pytest.approx(1.0)
    assert {"inputs.income", "outputs.confidence"} <= found["features"].keys()
    assert [one["change"] for one in found["delays"]][1:5] == [
        "larger by 0.25 sd", "larger by 0.5 sd", "larger by 1 sd", "larger by 2 sd",
    ]  # fmt: skip
    assert found["delays"][5]["change"].startswith("category ")
    half, one, two = (found["delays"][n]["inferences"] for n in (2, 3, 4))
    assert half > one > two > 0
    week = found["clean_week"]
    assert 0 <= week["low"] <= week["alarms"] / week["runs"] <= week["high"] <= 1
    assert week["bound"] == 1.0  # 600 million inferences at one false alarm in 100 000
    quiet = run("--model", MODEL, "--seconds", "0", "--a-day", "1000", "--json")
    assert quiet["clean_week"]["bound"] == pytest.approx(0.07, rel=0.02)
    text = run("--model", MODEL, "--seconds", "0", "--a-day", "1000")
    assert all(title in text for title in ("e-detector", "larger by 0.5 sd", "looks", "outputs.entropy"))


def test_without_a_model_it_lists_all_that_have_a_reference(runtime: Runtime, run: Run) -> None:
    assert "no model has a reference yet" in run()
    give_reference(runtime, count=500)
    (row,) = run("--json")
    assert (row["model"], row["monitor"], row["false_alarm_every"]) == (MODEL, "e-detector", 100_000)
    assert row["false_alarms_a_day"] is None  # nothing was sent yet
    assert run("--a-day", "50000", "--json")[0]["days_between"] == pytest.approx(2.0)


def test_a_weight_that_nothing_has_is_said(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give_reference(runtime, count=500)
    monkeypatch.setenv("DAVY_DETECT_MONITOR_WEIGHTS", "e-detecter=2, e-*=3")
    monkeypatch.setenv("DAVY_DETECT_FEATURE_WEIGHTS", "*.income=2, income=2")
    assert run_app(["budget", "--model", MODEL, "--seconds", "0", "--a-day", "10"]) == 0
    told = capsys.readouterr().err
    assert "detect.monitor_weights: 'e-detecter' matches none of e-detector" in told
    assert "detect.feature_weights: 'income' matches none of" in told
    assert told.count("matches none") == 2


def test_a_model_without_a_reference_or_without_traffic_is_told_what_to_do(
    runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    send(runtime, envelopes(rows(10, 2), [10]))
    detect(runtime)
    assert run_app(["budget", "--model", MODEL]) == 2
    assert f"davy reference fit --model {MODEL} --from-log" in capsys.readouterr().err
    assert run_app(["budget", "--model", "rosk:1"]) == 2
    assert "did you mean risk:1" in capsys.readouterr().err
    give_reference(runtime, model="new:1", count=500)
    assert run_app(["budget", "--model", "new:1", "--seconds", "0"]) == 0
    assert "--a-day" in capsys.readouterr().err


def test_days_bound_what_a_busy_model_may_spend_and_installed_monitors_share_it() -> None:
    days = replace(SETTINGS, false_alarm_days=30.0)
    (busy,) = spending(days, ["e-detector"], 1e9)
    assert busy.a_day == pytest.approx(1 / 30)
    (idle,) = spending(days, ["e-detector"], 100.0)
    assert idle.a_day == pytest.approx(100 / 100_000)
    two = spending(SETTINGS, ["e-detector", "mine"], 1e6)
    assert sum(one.a_day or 0.0 for one in two) == pytest.approx(10.0)


def _reference(settings: DetectSettings) -> Reference:
    rng = np.random.default_rng(0)
    columns = {f"inputs.x{i}": rng.normal(size=5_000) for i in range(3)}
    colours = rng.choice(["red", "green", "blue"], p=[0.6, 0.35, 0.05], size=5_000)
    return Reference.fit(
        "m:1", Batch.from_columns("m:1", {**columns, "inputs.colour": colours}), settings=settings
    )


def test_delays_are_those_of_inferences_that_really_moved() -> None:
    reference = _reference(SETTINGS)
    delays = Rehearsal(reference, SETTINGS, 1e5, 5.0).delays()
    assert [one.missed for one in delays[2:]] == [0] * 4
    assert delays[-1].change.startswith("category 'blue' from ")
    half = delays[2]
    found = []
    for seed in range(10):
        rng = np.random.default_rng(100 + seed)
        columns = {f"inputs.x{i}": rng.normal(size=4_000) for i in range(3)}
        columns[half.feature] += 0.5
        colours = rng.choice(["red", "green", "blue"], p=[0.6, 0.35, 0.05], size=4_000)
        batch = Batch.from_columns("m:1", {**columns, "inputs.colour": colours})
        found.append(watch(ScoreDictionaryDetector(reference, SETTINGS), batch, [20])[0].event + 1)
    assert half.inferences is not None
    assert half.days == pytest.approx(half.inferences / 1e5)
    assert 0.7 < half.inferences / float(np.median(found)) < 1.4


def test_the_same_seeds_give_the_same_numbers_and_a_clean_week_is_nearly_quiet() -> None:
    reference = _reference(SETTINGS)
    first, again = (Rehearsal(reference, SETTINGS, 1_000.0, 0.0) for _ in range(2))
    assert (first.delays(), first.clean_week()) == (again.delays(), again.clean_week())
    week = Rehearsal(reference, SETTINGS, 1_000.0, 2.0).clean_week()
    assert week is not None
    assert week.inferences == 7_000
    assert week.low <= week.bound <= 0.07
    assert Rehearsal(reference, SETTINGS, None, 0.0).clean_week() is None


def test_a_shift_moves_the_shares_of_bins_as_it_moves_a_normal_variable() -> None:
    edges = np.linspace(-2, 2, 21)
    values = np.random.default_rng(0).normal(size=400_000)

    def counted(moved: float) -> np.ndarray:
        return np.bincount(np.searchsorted(edges, values + moved), minlength=22).astype(float)

    before = np.append(counted(0.0), [300.0, 7.0])
    found = shifted(before, 22, 0.5)
    assert found[22:].tolist() == [300.0, 7.0]
    assert np.abs(found[:22] - counted(0.5)).max() < 2_000  # of 400 000


def test_features_weigh_what_was_asked_for() -> None:
    reference = _reference(SETTINGS)
    found = features(reference, replace(SETTINGS, feature_weights=(("*.x0", "3"),)))
    assert found["inputs.x0"] == pytest.approx(0.5)
    assert found["inputs.colour"] == pytest.approx(1 / 6)
