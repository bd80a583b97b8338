"""A replay says what detection would have raised, with other settings too, and changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.streams import BEGIN, MODEL, SECOND, detect, envelopes, give_reference, make_runtime, rows, send

from davy.codec import load
from davy.config import DetectSettings
from davy.event import FLAGS, INFERENCES
from davy.runtime import Runtime
from davy_detectors.history.log_view import LogView
from davy_detectors.incidents.incident import INCIDENTS, Incident
from davy_detectors.reference.active import put as put_reference
from davy_detectors.reference.fitting import fit_on_log
from davy_detectors.stream.replay import replay

pytestmark = pytest.mark.fast
SHIFTED = np.arange(8_000) >= 6_000


@pytest.fixture(params=["memory", "sqlite"])
def runtime(request: Any, tmp_path: Path) -> Runtime:
    runtime = make_runtime(request.param, tmp_path, DetectSettings())
    give_reference(runtime)
    send(runtime, envelopes(rows(8_000, 2, shifted=SHIFTED), [200]))
    return runtime


def incidents(runtime: Runtime) -> list[Incident]:
    return [load(Incident, data) for _, data in runtime.store.items(INCIDENTS.name)]


def test_a_replay_raises_what_detection_raises(runtime: Runtime) -> None:
    found = replay(runtime)
    detect(runtime)
    (expected,), (again,) = incidents(runtime), found.incidents
    kept = {"id", "onset_event", "onset_at", "raised_event", "samples", "size"}
    assert {name: getattr(again, name) for name in kept} == {name: getattr(expected, name) for name in kept}
    assert [one.inferences for one in found.models] == [8_000]
    assert found.models[0].flags["control"] > 0


def test_what_a_reference_has_learned_from_is_not_tested(tmp_path: Path) -> None:
    runtime = make_runtime("memory", tmp_path, DetectSettings())
    send(runtime, envelopes(rows(2_000, 2, shifted=np.arange(2_000) >= 1_000), [200]))
    fitted = fit_on_log(runtime, MODEL, last=10_000, since=None, until=None)
    put_reference(runtime.store, MODEL, fitted.to_bytes())
    detect(runtime)
    assert incidents(runtime) == []  # its own inferences, half of which drift
    send(runtime, envelopes(rows(2_000, 3), [200], first=2_000))
    detect(runtime)
    (found,) = incidents(runtime)  # the mixture it learned is over
    assert found.onset_event >= 2_000


def test_a_replay_changes_and_publishes_nothing(runtime: Runtime) -> None:
    before = (runtime.log.end(INFERENCES), runtime.log.committed("detect"))  # type: ignore[attr-defined]
    replay(runtime)
    assert (runtime.log.end(INFERENCES), runtime.log.committed("detect")) == before  # type: ignore[attr-defined]
    assert list(runtime.log.read(FLAGS, 0, 0)) == []
    assert incidents(runtime) == []
    assert list(runtime.store.items("positions")) == []


def test_other_settings_may_raise_something_else(runtime: Runtime) -> None:
    blind = replace(runtime.settings.detect, tolerance=50.0, control_share=0.0)
    found = replay(runtime, settings=blind)
    assert found.incidents == []
    assert "control" not in found.models[0].flags


def test_only_the_time_asked_for_is_read(runtime: Runtime) -> None:
    quiet = replay(runtime, until=BEGIN + 6 * SECOND)
    assert (quiet.incidents, quiet.models[0].inferences) == ([], 6_000)
    assert replay(runtime, since=BEGIN + 6 * SECOND).models[0].inferences == 2_000
    assert replay(runtime, since=BEGIN + 60 * SECOND).models == []
    assert replay(make_runtime("memory", Path(), DetectSettings())).incidents == []


def test_a_window_gives_exactly_the_records_of_its_time(runtime: Runtime) -> None:
    everything = list(runtime.log.read(INFERENCES, 0, 0))
    for since, until in ((None, None), (0, 3), (2, 2), (1, None), (None, 100)):
        low, high = (None if edge is None else BEGIN + edge * SECOND for edge in (since, until))
        window = LogView(runtime.log, INFERENCES, since=low, until=high)
        reader, found = window.consumer([INFERENCES], "any"), []
        while some := reader.poll(max_records=7):
            found += some
        expected = [one for one in everything if (low or 0) <= one.at < (high or 2**63)]
        assert found == expected
        assert reader.lag() == 0


def test_the_command_prints_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from davy.cli import run_app

    runtime = make_runtime("sqlite", tmp_path, DetectSettings())
    give_reference(runtime)
    send(runtime, envelopes(rows(8_000, 2, shifted=SHIFTED), [200]))
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}")
    other = tmp_path / "other.toml"
    other.write_text("[detect]\ntolerance = 50.0\n")
    assert run_app(["replay", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["features"][0]["feature"] for one in found["incidents"]] == ["inputs.income"]
    assert found["models"][0]["incidents"] == 1
    assert run_app(["replay", "--detectors", str(other)]) == 0
    assert "nothing would have been raised" in capsys.readouterr().out
    assert run_app(["replay", "--from", "yesterday"]) == 2
