"""A plug-in that fails does so alone: its model goes on, it is counted, said, and tried again after an upgrade."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.streams import MODEL, detect, envelopes, give_reference, make_runtime, rows, send

from davy import metrics
from davy.codec import dump_any, load, load_any
from davy.config import DetectSettings
from davy.event import INFERENCES, Evidence, dead_letters
from davy.runtime import Runtime
from davy_detectors import plugins
from davy_detectors.aggregates import Counts, Several, Sums
from davy_detectors.base import Alarm, Reading
from davy_detectors.checks import check_monitor
from davy_detectors.doctor import checks
from davy_detectors.drift import ScoreDictionaryDetector
from davy_detectors.incidents.incident import INCIDENTS, Incident
from davy_detectors.plugins import Plugins, suspensions
from davy_detectors.reference import Reference, reference
from davy_detectors.uncertainty import MaximumSoftmaxProbability

pytestmark = [pytest.mark.fast, pytest.mark.may_swallow]
ONSET = 2_000


class _Failure(Exception):
    pass


class Touchy(MaximumSoftmaxProbability):
    """A scorer that raises on what has drifted."""

    name = "touchy"
    stream = "outputs.touchy"

    def score(self, batch):
        if (batch.fields[("inputs", "income")].values > 6).any():
            raise _Failure("income")
        return super().score(batch)


class Shapeless(MaximumSoftmaxProbability):
    """A scorer that gives one number too many."""

    name = "shapeless"
    stream = None

    def score(self, batch):
        scores = super().score(batch)
        return np.append(scores, 0.0) if len(batch) < 1_000 else scores


def _watched(scored):
    fields = scored.batch.fields
    return fields.get(("inputs", "length")) or fields.get(("inputs", "income"))


class MeanShift:
    """A monitor whose statistic is made of real numbers: a CUSUM of one input, clipped."""

    name = "mean-shift"
    aggregate_type = Several

    def __init__(self, reference: Reference, settings: DetectSettings) -> None:
        self.reference, self._height = reference, 60.0 * np.log10(settings.false_alarm_every)
        self._sum, self._done = 0.0, 0

    def aggregate(self, scored, windows, total):
        column = next(
            (c for p, c in scored.batch.fields.items() if p in {("inputs", "length"), ("inputs", "income")}),
            None,
        )
        values = np.zeros(len(scored)) if column is None else column.values.astype(float)
        values = np.clip(np.nan_to_num(values, posinf=5, neginf=-5), -5, 5)
        sums = Sums.of_rows(values[:, None], windows, total)
        sizes = np.bincount(windows, minlength=total)
        return [Several({"sum": one, "seen": Counts([size])}) for one, size in zip(sums, sizes, strict=True)]

    def test(self, aggregates, sizes):
        alarms = []
        for one, size in zip(aggregates, sizes, strict=True):
            assert one["seen"].values.tolist() == [size]
            self._done += size
            self._sum = max(0.0, self._sum + float(one["sum"].values[0]) - size)
            if self._sum > self._height:
                found = [Evidence("inputs.income", "larger", 0.0, 2.0, 1.0)]
                alarms.append(
                    Alarm("mean", self._done - 1, max(0, self._done - 60), self._sum, self._height, found)
                )
                self._sum = 0.0
        return alarms

    def reading(self):
        return Reading(self._sum / self._height, {"inputs.income": self._sum / self._height})

    def sample_scores(self, scored, alarm):
        column = next(
            (c for p, c in scored.batch.fields.items() if p in {("inputs", "length"), ("inputs", "income")}),
            None,
        )
        return np.zeros(len(scored)) if column is None else np.nan_to_num(column.values.astype(float))

    def to_bytes(self):
        return dump_any([self.reference.version, self._sum, self._done])

    def restore(self, data):
        try:
            version, total, done = load_any(data)
        except Exception as error:
            raise _foreign("state") from error
        if version != self.reference.version:
            raise _foreign("reference")
        self._sum, self._done = total, done


def _foreign(what: str) -> Exception:
    from davy.errors import DecodeError

    return DecodeError("mean-shift", what, "start anew")


class RaisesInTest(MeanShift):
    name = "raises-in-test"

    def test(self, aggregates, sizes):
        if aggregates:
            raise _Failure("in test")
        return []


class RaisesInAggregate(MeanShift):
    name = "raises-in-aggregate"

    def aggregate(self, scored, windows, total):
        raise _Failure("in aggregate")


class TooFew(MeanShift):
    name = "too-few"

    def aggregate(self, scored, windows, total):
        return super().aggregate(scored, windows, total)[1:]


class NotMade(MeanShift):
    name = "not-made"

    def __init__(self, reference, settings):
        raise _Failure("when made")


class WrongEvent(MeanShift):
    name = "wrong-event"

    def test(self, aggregates, sizes):
        return [Alarm("mean", 10**9, 0, 1.0, 1.0, [Evidence("inputs.income", "larger", 0.0, 2.0, 1.0)])]


class _Point:
    """An entry point of a distribution that is not installed."""

    def __init__(self, kind: type, version: str = "1") -> None:
        self.name, self._kind = kind.name, kind
        self.value = f"third_party:{kind.__name__}"
        self.dist = type("Dist", (), {"version": version, "name": "third-party"})()

    def load(self) -> Any:
        return self._kind

    def __lt__(self, other: Any) -> bool:
        return bool(self.name < other.name)


Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Add plug-ins to those that are installed."""

    def add(*kinds: type, version: str = "1") -> None:
        mine = [_Point(kind, version) for kind in kinds]

        def found(group: str) -> list[EntryPoint | _Point]:
            of_kind = "davy.scorers", "davy.monitors"
            wanted = [one for one in mine if of_kind[not hasattr(one.load(), "score")] == group]
            return [*plugins_entry_points(group=group), *wanted]

        monkeypatch.setattr(plugins, "entry_points", found)
        monkeypatch.setattr(reference, "entry_points", found)

    plugins_entry_points = plugins.entry_points
    return add


