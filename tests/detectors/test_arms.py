"""Arms are a contract: ours keep it, a third party's is found with chance and settings of its own, and fails alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.streams import MODEL, detect, envelopes, give_reference, make_runtime, read_flags, rows, send

from davy.codec import dump_any, load
from davy.config import DetectSettings
from davy.config import load as load_settings
from davy.errors import SettingError
from davy.event import INFERENCES, Draw, Flag, dead_letters
from davy.plugins import own_settings
from davy.runtime import Runtime
from davy_detectors import plugins
from davy_detectors.doctor import checks
from davy_detectors.flagging import Drawn
from davy_detectors.flagging.contract import uniform
from davy_detectors.plugins import suspensions

pytestmark = [pytest.mark.fast, pytest.mark.may_swallow]
COUNT, ONSET = 4_000, 2_000
Install = Callable[..., None]


class _Failure(Exception):
    pass


class Rich:
    """A third party's arm: a share of what has a large income, by chance."""

    name = "rich"
    made_with: Mapping[str, Any] = {}

    def __init__(self, settings, own):
        type(self).made_with = own
        self._share = float(own.get("share", 0.25))

    def draw(self, traffic, chance):
        income = traffic.batch.fields["inputs", "income"].values
        chosen = (income > 1.0) & (chance.uniform() < self._share)
        assert chance.generator().random() == chance.generator().random()
        return [Drawn(chosen, self._share * traffic.rate, income.astype(float), "income")]


class Raises(Rich):
    name = "raises"

    def draw(self, traffic, chance):
        raise _Failure("in draw")


class NotMade(Rich):
    name = "not-made"

    def __init__(self, settings, own):
        raise _Failure("when made")


class Shapeless(Rich):
    name = "shapeless"

    def draw(self, traffic, chance):
        return [replace(one, score=one.score[:-1]) for one in super().draw(traffic, chance)]


class Impossible(Rich):
    name = "impossible"

    def draw(self, traffic, chance):
        return [replace(one, probability=one.probability + 1.0) for one in super().draw(traffic, chance)]


class Twice(Rich):
    name = "twice"

    def draw(self, traffic, chance):
        return 2 * super().draw(traffic, chance)


