"""What cannot be asked is said, costs nothing, and can be sent again; what is alike is known from round to round."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.mining import MODEL, in_state, make_flag, make_runtime, mine_once, run, send, stored

from davy.codec import dump
from davy.consume import Loop
from davy.errors import LabelError, SettingError
from davy.event import Label
from davy.health import Check
from davy.runtime import Runtime
from davy.store import Batch
from davy_miner import orders, rounds
from davy_miner.candidates import CANDIDATES, Candidate
from davy_miner.doctor import checks
from davy_miner.problems import Problem
from davy_miner.rounds import calibration_of
from davy_miner.worker import Mine

pytestmark = pytest.mark.fast


class Picky:
    """A labelling tool that cannot ask about some inferences, and refuses others when they are sent."""

    def __init__(self, runtime: Runtime, *, unfit: set[int] = frozenset(), refused: set[int] = frozenset()):  # type: ignore[assignment]
        self.runtime, self.unfit, self.refused = runtime, unfit, refused

    def problem(self, candidate: Candidate) -> Problem | None:
        number = int.from_bytes(candidate.inference_id)
        return Problem("nothing to look at", "nothing to see") if number in self.unfit else None

    def push(self) -> int:
        batch, chosen = Batch(), in_state(self.runtime, "selected")
        for candidate in chosen:
            after = replace(candidate, state="pushed", task=1)
            if int.from_bytes(candidate.inference_id) in self.refused:
                after = replace(candidate, state="unlabellable", reason="refused with 400", owed=True)
            batch.put(CANDIDATES.name, candidate.id, dump(after))
        self.runtime.store.apply(batch)
        return len(chosen)

    def pull(self, batch: Batch) -> list[Label]:
        return []


class Working:
    """A miner at work, a step at a time."""

    def __init__(self, runtime: Runtime, tool: Picky) -> None:
        self.now = 10**18
        self.runtime = replace(runtime, clock=lambda: self.now)
        self._role = Mine(self.runtime, tool)
        self._loop: Loop[Any] = Loop(self.runtime, self._role)

    def work(self, times: int = 6) -> None:
        assert self._role.exchange is not None
        for _ in range(times):
            self.now += 10**9
            self._loop.step()
            self._role.exchange.push.wait(10)

    def close(self) -> None:
        assert self._role.exchange is not None
        self._role.exchange.close()
        self._loop.close()


def numbers(runtime: Runtime, *states: str) -> set[int]:
    return {int.from_bytes(one.inference_id) for one in in_state(runtime, *states)}


def flags(count: int, **more: Any) -> list[Any]:
    return [make_flag(n, scores={"msp": (n + 1) / 100}, **more) for n in range(count)]


def test_a_round_passes_over_what_cannot_be_asked_and_spends_its_labels_on_the_next(
    spared: pytest.LogCaptureFixture,
) -> None:
    runtime = make_runtime(greedy_share=1.0)
    send(runtime, *flags(10))
    key = rounds.request(runtime, MODEL, 3)
    working = Working(runtime, Picky(runtime, unfit={0, 2}))
    working.work()
    working.close()
    assert numbers(runtime, "unlabellable") == {0, 2}
    assert numbers(runtime, "pushed") == {1, 3, 4}
    assert {one.reason for one in in_state(runtime, "unlabellable")} == {"nothing to look at"}
    done = rounds.read(runtime.store, key)
    assert done is not None
    assert (done.results[0].greedy, done.results[0].unlabellable) == (3, 2)
    assert sum("cannot become tasks" in line for line in spared.messages) == 1
    exposed = runtime.meter.exposition().decode()
    assert 'davy_unlabellable_total{cause="nothing to see",model="digits:1"} 2.0' in exposed
    assert 'davy_candidates{model="digits:1",state="unlabellable"} 2.0' in exposed


def test_what_the_tool_refuses_gives_its_budget_back_at_once(caplog: pytest.LogCaptureFixture) -> None:
    runtime = make_runtime(greedy_share=1.0)
    send(runtime, *flags(10))
    rounds.request(runtime, MODEL, 3)
    working = Working(runtime, Picky(runtime, refused={0, 1}))
    working.work()
    assert numbers(runtime, "unlabellable") == {0, 1}
    assert numbers(runtime, "pushed") == {2, 3, 4}
    assert not any(one.owed for one in stored(runtime).values())
    working.work()
    working.close()
    assert numbers(runtime, "pushed") == {2, 3, 4}, "it is given back once"


def test_what_the_random_arm_gets_back_is_spent_by_the_next_random_arm() -> None:
    runtime = make_runtime(greedy_share=0.0)
    send(runtime, *(make_flag(n, control=0.5) for n in range(10)))
    rounds.request(runtime, MODEL, 10)
    working = Working(runtime, Picky(runtime, refused={0, 1, 2}))
    working.work()
    assert len(numbers(runtime, "pushed")) == 7
    send(runtime, *(make_flag(n, control=0.5) for n in range(10, 40)))
    working.work(2)
    assert len(numbers(runtime, "waiting")) == 30, "control samples wait for a round of their own"
    key = rounds.request(runtime, MODEL, 5)
    working.work()
    working.close()
    done = rounds.read(runtime.store, key)
    assert done is not None
    assert done.results[0].random == 8


def test_retry_sends_again_and_reject_ends_it() -> None:
    runtime = make_runtime(greedy_share=1.0)
    send(runtime, *flags(6))
    rounds.request(runtime, MODEL, 2)
    tool = Picky(runtime, unfit={0, 1})
    working = Working(runtime, tool)
    working.work()
    again, gone = in_state(runtime, "unlabellable")
    tool.unfit = set()
    orders.order(runtime, "retry", [again.id])
    orders.order(runtime, "reject", [gone.id])
    assert orders.open_orders(runtime.store, [again.id, gone.id]) == sorted([again.id, gone.id])
    working.work()
    working.close()
    found = stored(runtime)
    assert (found[again.id].state, found[again.id].reason) == ("pushed", "")
    assert (found[gone.id].state, found[gone.id].inference) == ("rejected", b"")
    assert orders.open_orders(runtime.store, [again.id, gone.id]) == []
    send(runtime, *flags(6))
    run(runtime)
    assert stored(runtime)[gone.id].state == "rejected", "a flag that comes twice does not bring it back"


def test_an_order_for_what_cannot_be_ordered_is_refused_with_the_reason() -> None:
    runtime = make_runtime()
    send(runtime, *flags(2))
    run(runtime)
    (one, _) = stored(runtime).values()
    with pytest.raises(LabelError, match="is waiting: only what is unlabellable"):
        orders.order(runtime, "retry", [one.id])
    with pytest.raises(SettingError, match="no such candidate"):
        orders.order(runtime, "reject", [one.id, "nothing"])
    assert orders.open_orders(runtime.store, [one.id]) == []


def test_doctor_names_what_cannot_be_asked_by_reason_and_how_to_go_on() -> None:
    runtime = make_runtime(greedy_share=1.0)
    send(runtime, *flags(6))
    rounds.request(runtime, MODEL, 2)
    working = Working(runtime, Picky(runtime, unfit={0, 1}))
    working.work()
    working.close()
    (found,) = [one for one in checks(runtime) if one.what == "tasks of digits:1"]
    assert isinstance(found, Check)
    assert found.state == "warning"
    assert "2 selected candidates cannot become tasks: 2 × nothing to look at" in found.found  # noqa: RUF001
    assert "davy candidates retry --model digits:1" in found.remedy


def pool_of(first: int, count: int, *, control: float, spread: float = 1.0) -> list[Any]:
    """Flags of rows of four numbers: distinct, but of a cosine above 0.95 now and then."""
    made = []
    for number in range(first, first + count):
        row = np.random.default_rng([3, number]).normal(size=4) * spread
        inputs = {f"x{place}": float(value) for place, value in enumerate(row)}
        scores = {} if control else {"msp": 0.1}
        made.append(make_flag(number, inputs=inputs, embedding=(), control=control, scores=scores))
    return made


def test_a_second_round_without_control_draws_keeps_the_threshold_and_the_pool() -> None:
    runtime = make_runtime()
    send(runtime, *pool_of(0, 120, control=0.5))
    first = mine_once(runtime, 20)
    kept = calibration_of(runtime.store, MODEL)
    assert kept is not None
    assert (kept.threshold, kept.samples) == (first.threshold, 120)
    send(runtime, *pool_of(1000, 229, control=0.0))
    second = mine_once(runtime, 20)
    assert second.threshold == first.threshold
    assert len(in_state(runtime, "waiting")) > 180
    assert calibration_of(runtime.store, MODEL) == kept


def test_a_pool_that_was_never_calibrated_loses_equal_samples_only() -> None:
    runtime = make_runtime()
    send(runtime, *pool_of(0, 229, control=0.0), *pool_of(0, 1, control=0.0))
    found = mine_once(runtime, 20)
    assert (found.threshold, found.duplicates) == (0.999, 0)
    assert found.waiting == 209