def _drifting(runtime: Runtime) -> dict[str, Any]:
    """Give a model 4,000 inferences, the later half of them changed; return what is known of it then."""
    give_reference(runtime)
    shifted = np.arange(2 * ONSET) >= ONSET
    send(runtime, list(envelopes(rows(2 * ONSET, 7, shifted=shifted), [200])))
    detect(runtime)
    found: dict[str, Any] = load_any(runtime.store.get("detect", MODEL) or b"")
    return found


def _incidents(runtime: Runtime) -> list[Incident]:
    return [load(Incident, data) for _, data in runtime.store.items(INCIDENTS)]


FAILING = [Touchy, Shapeless, RaisesInTest, RaisesInAggregate, TooFew, NotMade, WrongEvent]


@pytest.mark.parametrize("kind", FAILING)
def test_a_plugin_that_fails_leaves_everything_else_as_it_would_be(
    kind: type, install: Install, tmp_path: Path
) -> None:
    settings = DetectSettings(false_alarm_every=1e5)
    runtime = make_runtime("memory", tmp_path, settings)
    install(kind)
    found = _drifting(runtime)
    assert found["events"] == 2 * ONSET
    letters = runtime.log.start(dead_letters(INFERENCES))
    assert not any(list(runtime.log.read(topic, part, at)) for (topic, part), at in letters.items())
    drift = [one for one in _incidents(runtime) if one.cause == "drift"]
    assert [one.features[0].feature for one in drift] == ["inputs.income"]
    kept = suspensions(runtime.store)
    what = "scorer" if hasattr(kind, "score") else "monitor"
    assert [(one.kind, one.name, one.model) for one in kept] == [(what, kind.name, MODEL)]
    told = [check for check in checks(runtime) if kind.name in check.what]
    assert [check.state for check in told] == ["wrong"]
    assert "blind for this" in told[0].found
    shown = runtime.meter.exposition().decode()
    assert f'davy_plugin_suspended{{kind="{what}",model="{MODEL}",plugin="{kind.name}"}} 1.0' in shown
    assert metrics.PLUGIN_FAILURES.name in shown


def test_another_version_of_a_suspended_plugin_is_tried_again(install: Install, tmp_path: Path) -> None:
    runtime = make_runtime("memory", tmp_path, DetectSettings(false_alarm_every=1e5))
    install(RaisesInTest)
    _drifting(runtime)
    data = runtime.store.get("references", MODEL)
    assert data is not None
    now = Reference.from_bytes(data)
    assert RaisesInTest.name not in Plugins(runtime).fresh(now)
    install(RaisesInTest, version="2")
    assert RaisesInTest.name in Plugins(runtime).fresh(now)
    assert suspensions(runtime.store) == []
    assert [check for check in checks(runtime) if RaisesInTest.name in check.what] == []


def test_a_monitor_of_real_numbers_keeps_the_contract_and_opens_an_incident(
    install: Install, tmp_path: Path
) -> None:
    check_monitor(MeanShift, microseconds=1e4)
    runtime = make_runtime("memory", tmp_path, DetectSettings(false_alarm_every=1e5))
    install(MeanShift)
    _drifting(runtime)
    assert {one.cause for one in _incidents(runtime)} == {"drift", "mean"}
    assert suspensions(runtime.store) == []


def test_what_the_drift_monitor_finds_owes_nothing_to_a_monitor_that_fails(
    install: Install, tmp_path: Path
) -> None:
    found = []
    for name, kind in (("well", MeanShift), ("failing", RaisesInTest)):
        runtime = make_runtime("memory", tmp_path / name, DetectSettings(false_alarm_every=1e5))
        install(kind)
        _drifting(runtime)
        found.append([one for one in _incidents(runtime) if one.cause == "drift"])
    assert found[0] == found[1] != []


def test_all_monitors_together_have_one_budget(install: Install, tmp_path: Path) -> None:
    runtime = make_runtime("memory", tmp_path, DetectSettings(false_alarm_every=1e5))
    now = give_reference(runtime)
    alone = Plugins(runtime).fresh(now)["e-detector"]
    install(MeanShift)
    shared = Plugins(runtime).fresh(now)["e-detector"]
    assert isinstance(alone, ScoreDictionaryDetector)
    assert isinstance(shared, ScoreDictionaryDetector)
    assert shared._threshold == 2 * alone._threshold == 2e5