class Meddles(Rich):
    """Writes into what other arms see, too."""

    name = "meddles"

    def draw(self, traffic, chance):
        for rank in traffic.ranks.values():
            rank[:] = 0.0
        traffic.rate[:] = 1e-9
        return []


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


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Add arms to those that are installed."""
    installed = plugins.entry_points

    def add(*kinds: type, version: str = "1") -> None:
        mine = [_Point(kind, version) for kind in kinds]

        def found(group: str) -> list[Any]:
            return [*installed(group=group), *(mine if group == "davy.arms" else ())]

        monkeypatch.setattr(plugins, "entry_points", found)

    return add


def _runtime(path: Path, **settings: Any) -> Runtime:
    return make_runtime("memory", path, DetectSettings(false_alarm_every=1e5, **settings))


def _flags(runtime: Runtime, *, reference: bool = True) -> dict[str, Flag]:
    """Let 4,000 inferences be counted, the later half of them changed; return the flags by id."""
    if reference:
        give_reference(runtime)
    shifted = np.arange(COUNT) >= ONSET
    send(runtime, list(envelopes(rows(COUNT, 7, shifted=shifted), [200])))
    detect(runtime)
    return read_flags(runtime)


def _draws(flags: Mapping[str, Flag], *kinds: str) -> dict[bytes, list[Draw]]:
    found: dict[bytes, list[Draw]] = {}
    for flag in flags.values():
        drawn = [draw for draw in flag.draws if draw.kind in kinds]
        found.setdefault(flag.inference_id, []).extend(drawn)
    return {name: sorted(drawn, key=repr) for name, drawn in found.items() if drawn}


def test_what_an_arm_of_a_third_party_draws_carries_its_name_and_probability(
    install: Install, tmp_path: Path
) -> None:
    install(Rich)
    runtime = _runtime(tmp_path, arms=(("rich", "share", 0.5),))
    flags = _flags(runtime)
    drawn = [draw for flag in flags.values() for draw in flag.draws if draw.kind == "rich"]
    assert {(draw.name, draw.probability) for draw in drawn} == {("income", 0.5)}
    assert Rich.made_with == {"share": 0.5}
    rich = (rows(COUNT, 7, shifted=np.arange(COUNT) >= ONSET)["inputs.income"] > 1.0).sum()
    assert abs(len(drawn) - 0.5 * rich) < 5 * np.sqrt(0.25 * rich)
    assert f'davy_flags_total{{model="{MODEL}",reason="rich:income"}}' in runtime.meter.exposition().decode()


def test_an_arm_draws_independently_of_the_control_arm(install: Install, tmp_path: Path) -> None:
    ids = np.frombuffer(b"".join(number.to_bytes(16, "big") for number in range(20_000)), "V16")
    ours, theirs = (uniform(ids, MODEL, name) for name in ("control", "rich"))
    assert abs(np.corrcoef(ours, theirs)[0, 1]) < 5 / np.sqrt(len(ids))
    assert abs(((ours < 0.02) & (theirs < 0.5)).mean() - 0.01) < 5 * np.sqrt(0.01 / len(ids))


FAILING = [Raises, NotMade, Shapeless, Impossible, Twice, Meddles]


@pytest.mark.parametrize("kind", FAILING)
@pytest.mark.parametrize("reference", [True, False])
def test_an_arm_that_fails_is_suspended_and_the_others_draw_the_same_to_the_bit(
    kind: type, reference: bool, install: Install, tmp_path: Path
) -> None:
    install(Rich)
    well = _flags(_runtime(tmp_path / "well"), reference=reference)
    runtime = _runtime(tmp_path / "ill")
    install(Rich, kind)
    ill = _flags(runtime, reference=reference)
    assert list(well) == list(ill)
    assert [flag.draws for flag in well.values()] == [flag.draws for flag in ill.values()]
    assert "control" in {draw.kind for flag in well.values() for draw in flag.draws}
    assert [(one.kind, one.name, one.model) for one in suspensions(runtime.store)] == [
        ("arm", kind.name, MODEL)
    ]
    letters = runtime.log.start(dead_letters(INFERENCES))
    assert not any(list(runtime.log.read(topic, part, at)) for (topic, part), at in letters.items())
    (told,) = [check for check in checks(runtime) if kind.name in check.what]
    assert told.state == "wrong"
    shown = runtime.meter.exposition().decode()
    assert f'davy_plugin_suspended{{kind="arm",model="{MODEL}",plugin="{kind.name}"}} 1.0' in shown
    assert f'davy_plugin_failures_total{{kind="arm",plugin="{kind.name}"}}' in shown


def test_an_arm_with_the_name_of_ours_is_left_out_and_said(
    install: Install, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    well = _flags(_runtime(tmp_path / "well"))
    install(type("Control", (Rich,), {"name": "control"}))
    assert _flags(_runtime(tmp_path / "two")) == well
    assert "arm control of third_party:Control is left out" in caplog.text


def test_an_upgraded_arm_is_tried_again(install: Install, tmp_path: Path) -> None:
    runtime = _runtime(tmp_path)
    install(Raises)
    _flags(runtime)
    assert suspensions(runtime.store)
    mended = type("Mended", (Rich,), {"name": "raises"})
    install(mended, version="2")
    send(runtime, list(envelopes(rows(COUNT, 8), [200], first=COUNT)))
    detect(runtime)
    assert suspensions(runtime.store) == []
    assert _draws(read_flags(runtime), "raises")


def test_how_inferences_come_together_changes_nothing_an_arm_draws(install: Install, tmp_path: Path) -> None:
    install(Rich)
    found = []
    for size in (50, 200):
        runtime = _runtime(tmp_path / str(size))
        send(runtime, list(envelopes(rows(COUNT, 7), [size])))
        detect(runtime)
        found.append(_draws(read_flags(runtime), "rich", "control"))
    assert found[0] == found[1] != {}


def test_a_draw_of_an_older_record_is_read_with_its_kind_and_name() -> None:
    old = {
        "v": 1,
        "id": "f",
        "inference_id": bytes(16),
        "model": "m:1",
        "at": 7,
        "scores": {},
        "inference": b"",
    }
    arms = ("control", "score:msp", "incident:ab:12", "custom")
    draws = [{"arm": arm, "probability": 0.5, "score": 1.0} for arm in arms]
    read = load(Flag, dump_any({**old, "draws": draws}))
    assert [(draw.kind, draw.name) for draw in read.draws] == [
        ("control", ""), ("score", "msp"), ("incident", "ab:12"), ("custom", ""),
    ]  # fmt: skip
    assert [draw.arm for draw in read.draws] == list(arms)
    assert read.draws[1] == Draw("score", "msp", 0.5, 1.0)


def test_settings_of_arms_come_from_the_file_and_from_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "davy.toml"
    file.write_text("[detect]\ncontrol_share = 0.05\n[detect.arms.rich]\nshare = 0.5\n")
    assert own_settings(load_settings(env={}, file=file).detect.arms, "rich") == {"share": 0.5}
    given = load_settings(env={"DAVY_DETECT_ARMS": "rich.share=0.1, poor.share=0.2"}).detect.arms
    assert (own_settings(given, "rich"), own_settings(given, "poor")) == ({"share": "0.1"}, {"share": "0.2"})
    with pytest.raises(SettingError, match="a table for each plug-in"):
        load_settings(env={}, overrides={"detect.arms": {"rich": 1}})
    with pytest.raises(SettingError, match="name the plug-in and its setting"):
        load_settings(env={"DAVY_DETECT_ARMS": "rich=0.1"})
