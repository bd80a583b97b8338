"""A plug-in has settings, a clock and a random generator of its own, where it asks for them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import numpy as np
import pytest
from support.plugged import Install, MeanShift, install
from support.streams import BEGIN, MODEL, detect, envelopes, give_reference, make_runtime, rows, send

from davy import config
from davy.codec import load_any
from davy.config import DetectSettings
from davy.errors import SettingError
from davy.runtime import Runtime
from davy_detectors.checks import check_monitor, check_scorer
from davy_detectors.context import PluginContext
from davy_detectors.doctor import checks
from davy_detectors.plugins import Plugins, suspensions
from davy_detectors.reference import Reference
from davy_detectors.stream.replay import replay
from davy_detectors.stream.role import DetectTarget
from davy_detectors.uncertainty import Margin, MaximumSoftmaxProbability

__all__ = ["install"]  # a fixture
pytestmark = [pytest.mark.fast, pytest.mark.may_swallow]


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a monitor."""

    height: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    side: Literal["up", "down"] = "up"
    loud: bool = False
    api_token: str = ""


class WithContext(MeanShift):
    """A monitor that draws numbers and looks at its clock."""

    name = "with-context"
    settings_type = Drawn
    met: ClassVar[list[PluginContext]] = []

    def __init__(self, reference: Reference, settings: DetectSettings, context: PluginContext) -> None:
        super().__init__(reference, settings)
        self._context, self._drawn = context, 0.0
        self.met.append(context)

    def test(self, aggregates, sizes):
        for size in sizes:
            self._done += size
            self._drawn += self._context.generator(self._done).random()
        return []

    def to_bytes(self):
        from davy.codec import dump_any

        return dump_any([self.reference.version, self._drawn, self._done])

    def restore(self, data):
        super().restore(data)
        self._drawn = self._sum


@dataclass(frozen=True)
class Power:
    """The settings of a scorer."""

    power: int = 1


class PoweredMargin(Margin):
    """A scorer with settings and a random tie break."""

    name = "powered"
    stream = None
    settings_type = Power

    @classmethod
    def fit(cls, batch, context):
        cls.learned = context.generator().random(), context.settings
        return cls.load({}, context)

    @classmethod
    def load(cls, state, context):
        made = cls()
        made.power = context.settings.power
        return made

    def score(self, batch):
        return super().score(batch) ** self.power


class Plain(MaximumSoftmaxProbability):
    """A scorer without settings."""

    name = "plain"
    stream = None


def _settings(tmp_path: Path, text: str = "", env: Mapping[str, str] | None = None) -> DetectSettings:
    file = tmp_path / "davy.toml"
    file.write_text(text)
    return config.load(env=env or {}, file=file).detect


def _runtime(directory: Path, detect: DetectSettings | None = None) -> Runtime:
    return make_runtime("memory", directory, detect or DetectSettings(false_alarm_every=1e5))


def _met(install: Install, runtime: Runtime) -> PluginContext:
    install(WithContext, PoweredMargin)
    WithContext.met.clear()
    Plugins(runtime).fresh(give_reference(runtime))
    return WithContext.met[-1]


def test_a_plugin_has_the_settings_of_its_own_section_as_the_type_that_it_declares(
    install: Install, tmp_path: Path
) -> None:
    file = '[detect.monitors.with-context]\nheight = 5\nside = "down"\n[detect.scorers.powered]\npower = 3\n'
    env = {
        "DAVY_DETECT_MONITORS_WITH_CONTEXT_HEIGHT": "7.5",
        "DAVY_DETECT_MONITORS_WITH_CONTEXT_LOUD": "true",
    }
    runtime = _runtime(tmp_path, _settings(tmp_path, file, env))
    assert _met(install, runtime).settings == Drawn(height=7.5, side="down", loud=True)
    assert PoweredMargin.learned[1] == Power(3)
    assert _met(install, _runtime(tmp_path)).settings == Drawn()


