"""What the miner keeps has an end: of retired models, of what nobody answers, of near-duplicates that chance drew."""

from __future__ import annotations

import logging

import pytest
from support.mining import (
    MODEL,
    in_state,
    make_candidate,
    make_flag,
    make_label,
    make_runtime,
    mine_once,
    run,
    send,
)

from davy import retired
from davy.codec import dump
from davy.event import Feedback
from davy.runtime import Runtime
from davy.store import Batch
from davy_miner.labels import FEEDBACK_NOTES, quality

pytestmark = pytest.mark.fast
DAY = 86_400 * 10**9


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000 * 10**9

    def __call__(self) -> int:
        return self.now


def apply(runtime: Runtime, batch: Batch) -> None:
    runtime.store.apply(batch)


def test_nobody_is_asked_about_a_retired_model_any_more() -> None:
    clock = Clock()
    runtime = make_runtime(clock=clock)
    send(runtime, *(make_flag(number, scores={"msp": 0.001}) for number in range(30)))
    mine_once(runtime, budget=5)
    assert f'model="{MODEL}"' in runtime.meter.exposition().decode()
    batch = Batch()
    retired.retire([MODEL], batch, at=clock.now, by="a person")
    apply(runtime, batch)
    send(runtime, make_flag(99, scores={"msp": 0.001}))
    clock.now += 120 * 10**9
    run(runtime)
    assert len(in_state(runtime, "selected")) == 5
    assert in_state(runtime, "waiting") == []
    assert all(not one.inference for one in in_state(runtime, "expired"))
    assert f'model="{MODEL}"' not in runtime.meter.exposition().decode()
    send(runtime, make_label(in_state(runtime, "selected")[0], 3))
    run(runtime)
    assert len(in_state(runtime, "labelled")) == 1


def test_no_more_is_chosen_than_may_wait_for_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    runtime = make_runtime(unanswered=8)
    send(runtime, *(make_flag(n, scores={"msp": 0.001}, control=0.02 * (n % 2)) for n in range(60)))
    assert mine_once(runtime, budget=10).budget == 10
    chosen, waiting = len(in_state(runtime, "selected")), len(in_state(runtime, "waiting"))
    with caplog.at_level(logging.WARNING):
        held = mine_once(runtime, budget=10)
    assert (held.budget, held.greedy, held.random, held.waiting) == (0, 0, 0, waiting)
    assert (len(in_state(runtime, "selected")), len(in_state(runtime, "waiting"))) == (chosen, waiting)
    assert len([one for one in caplog.messages if "mine.unanswered" in one]) == 1
    send(runtime, *(make_label(one, 3) for one in in_state(runtime, "selected")[:5]))
    assert mine_once(runtime, budget=10).greedy > 0


def test_near_duplicates_that_chance_drew_go_when_no_estimate_reaches_back_to_them() -> None:
    clock = Clock()
    runtime = make_runtime(clock=clock)
    asked = make_candidate(make_flag(1, control=0.02), state="labelled", arm="random", probability=0.02)
    batch = Batch().put("candidates", asked.id, dump(asked))
    for number, age in ((2, 100), (3, 10)):
        twin = make_candidate(
            make_flag(number, control=0.02),
            state="duplicate",
            arm="random",
            probability=0.02,
            duplicate_of=asked.id,
            logged_at=clock.now - age * DAY,
        )
        batch.put("candidates", twin.id, dump(twin))
        batch.put(FEEDBACK_NOTES.name, twin.id, dump(Feedback(twin.inference_id, 3, clock.now, model=MODEL)))
    apply(runtime, batch)
    run(runtime)
    assert [one.inference_id[-1] for one in in_state(runtime, "duplicate")] == [3]
    assert runtime.store.count(FEEDBACK_NOTES.name) == 1
    assert len(in_state(runtime, "labelled")) == 1


def test_the_estimate_looks_back_as_far_as_twins_are_kept() -> None:
    clock = Clock()
    runtime = make_runtime(clock=clock)
    batch, labels = Batch(), []
    for number, age, answer in ((1, 100, 5), (2, 10, 2)):
        one = make_candidate(
            make_flag(number, control=0.02),
            state="selected",
            arm="random",
            probability=0.02,
            logged_at=clock.now - age * DAY,
        )
        batch.put("candidates", one.id, dump(one))
        labels.append(make_label(one, answer))
    apply(runtime, batch)
    send(runtime, *labels)
    run(runtime)
    whole, recent = quality(runtime.store, MODEL), quality(runtime.store, MODEL, since=clock.now - 90 * DAY)
    assert whole is not None
    assert recent is not None
    assert (whole.rate, recent.rate) == (0.5, 0.0)
