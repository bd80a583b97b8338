"""How many models are counted by name, and what becomes of those that are over."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.streams import (
    BEGIN,
    MODEL,
    SECOND,
    Clock,
    detect,
    envelopes,
    give_reference,
    make_runtime,
    pass_time,
    read,
    rows,
    send,
)

from davy import retired
from davy.cli import run_app
from davy.codec import dump_any, load
from davy.config import DetectSettings, Settings
from davy.consume import Outbox
from davy.event import ALERTS, Alert
from davy.log.sqlite import SqliteLog
from davy.meter import Meter
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy.store import Batch
from davy_detectors.doctor import checks
from davy_detectors.incidents.incident import Incident
from davy_detectors.models.expiry import Expiry
from davy_detectors.models.known import Unlisted, known_models, unlisted
from davy_detectors.models.roster import UNLISTED, Sketch
from davy_detectors.plugins import SUSPENDED, Suspension, suspensions
from davy_detectors.stream.partial_aggregate import PartialAggregate
from davy_detectors.stream.totals import Totals

pytestmark = pytest.mark.fast
DAY = 86_400.0


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return make_runtime("memory", tmp_path, DetectSettings(models=3, false_alarm_every=100_000))


def appear(runtime: Runtime, names: Sequence[str], *, count: int = 10, first: int = 0) -> None:
    """Let inferences of models come and be tested."""
    for turn, name in enumerate(names):
        columns = rows(count, 1)
        send(runtime, list(envelopes(columns, [count], model=name, first=first + turn * count)), model=name)
    detect(runtime)


def events(runtime: Runtime, *, every: bool = False) -> dict[str, int]:
    """Return how many inferences are counted, by model."""
    found = known_models(runtime.store, runtime.settings.detect, runtime.clock(), retired=every)
    return {one.name: one.totals.events for one in found}


def shown(runtime: Runtime) -> set[str]:
    """Name the models in the metrics of a process that begins now."""
    fresh = replace(runtime, meter=Meter())
    detect(fresh)
    lines = fresh.meter.exposition().decode().splitlines()
    return {line.split('model="')[1].split('"')[0] for line in lines if 'model="' in line}


def collections(runtime: Runtime, model: str) -> list[str]:
    """Name the collections that hold something of a model."""
    names = (
        "models",
        "detect",
        "snapshots",
        "counting/0",
        "references",
        "reference_digests",
        "matchers",
        "retired",
    )
    found = [name for name in names if runtime.store.get(name, model) is not None]
    if any(one.model == model for one in suspensions(runtime.store)):
        found.append("suspended")
    return found + [name for name in (f"windows/{model}", f"partials/{model}") if runtime.store.count(name)]


def test_models_beyond_the_bound_are_counted_together_and_said(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    give_reference(runtime, model="honest:1")
    appear(runtime, ["a:1", "b:1"])
    with caplog.at_level(logging.WARNING):
        appear(runtime, [f"junk:{number}" for number in range(40)], first=1000)
        appear(runtime, ["honest:1", "a:1"], first=5000)
    assert events(runtime) == {"a:1": 20, "b:1": 10, "honest:1": 10}
    assert (unlisted(runtime.store, runtime.clock()).inferences, shown(runtime)) == (
        400,
        {"a:1", "b:1", "honest:1", UNLISTED},
    )
    assert 38 <= unlisted(runtime.store, runtime.clock()).models <= 42
    assert len([one for one in caplog.messages if "detect.models" in one]) == 1
    listed, told = [one for one in checks(runtime) if one.what == "models"]
    assert (listed.state, listed.found) == ("ok", "seen: a:1, b:1, honest:1")
    assert "400 inferences are counted together" in told.found
    assert "DAVY_DETECT_MODELS" in told.remedy
    assert "davy models keep" not in told.remedy


def test_a_model_with_a_reference_is_counted_however_many_there_are(runtime: Runtime) -> None:
    appear(runtime, [f"junk:{number}" for number in range(10)])
    give_reference(runtime, model="honest:1")
    appear(runtime, ["honest:1"], first=1000)
    assert events(runtime)["honest:1"] == 10
    assert len(events(runtime)) == 4


def test_retiring_one_makes_room_for_another(runtime: Runtime) -> None:
    appear(runtime, ["a:1", "b:1", "c:1"])
    retire(runtime, "b:1")
    appear(runtime, ["d:1"], first=1000)
    assert events(runtime) == {"a:1": 10, "c:1": 10, "d:1": 10}


def retire(runtime: Runtime, model: str) -> None:
    batch = Batch()
    retired.retire([model], batch, at=runtime.clock(), by="a person")
    runtime.store.apply(batch)
    pass_time(runtime, 2.0)
    detect(runtime)


def test_a_retired_model_leaves_metrics_and_memory_and_keeps_its_data(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    give_reference(runtime)
    shifted = np.arange(4_000) >= 2_000
    send(runtime, list(envelopes(rows(4_000, 7, shifted=shifted), [200])))
    detect(runtime)
    retire(runtime, MODEL)
    assert (events(runtime), shown(runtime)) == ({}, set())
    assert collections(runtime, MODEL) == [
        "detect",
        "snapshots",
        "counting/0",
        "references",
        "reference_digests",
        "retired",
    ]
    states = [load(Alert, data).state for data in read(runtime, ALERTS)]
    assert (states[0], states[-1]) == ("open", "resolved")
    with caplog.at_level(logging.WARNING):
        appear(runtime, [MODEL], first=5_000)
        appear(runtime, [MODEL], first=6_000)
    assert events(runtime, every=True) == {MODEL: 4_000}
    others = unlisted(runtime.store, runtime.clock())
    assert (others.models, others.inferences, others.retired) == (1, 20, [MODEL])
    told = [one.remedy for one in checks(runtime) if one.what == "models" and one.state == "warning"]
    assert told == [f"`davy models keep {MODEL}` takes back what is retired and still sends"]
    assert all(f"{MODEL} is retired and sends inferences" in one for one in caplog.messages)

    put_back(runtime, MODEL)
    pass_time(runtime, 2.0)
    appear(runtime, [MODEL], first=7_000)
    assert events(runtime) == {MODEL: 4_010}
    assert MODEL in shown(runtime)


def test_a_process_that_has_it_lets_go_of_a_model_that_is_retired_while_it_runs(runtime: Runtime) -> None:
    from davy_detectors.stream.role import DetectTarget

    give_reference(runtime)
    send(runtime, list(envelopes(rows(400, 7), [200])))
    target = DetectTarget(runtime)
    for turn in range(3):
        send(runtime, list(envelopes(rows(100, turn), [50], first=1000 + 100 * turn)))
        target.counting.drain()
        pass_time(runtime, 5.0)
        target.testing.turn()
    assert MODEL in runtime.meter.exposition().decode()
    batch = Batch()
    retired.retire([MODEL], batch, at=runtime.clock(), by="a person")
    runtime.store.apply(batch)
    pass_time(runtime, 2.0)
    target.testing.turn()
    assert MODEL not in runtime.meter.exposition().decode()
    send(runtime, list(envelopes(rows(100, 9), [50], first=2000)))
    target.counting.drain()
    pass_time(runtime, 5.0)
    target.testing.turn()
    assert MODEL not in runtime.meter.exposition().decode()
    assert events(runtime, every=True) == {MODEL: 700}
    target.close()


def test_a_model_that_is_kept_is_back_at_once_and_its_incidents_are_as_if_it_had_never_been_gone(
    runtime: Runtime,
) -> None:
    from davy_detectors.stream.role import DetectTarget

    give_reference(runtime)
    send(runtime, list(envelopes(rows(600, 7), [200])))
    target = DetectTarget(runtime)

    def turn(seconds: float) -> None:
        pass_time(runtime, seconds)
        target.counting.drain()
        target.testing.turn()

    turn(5.0)
    batch = Batch()
    retired.retire([MODEL], batch, at=runtime.clock(), by="a person")
    runtime.store.apply(batch)
    turn(2.0)
    send(
        runtime, list(envelopes(rows(100, 3), [100], first=10_000))
    )  # shown by nobody, and no evidence later
    turn(5.0)
    assert events(runtime) == {}
    put_back(runtime, MODEL)
    turn(0.1)  # it still holds what it looked up a second ago
    turn(2.0)
    (kept,) = known_models(runtime.store, runtime.settings.detect, runtime.clock())
    assert (kept.watched, kept.totals.events) == (True, 600)
    assert f'davy_inferences_total{{model="{MODEL}"}} 600.0' in runtime.meter.exposition().decode()

    shifted = np.arange(2_000) >= 1_000
    send(runtime, list(envelopes(rows(2_000, 8, shifted=shifted), [200], first=30_000)))
    turn(10.0)
    (incident,) = (load(Incident, data) for _, data in runtime.store.items("incidents"))
    assert abs(incident.onset_event - 1_600) <= 20
    assert abs(incident.onset_at - (BEGIN + 31_000 * 1_000_000)) <= 20 * 1_000_000
    numbers = [int.from_bytes(sample, "big") for sample in incident.samples]
    assert len(numbers) > 5
    assert min(numbers) >= 31_000 - 20
    target.close()


def test_keeping_a_model_while_it_is_being_retired_is_not_in_vain(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    appear(runtime, [MODEL])
    finish = Outbox.finish

    def meanwhile(outbox: Outbox, *arguments: Any) -> None:
        if retired.is_retired(MODEL, runtime.store):
            put_back(runtime, MODEL)
        finish(outbox, *arguments)

    monkeypatch.setattr(Outbox, "finish", meanwhile)
    retire(runtime, MODEL)
    assert runtime.store.get("models", MODEL) is not None


def put_back(runtime: Runtime, model: str) -> None:
    batch = Batch().add("models", model, b"")
    retired.keep([model], batch)
    runtime.store.apply(batch)


def test_a_new_reference_takes_a_retired_model_back(runtime: Runtime) -> None:
    appear(runtime, [MODEL])
    retire(runtime, MODEL)
    give_reference(runtime)
    pass_time(runtime, 2.0)
    appear(runtime, [MODEL], first=1_000)
    assert events(runtime) == {MODEL: 20}


def expire(runtime: Runtime, days: float) -> None:
    pass_time(runtime, days * DAY)
    expiry = Expiry(runtime)
    expiry.step()
    expiry.close()
    detect(runtime)


def test_silence_retires_a_model_and_its_next_inference_brings_it_back(runtime: Runtime) -> None:
    give_reference(runtime)
    appear(runtime, [MODEL, "a:1"])
    expire(runtime, 29)
    assert events(runtime) == {MODEL: 10, "a:1": 10}
    expire(runtime, 2)
    assert (events(runtime), shown(runtime)) == ({}, set())
    clock = runtime.clock
    assert isinstance(clock, Clock)
    send(runtime, list(envelopes(rows(10, 1), [10], first=31 * 86_400_000)))
    detect(runtime)
    assert events(runtime) == {MODEL: 20}
    assert retired.retirements(runtime.store).keys() == {"a:1"}


def test_a_retired_model_is_forgotten_in_the_end(runtime: Runtime) -> None:
    give_reference(runtime)
    appear(runtime, [MODEL], count=400)
    expire(runtime, 31)
    assert collections(runtime, MODEL) == [
        "detect",
        "snapshots",
        "counting/0",
        "references",
        "reference_digests",
        "retired",
    ]
    expire(runtime, 59)
    plug_in = Suspension("monitor", "mine", MODEL, "r", 0, "1", "KeyError: 'x'")
    runtime.store.apply(Batch().put(SUSPENDED.name, f"monitor/mine/{MODEL}", dump_any(asdict(plug_in))))
    assert {"detect", "suspended"} <= {*collections(runtime, MODEL)}
    expire(runtime, 2)
    assert collections(runtime, MODEL) == []


@pytest.mark.parametrize("days", [89, 91])
def test_a_resolved_incident_is_kept_for_a_time_and_an_open_one_for_good(runtime: Runtime, days: int) -> None:
    give_reference(runtime)
    shifted = (np.arange(9_000) >= 1_000) & (np.arange(9_000) < 2_000)
    send(runtime, list(envelopes(rows(9_000, 7, shifted=shifted), [200])))
    detect(runtime)
    assert [load(Alert, data).state for data in read(runtime, ALERTS)][-1] == "resolved"
    closed = runtime.store.count("incidents")
    settings = replace(runtime.settings.detect, idle_days=0.0)
    ageing = replace(runtime, settings=replace(runtime.settings, detect=settings))
    send(ageing, list(envelopes(rows(2_000, 8, shifted=np.ones(2_000, bool)), [200], first=9_000)))
    detect(ageing)
    assert runtime.store.count("incidents") == closed + 1
    expire(ageing, days)
    assert runtime.store.count("incidents") == (closed + 1 if days < 90 else 1)


def test_a_sender_cannot_make_reasons_without_bound() -> None:
    totals = Totals()
    for number in range(1_000):
        totals.add(
            PartialAggregate(
                dropped={f"reason {number}": 1, f"field:inputs.f{number}:why{number}": 1, "x" * 10**5: 1}
            )
        )
    assert (len(totals.dropped), totals.dropped.total()) == (32, 2_000)
    assert (len(totals.left_out), totals.left_out.total()) == (257, 1_000)


def test_a_sketch_counts_names_once_and_by_day() -> None:
    sketch, day = Sketch(), int(DAY) * SECOND
    names = {f"m:{number}" for number in range(20_000)}
    assert sketch.add(names, day)
    assert not sketch.add(names, day + SECOND)
    assert 19_500 < Sketch.load(sketch.dump()).about < 20_500
    assert sketch.add({"m:1"}, 2 * day)
    assert sketch.about == 1


BACK = ("keep", "reference", "room", "bound")


@pytest.mark.parametrize("way", BACK)
def test_a_model_that_is_shown_again_is_not_hidden_any_more(runtime: Runtime, way: str) -> None:
    """Whatever hid it: a person who retired it, or the bound."""
    appear(runtime, ["a:1", "b:1", "c:1"])
    if way == "keep":
        retire(runtime, "b:1")
        appear(runtime, ["b:1"], first=1000)
        assert unlisted(runtime.store, runtime.clock()) == Unlisted(1, 10, ["b:1"])
        (told,) = [one for one in checks(runtime) if one.state == "warning" and one.what == "models"]
        assert "davy models keep b:1" in told.remedy
        assert "DAVY_DETECT_MODELS" not in told.remedy
        put_back(runtime, "b:1")
    else:
        appear(runtime, ["d:1"], first=1000)
        assert unlisted(runtime.store, runtime.clock()) == Unlisted(1, 10, [])
        if way == "reference":
            give_reference(runtime, model="d:1")
        elif way == "room":
            retire(runtime, "b:1")
            appear(runtime, ["d:1"], first=2000)
        else:
            more = replace(runtime, settings=Settings(detect=replace(runtime.settings.detect, models=4)))
            appear(more, ["d:1"], first=2000)
    found = unlisted(runtime.store, runtime.clock())
    assert (found.models, found.retired, found.remedy) == (0, [], "")
    assert [one.what for one in checks(runtime) if one.what == "models"] == ["models"]


class TestCommands:
    @pytest.fixture
    def runtime(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
        monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}")
        monkeypatch.chdir(tmp_path)
        with open_runtime() as opened:
            clock = Clock()
            log = SqliteLog(opened.settings.url, clock=clock)
            yield replace(opened, log=log, clock=clock)
            log.close()

    def run(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> object:
        assert run_app(["models", *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    def test_models_are_listed_retired_and_kept(
        self, runtime: Runtime, capsys: pytest.CaptureFixture[str]
    ) -> None:
        give_reference(runtime)
        appear(runtime, [MODEL, "a:1"])
        listed = self.run(capsys, "list")
        assert isinstance(listed, dict)
        assert listed["not_shown"] == {"models": 0, "inferences": 0}
        first = {one["model"]: one for one in listed["models"]}[MODEL]
        assert (first["inferences"], first["reference"], first["retired"]) == (10, True, None)
        assert first["first"] == "2023-11-14T22:13:20+00:00"
        assert self.run(capsys, "retire", MODEL) == [{"model": MODEL, "retired": True}]
        assert [one["model"] for one in self.run(capsys, "list")["models"]] == ["a:1"]  # type: ignore[index]
        states = {one["model"]: one["state"] for one in self.run(capsys, "list", "--all")["models"]}  # type: ignore[index]
        assert states == {"a:1": "blind", MODEL: "retired"}
        pass_time(runtime, 2.0)
        detect(runtime)
        assert self.run(capsys, "keep", MODEL) == [{"model": MODEL, "retired": False}]
        pass_time(runtime, 2.0)
        assert MODEL in shown(runtime)

    def test_what_waits_in_the_log_is_said_where_nothing_was_counted(
        self, runtime: Runtime, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run_app(["models", "list"]) == 0
        assert "the first inference makes one" in capsys.readouterr().out
        send(runtime, list(envelopes(rows(3, 1), [3], model="a:1")), model="a:1")
        assert run_app(["models", "list"]) == 0
        assert "wait in the log for the role detect: 1; start `davy up`" in capsys.readouterr().out

    def test_a_model_that_does_not_exist_is_refused_and_none_is_retired(
        self, runtime: Runtime, capsys: pytest.CaptureFixture[str]
    ) -> None:
        appear(runtime, ["a:1"])
        assert run_app(["models", "retire", "a:1", "a:2"]) == 2
        assert "did you mean a:1?" in capsys.readouterr().err
        assert retired.retirements(runtime.store) == {}