def test_all_may_stand_in_one_variable_or_override(install: Install, tmp_path: Path) -> None:
    text = "with-context.height=3, with-context.side=down"
    for detect_settings in (
        _settings(tmp_path, env={"DAVY_DETECT_MONITORS": text}),
        config.load(env={}, overrides={"detect.monitors": text}).detect,
        config.load(
            env={}, overrides={"detect.monitors": {"with-context": {"height": 3, "side": "down"}}}
        ).detect,
    ):
        assert _met(install, _runtime(tmp_path, detect_settings)).settings == Drawn(height=3, side="down")


WRONG = [
    ("heigth = 5", "detect.monitors.with-context.heigth", "no such setting; did you mean height? known are"),
    ("height = 0", "detect.monitors.with-context.height", "Expected `float` > 0"),
    ('height = "tall"', "detect.monitors.with-context.height", "Expected `float`, got `str`"),
    ('side = "left"', "detect.monitors.with-context.side", "left"),
]


@pytest.mark.parametrize(("line", "field", "remedy"), WRONG)
def test_a_wrong_key_or_value_is_refused_at_the_start_with_field_value_and_remedy(
    line: str, field: str, remedy: str, install: Install, tmp_path: Path
) -> None:
    install(WithContext, Plain)
    key, _, value = line.partition(" = ")
    for settings, told in (
        (_settings(tmp_path, f"[detect.monitors.with-context]\n{line}"), field),
        (
            _settings(tmp_path, env={f"DAVY_DETECT_MONITORS_WITH_CONTEXT_{key.upper()}": value.strip('"')}),
            f"DAVY_DETECT_MONITORS_WITH_CONTEXT_{key.upper()}",
        ),
    ):
        runtime = _runtime(tmp_path, settings)
        with pytest.raises(SettingError, match=remedy.replace("?", r"\?")) as caught:
            DetectTarget(runtime)
        assert caught.value.field == told
        assert str(caught.value.value) == value.strip('"')
        (check,) = [one for one in checks(runtime) if one.state == "wrong"]
        assert (check.what, check.remedy) == (f"setting {told}", caught.value.remedy)


def test_a_plugin_without_settings_takes_none(install: Install, tmp_path: Path) -> None:
    install(Plain)
    runtime = _runtime(tmp_path, _settings(tmp_path, "[detect.scorers.plain]\npower = 2\n"))
    with pytest.raises(SettingError, match="the scorer plain has no settings of its own"):
        DetectTarget(runtime)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[detect.monitors]\nwith-context = 3\n", "detect.monitors.with-context.*must be a table"),
        ('[detect]\nmonitors = "height=3"\n', None),
    ],
)
def test_what_is_no_section_is_told(text: str, told: str | None, tmp_path: Path) -> None:
    if told is not None:
        with pytest.raises(SettingError, match=told):
            _settings(tmp_path, text)
        return
    (check,) = [one for one in checks(_runtime(tmp_path, _settings(tmp_path, text))) if "setting" in one.what]
    assert check.state == "warning"


