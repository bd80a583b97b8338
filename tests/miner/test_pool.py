"""What a full pool lets go, and what it remembers of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.mining import MODEL, in_state, make_flag, make_runtime, mine_once, run, send, stored

from davy.consume import Loop
from davy_miner import rounds
from davy_miner.worker import Mine

pytestmark = pytest.mark.fast


def test_a_full_pool_expires_the_weakest_but_no_control_sample() -> None:
    runtime = make_runtime(pool=10)
    send(runtime, *(make_flag(n, control=0.02) for n in range(5)))
    send(runtime, *(make_flag(100 + n, scores={"msp": (n + 1) / 100}) for n in range(20)))
    run(runtime)
    waiting = in_state(runtime, "waiting")
    assert len(waiting) == 10
    assert sum(bool(c.scores) for c in waiting) == 5
    assert max(c.scores["msp"] for c in waiting if c.scores) == 0.05
    assert all(c.inference == b"" for c in in_state(runtime, "expired"))


def test_of_those_that_left_the_pool_the_last_stay_by_name_as_many_as_it_holds() -> None:
    runtime = make_runtime(pool=10)
    flags = [make_flag(n, scores={"msp": 0.01 + n / 1000}) for n in range(40)]  # the weakest come last
    for flag in flags:
        send(runtime, flag)
    run(runtime)
    assert len(in_state(runtime, "waiting")) == len(in_state(runtime, "expired")) == 10
    names = {int.from_bytes(one.inference_id, "big") for one in in_state(runtime, "expired")}
    assert names == set(range(30, 40))
    before = stored(runtime)
    send(runtime, *flags[30:])
    run(runtime)
    assert stored(runtime) == before


def test_control_samples_that_left_the_pool_stay_by_name_until_a_round_has_offered_them() -> None:
    now = [10**18]
    runtime = make_runtime(pool=10, clock=lambda: now[0])
    role = Mine(runtime)
    loop: Loop[Any] = Loop(runtime, role)
    send(runtime, *(make_flag(n, control=0.02) for n in range(40)))
    loop.drain()
    assert len(in_state(runtime, "expired")) == 30
    key = rounds.request(runtime, MODEL, 5)
    now[0] += 61 * 10**9
    loop.drain()
    now[0] += 61 * 10**9
    loop.drain()
    done = rounds.read(runtime.store, key)
    assert done is not None
    assert done.state == rounds.DONE
    assert {state: len(in_state(runtime, state)) for state in ("waiting", "selected", "expired")} == {
        "waiting": 0, "selected": 5, "expired": 10,
    }  # fmt: skip
    loop.close()


def test_control_samples_that_a_full_pool_pushed_out_lower_the_probability_of_those_that_stayed() -> None:
    runtime = make_runtime(pool=10, greedy_share=0.0)
    send(runtime, *(make_flag(n, control=0.02) for n in range(40)))
    result = mine_once(runtime, budget=5)
    assert result.random == 5
    assert {round(c.probability, 9) for c in in_state(runtime, "selected")} == {round(0.02 * 5 / 40, 9)}


def test_new_candidates_are_compared_with_as_many_of_the_chosen_as_a_pool_holds() -> None:
    runtime = make_runtime(pool=4, similarity=0.9)
    for first in (0, 4):
        send(runtime, *(make_flag(n, scores={"msp": 0.01}) for n in range(first, first + 4)))
        assert mine_once(runtime, budget=4).greedy == 4
    twins = {100: 0, 101: 5}  # the first four were chosen too long ago to be looked at
    for number, like in twins.items():
        same = np.random.default_rng([7, like]).normal(size=32).tolist()
        send(runtime, make_flag(number, embedding=same, scores={"msp": 0.01}))
    result = mine_once(runtime, budget=4)
    assert (result.greedy, result.duplicates) == (1, 1)
    (duplicate,) = in_state(runtime, "duplicate")
    assert int.from_bytes(duplicate.inference_id, "big") == 101
