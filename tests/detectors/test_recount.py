"""`davy recount`: a fresh state from what the log holds, the same as the first time, and nothing else is touched."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.dying import Fuse, Killed, mortal
from support.partitions import Cluster, answer, traffic
from support.streams import (
    BEGIN,
    MODEL,
    SECOND,
    Clock,
    bury,
    detect,
    envelopes,
    give_reference,
    make_runtime,
    rows,
    send,
)

from davy.cli import run_app
from davy.config import DetectSettings
from davy.errors import SettingError, StoreError
from davy.event import INFERENCES
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy.store import Batch
from davy_detectors.stream.recount import Recounted, recount
from davy_detectors.stream.role import DetectTarget

pytestmark = pytest.mark.fast

COUNT, ONSET, END = 4_000, 1_500, 2_500
SETTINGS = DetectSettings(false_alarm_every=100_000, quiet_events=300)
SHIFTED = (
    (np.random.default_rng(3).random(COUNT) < 0.15) & (np.arange(COUNT) >= ONSET) & (np.arange(COUNT) < END)
)
VALUES = list(envelopes(rows(COUNT, 7, shifted=SHIFTED), [50]))
OTHER = "other:1"


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    opened = make_runtime("sqlite", tmp_path, SETTINGS)
    give_reference(opened)
    send(opened, VALUES)
    send(opened, envelopes(rows(200, 9), [50], model=OTHER), model=OTHER)
    detect(opened)
    yield opened
    opened.store.close()
    opened.log.close()


def everything(runtime: Runtime, *but: str) -> dict[str, Any]:
    names = ("positions", "watermarks", "references", "candidates", "keys", "labels", "models")
    every = {name: list(runtime.store.items(name)) for name in names if name not in but}
    return {**every, OTHER: runtime.store.get("detect", OTHER), MODEL: answer(runtime.store)}


def test_the_answer_is_that_of_the_first_time_and_nothing_else_is_touched(runtime: Runtime) -> None:
    for name in ("candidates", "keys", "labels"):
        runtime.store.apply(Batch().put(name, "one", b"precious"))
    before = everything(runtime)
    assert len(before[MODEL]["incidents"]) == 1
    found = {one.model: one for one in recount(runtime)}
    assert found == {
        MODEL: Recounted(MODEL, COUNT, COUNT, 0, 1),
        OTHER: Recounted(OTHER, 200, 200, 0, 0),
    }
    detect(runtime)
    assert everything(runtime) == before


def test_a_state_that_went_wrong_is_made_right_for_one_model_and_no_other(runtime: Runtime) -> None:
    right = answer(runtime.store)
    wrong = Batch()
    for name in ("detect", "snapshots"):
        wrong.delete(name, MODEL)
    for key, _ in list(runtime.store.items("incidents")):
        wrong.delete("incidents", key)
    runtime.store.apply(wrong)
    other = runtime.store.get("detect", OTHER)
    assert recount(runtime, MODEL) == [Recounted(MODEL, 0, COUNT, 0, 1)]
    assert answer(runtime.store) == right
    assert runtime.store.get("detect", OTHER) == other
    give_reference(runtime, model="unheard:1")
    with pytest.raises(SettingError, match="the log holds nothing of it"):
        recount(runtime, "unheard:1")


def test_for_a_model_that_does_not_exist_no_role_stands_aside(runtime: Runtime) -> None:
    target = DetectTarget(runtime)
    target.testing.turn()  # so it holds leases, and waiting for it would end in another error
    with pytest.raises(SettingError, match=f"no such model; did you mean {OTHER}"):
        recount(runtime, "othr:1", patience=0.1)
    target.close()


def test_what_is_sent_afterwards_is_counted_once_and_what_retention_took_is_told(runtime: Runtime) -> None:
    runtime.log.retain(before=[record.at for record in runtime.log.read(INFERENCES, 0, 0)][40])
    (_, found) = recount(runtime)
    assert (found.before, found.now, found.gone) == (COUNT, COUNT - 40 * 50, 40 * 50)
    send(runtime, envelopes(rows(500, 8), [50], first=COUNT))
    detect(runtime)
    assert answer(runtime.store)["state"]["events"] == COUNT - 40 * 50 + 500


def test_a_store_that_is_lost_is_filled_again_though_the_log_remembers_the_group(
    runtime: Runtime, tmp_path: Path
) -> None:
    right = answer(runtime.store)
    assert runtime.log.consumer([INFERENCES], "detect").position()[INFERENCES, 0] > 1  # the hint
    lost = replace(runtime, store=make_runtime("memory", tmp_path, SETTINGS).store)
    give_reference(lost)
    for model in ("", MODEL, OTHER):  # the store knows no model of the log but the one with a reference
        with pytest.raises(SettingError, match="nothing that it holds was counted yet: start `davy up`"):
            recount(lost, model)
    detect(lost)
    assert answer(lost.store) == right


def test_what_is_counted_of_another_log_is_not_counted_of_this_one(runtime: Runtime, tmp_path: Path) -> None:
    replaced = replace(runtime, log=make_runtime("memory", tmp_path, SETTINGS).log)
    assert recount(replaced) == []  # it holds nothing, which is another thing
    send(replaced, VALUES[:1])
    with pytest.raises(SettingError, match="was counted yet"):
        recount(replaced)
    detect(replaced)
    assert [one.now for one in recount(replaced)] == [50]


def test_the_command_tells_a_log_nobody_counted_from_one_that_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAVY_URL", f"sqlite:///{tmp_path}")
    with open_runtime() as opened:
        assert run_app(["recount"]) == 0
        assert capsys.readouterr().out == "counted again: the log holds nothing\n"
        send(replace(opened, clock=Clock()), VALUES[:1])
    for option in ([], ["--model", MODEL]):
        assert run_app(["recount", *option]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert "start `davy up`" in said.err


def test_a_death_at_any_step_leaves_a_model_as_it_was_or_as_it_is_to_be(runtime: Runtime) -> None:
    before, deaths, steps = answer(runtime.store), 0, 0
    while deaths == steps:
        steps += 1
        try:
            recount(mortal(runtime, Fuse(steps)), patience=1.0)
        except Killed:
            deaths += 1
        assert answer(runtime.store) == before
        bury(runtime, "forget", "role/detect", f"model/{MODEL}", f"model/{OTHER}")
    assert deaths > 4


def test_roles_that_run_stand_aside_and_go_on(runtime: Runtime) -> None:
    target = DetectTarget(runtime)
    target.counting.step()
    target.testing.turn()
    with pytest.raises(StoreError, match="somebody has held it"):
        recount(runtime, patience=0.1)  # it does not look whether it is asked
    worker = threading.Thread(target=target.run)
    worker.start()
    try:
        assert {one.model: one.now for one in recount(runtime)} == {MODEL: COUNT, OTHER: 200}
        send(runtime, envelopes(rows(500, 8), [50], first=COUNT))
    finally:
        runtime.stop.set()
        worker.join()
    detect(runtime)
    assert answer(runtime.store)["state"]["events"] == COUNT + 500


def test_a_log_of_several_partitions_whose_clock_was_ahead_is_counted_again_too() -> None:
    cluster = Cluster(3, SETTINGS)
    give_reference(cluster.runtime)
    process = cluster.start()
    columns, begin = rows(1_000, 7), BEGIN
    for first, jump in ((0, 0), (1_000, 3600 * SECOND), (2_000, 0)):
        for at, key, value in traffic(columns, hosts=8, first=first, begin=begin + jump):
            cluster.clock.now = at
            cluster.send(at, key, value)
        cluster.run(process)
        begin += SECOND
    cluster.finish()
    assert recount(cluster.runtime) == [Recounted(MODEL, 3_000, 3_000, 0, 0)]