def test_settings_of_a_plugin_that_is_not_here_stop_nothing_and_are_told_with_near_names(
    install: Install, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(WithContext)
    text = "[detect.monitors.with-contxt]\nheight = 5\n"
    runtime = _runtime(tmp_path, _settings(tmp_path, text, {"DAVY_DETECT_SCORERS_GONE_POWER": "2"}))
    DetectTarget(runtime).close()
    told = {one.what: one.remedy for one in checks(runtime) if one.state == "warning"}
    assert "did you mean with-context?" in told["setting detect.monitors.with-contxt.height"]
    assert "setting DAVY_DETECT_SCORERS_GONE_POWER" in told
    assert "with-contxt" in caplog.text


def test_doctor_lists_them_without_what_may_be_a_secret(install: Install, tmp_path: Path) -> None:
    install(WithContext)
    text = '[detect.monitors.with-context]\nheight = 5\napi_token = "lamp"\n'
    runtime = _runtime(tmp_path, _settings(tmp_path, text))
    (check,) = [one for one in checks(runtime) if one.what == "settings of monitor with-context"]
    assert (check.state, check.found) == ("ok", "height=5, api_token=…")
    shown = [one for one in config.describe(runtime.settings) if one.key == "detect.monitors"]
    assert [one.shown for one in shown] == ["set"]


def test_a_plugin_that_cannot_be_imported_stops_nothing(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(WithContext)
    runtime = _runtime(tmp_path, _settings(tmp_path, "[detect.monitors.with-context]\nheight = 5\n"))
    reference = give_reference(runtime)
    from support import plugged

    monkeypatch.setattr(plugged._Point, "load", lambda self: __import__("there_is_no_such_module"))
    assert sorted(Plugins(runtime).fresh(reference)) == ["e-detector"]
    (one,) = suspensions(runtime.store, runtime.clock())
    assert one.name == "with-context"
    assert "there_is_no_such_module" in one.error


def test_a_generator_owes_its_numbers_to_plugin_model_and_window_alone() -> None:
    drawn = [
        PluginContext(kind, name, model).generator(window).random()
        for kind, name, model, window in [
            ("monitor", "a", "m:1", 0),
            ("monitor", "a", "m:1", 0),
            ("scorer", "a", "m:1", 0),
            ("monitor", "b", "m:1", 0),
            ("monitor", "a", "m:2", 0),
            ("monitor", "a", "m:1", 1),
            ("monitor", "a", "m:1", -1),
        ]
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == len(drawn) - 1


@pytest.mark.parametrize("sizes", [[200], [37, 150, 1]])
def test_a_monitor_that_draws_gives_the_same_bytes_however_its_inferences_come(
    sizes: list[int], install: Install, tmp_path: Path
) -> None:
    states = []
    for name, cut, late in (("here", [50], False), ("there", sizes, True)):
        install(WithContext)
        runtime = _runtime(tmp_path / name)
        give_reference(runtime)
        parts = list(envelopes(rows(2_000, 7), cut))
        send(runtime, [*parts[1:], parts[0]] if late else parts)
        for records in (8,) if not late else (1, 3):
            detect(runtime, max_records=records)
        target = DetectTarget(runtime)
        target.testing.turn()
        (run,) = [leased.run for leased in target.testing._leased.values() if leased.run is not None]
        states.append(run._run.monitors["with-context"].to_bytes())
        target.close()
    assert states[0] == states[1]
    assert load_any(states[0])[1] > 0


def test_a_scorer_draws_the_same_numbers_whenever_it_is_fitted(install: Install, tmp_path: Path) -> None:
    install(PoweredMargin)
    runtime = _runtime(tmp_path)
    fitted = [(give_reference(runtime).version, PoweredMargin.learned[0]) for _ in range(2)]
    assert fitted[0] == fitted[1]


def test_the_clock_of_a_plugin_is_that_of_the_runtime_and_in_a_replay_of_the_log(
    install: Install, tmp_path: Path
) -> None:
    runtime = _runtime(tmp_path)
    context = _met(install, runtime)
    assert context.clock() == runtime.clock() == BEGIN
    send(runtime, list(envelopes(rows(1_000, 7), [200])))
    runtime.clock.now += 10**15  # type: ignore[attr-defined]
    WithContext.met.clear()
    replay(replace(runtime, clock=lambda: 0))
    assert BEGIN <= WithContext.met[-1].clock() < runtime.clock()


def test_the_kit_proves_plugins_with_a_context(install: Install) -> None:
    class Shifts(MeanShift):
        settings_type = Drawn

        def __init__(self, reference: Reference, settings: DetectSettings, context: PluginContext) -> None:
            super().__init__(reference, settings)
            assert context.settings == Drawn()

    class Powered(PoweredMargin):
        pass

    any_scorer: Any = Powered
    check_monitor(Shifts, microseconds=1e4)
    check_scorer(any_scorer, microseconds=1e4)


def test_the_settings_of_plugins_load_no_plugin(tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "davy.toml").write_text("[detect.monitors.mine]\nheight = 5\n")
    code = "import sys, davy.config as c; c.load(); print('davy_detectors' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"


def test_the_model_of_the_context_is_the_one_it_works_for(install: Install, tmp_path: Path) -> None:
    context = _met(install, _runtime(tmp_path))
    assert (context.kind, context.name, context.model) == ("monitor", "with-context", MODEL)
    assert np.isfinite(context.generator().random())
