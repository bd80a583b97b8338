"""The miner's role: replay, the bound, rounds in one transaction, labels in any order."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from support.mining import (
    MODEL,
    everything,
    in_state,
    make_candidate,
    make_flag,
    make_label,
    make_runtime,
    mine_once,
    run,
    send,
    stored,
)

from davy.codec import dump, load, load_any
from davy.consume import Loop
from davy.errors import BlobError, LabelError, StoreError
from davy.event import FEEDBACK, FLAGS, Feedback, Label
from davy.log import Message
from davy.runtime import Runtime
from davy.store import Batch, Lease, Store, open_store
from davy_miner import rounds
from davy_miner.candidates import Candidate
from davy_miner.labels import quality, revisions_of
from davy_miner.worker import Mine

pytestmark = pytest.mark.fast


def test_the_same_flags_twice_give_the_same_candidates() -> None:
    flags = [make_flag(n, scores={"msp": 0.01}, control=0.02 if n % 3 else 0.0) for n in range(30)]
    once, twice = make_runtime(pool=20), make_runtime(pool=20)
    send(once, *flags)
    send(twice, *flags, *flags)
    run(once)
    run(twice)
    assert len(stored(once)) == 30
    assert stored(once) == stored(twice)


def test_a_second_flag_for_an_inference_adds_its_reasons() -> None:
    runtime = make_runtime()
    send(runtime, make_flag(1, scores={"msp": 0.01}), make_flag(1, control=0.02, incident="i1"))
    run(runtime)
    (candidate,) = stored(runtime).values()
    assert [(d.arm, d.probability) for d in candidate.draws] == [
        ("control", 0.02), ("incident:i1", 1.0), ("score:msp", 1.0)
    ]  # fmt: skip
    assert candidate.incident == "i1"
    assert candidate.scores == {"msp": 0.01}


def test_damaged_flags_are_set_aside_and_do_not_stop_the_others() -> None:
    runtime = make_runtime()
    producer = runtime.log.producer()
    broken = make_flag(1)
    damaged = dump(type(broken)(**{**{f: getattr(broken, f) for f in broken.__slots__}, "inference": b"no"}))
    producer.append([Message(FLAGS, MODEL, damaged), Message(FLAGS, MODEL, dump(make_flag(2)))])
    run(runtime)
    assert len(stored(runtime)) == 1
    assert [record.value for record in runtime.log.read(f"{FLAGS}.dlq", 0, 0)] == [damaged]


def test_a_round_spends_its_budget_and_stores_a_picture_for_every_choice() -> None:
    from PIL import Image

    runtime = make_runtime()
    send(runtime, *(make_flag(n, scores={"msp": 0.01}, control=0.02) for n in range(50)))
    result = mine_once(runtime)
    chosen = in_state(runtime, "selected")
    assert (result.greedy, result.random, len(chosen)) == (10, 10, 20)
    for candidate in chosen:
        assert candidate.picture is not None
        with Image.open(io.BytesIO(runtime.blobs.get(candidate.picture.hash))) as image:
            assert image.size == (128, 128)
    assert len(list(runtime.blobs.stored())) == 20


def test_a_request_waits_for_the_flags_that_were_in_the_log_before_it() -> None:
    runtime = make_runtime()
    send(runtime, *(make_flag(n, scores={"msp": 0.01}) for n in range(10)))
    key = rounds.request(runtime, MODEL, 10)
    loop: Loop[Any] = Loop(runtime, Mine(runtime), max_records=4)
    states = []
    for _ in range(4):
        loop.step()
        found = rounds.read(runtime.store, key)
        assert found is not None
        states.append((found.state, sum(result.greedy for result in found.results)))
    loop.close()
    assert states == [("requested", 0), ("requested", 0), ("done", 10), ("done", 10)]


def test_two_runs_over_one_log_choose_the_same_samples() -> None:
    flags = [make_flag(n, scores={"msp": (n % 7 + 1) / 100}, control=0.02) for n in range(60)]
    outcomes = []
    for size in (64, 7):
        runtime = make_runtime()
        send(runtime, *flags)
        rounds.request(runtime, MODEL, 20)
        loop: Loop[Any] = Loop(runtime, Mine(runtime), max_records=size)
        loop.drain()
        loop.close()
        outcomes.append(stored(runtime))
    assert outcomes[0] == outcomes[1]


def test_near_duplicates_of_queued_samples_cost_no_label_in_later_rounds() -> None:
    runtime = make_runtime(similarity=0.95)
    rng = np.random.default_rng(0)
    centre = rng.normal(size=16)
    near = [centre + 0.01 * rng.normal(size=16) for _ in range(12)]
    send(runtime, *(make_flag(n, embedding=near[n], scores={"msp": 0.01}) for n in range(6)))
    assert mine_once(runtime).greedy == 1
    send(runtime, *(make_flag(n, embedding=near[n], scores={"msp": 0.01}, control=0.1) for n in range(6, 12)))
    again = mine_once(runtime)
    assert (again.greedy, again.random, again.duplicates) == (0, 0, 6)
    (shown,) = in_state(runtime, "selected")
    assert shown.duplicates == 11
    free = [c for c in in_state(runtime, "duplicate") if c.arm == "random"]
    assert [c.probability for c in free] == [0.1] * 6


def test_a_control_draw_takes_part_in_one_random_arm_only() -> None:
    runtime = make_runtime(greedy_share=0.0)
    send(runtime, *(make_flag(n, control=0.02) for n in range(30)))
    assert mine_once(runtime, budget=10).random == 10
    assert len(in_state(runtime, "expired")) == 20
    assert mine_once(runtime, budget=10).random == 0


def test_rounds_by_time_run_when_their_time_has_come() -> None:
    now = [10**18]
    runtime = make_runtime(clock=lambda: now[0], round_seconds=60.0, budget=3)
    send(runtime, *(make_flag(n, scores={"msp": 0.01}) for n in range(10)))
    loop: Loop[Any] = Loop(runtime, Mine(runtime))
    loop.drain()
    assert not in_state(runtime, "selected")
    now[0] += 61 * 10**9
    loop.drain()
    assert len(in_state(runtime, "selected")) == 3
    loop.drain()
    assert len(in_state(runtime, "selected")) == 3
    loop.close()


def test_a_clock_that_is_set_back_does_not_put_off_rounds_and_pushes() -> None:
    now = [10**18]
    runtime = make_runtime(clock=lambda: now[0], round_seconds=60.0, budget=2)
    tool = ToolBox(runtime)
    role = Mine(runtime, tool)
    loop: Loop[Any] = Loop(runtime, role)
    send(runtime, *(make_flag(n, scores={"msp": 0.01}) for n in range(8)))
    loop.drain()
    now[0] += 3_600 * 10**9
    stepped(role, loop, 6)
    assert len(tool.tasks) == 2
    now[0] -= 3_600 * 10**9
    stepped(role, loop, 6)
    assert len(tool.tasks) == 4
    role.exchange.close()  # type: ignore[union-attr]
    loop.close()


class Dying:
    """A store whose process dies before or after one of its transactions."""

    def __init__(self, store: Store, at: int, *, applied: bool) -> None:
        self._store = store
        self._left = at
        self._applied = applied
        self.url = store.url

    def apply(self, batch: Batch, *, lease: Lease | None = None) -> None:
        self._left -= 1
        if self._left == 0 and not self._applied:
            raise StoreError("store", self.url, "died before the transaction")
        self._store.apply(batch, lease=lease)
        if self._left == 0:
            raise StoreError("store", self.url, "died after the transaction")

    def get(self, collection: str, key: str) -> bytes | None:
        return self._store.get(collection, key)

    def get_many(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        return self._store.get_many(collection, keys)

    def items(self, collection: str) -> Iterator[tuple[str, bytes]]:
        return self._store.items(collection)

    def count(self, collection: str) -> int:
        return self._store.count(collection)

    def acquire(self, name: str, owner: str, *, seconds: float, steal: bool = False) -> Lease | None:
        return self._store.acquire(name, owner, seconds=seconds, steal=steal)

    def release(self, lease: Lease) -> None:
        self._store.release(lease)

    def close(self) -> None:
        self._store.close()


@pytest.mark.parametrize("applied", [False, True])
def test_a_death_at_any_transaction_leaves_the_result_of_an_undisturbed_run(applied: bool) -> None:
    flags = [make_flag(n, scores={"msp": (n + 1) / 100}, control=0.05) for n in range(12)]

    def prepared(store: Store | None = None) -> Runtime:
        runtime = make_runtime(store=store)
        send(runtime, *flags)
        rounds.request(runtime, MODEL, 6)
        return runtime

    undisturbed = prepared()
    run(undisturbed)
    expected = _timeless(undisturbed)
    assert len(in_state(undisturbed, "selected")) == 6
    for at in range(2, 5):
        inner = open_store(f"memory://dying-{at}-{applied}")
        runtime = prepared(Dying(inner, at, applied=applied))
        loop: Loop[Any] = Loop(runtime, Mine(runtime), max_records=6)
        for _ in range(8):
            try:
                loop.step()
            except StoreError:
                loop.close()
                selected = len(in_state(runtime, "selected"))
                asked = rounds.read(runtime.store, f"{MODEL}/00000001")
                assert asked is not None
                assert (asked.state, selected) in {("requested", 0), ("done", 6)}
                loop = Loop(runtime, Mine(runtime), max_records=6)
        loop.close()
        assert _timeless(runtime) == expected


def _timeless(runtime: Runtime) -> dict[str, Any]:
    return {**everything(runtime.store), "candidates": stored(runtime)}


class Full:
    """A blob store that has no room after a number of payloads."""

    url = "full://"

    def __init__(self, blobs: Any, room: int) -> None:
        self._blobs, self._room = blobs, room

    def put(self, data: bytes, media_type: str) -> Any:
        self._room -= 1
        if self._room < 0:
            raise BlobError("blob", media_type, "no room")
        return self._blobs.put(data, media_type)


def test_a_round_whose_pictures_cannot_be_stored_changes_nothing() -> None:
    runtime = make_runtime()
    send(runtime, *(make_flag(n, scores={"msp": 0.01}) for n in range(10)))
    run(runtime)
    before = everything(runtime.store)
    rounds.request(runtime, MODEL, 5)
    crowded = Runtime(runtime.settings, runtime.log, runtime.store, Full(runtime.blobs, 3), runtime.meter,
                      clock=runtime.clock)  # fmt: skip
    with pytest.raises(BlobError):
        run(crowded)
    after = everything(runtime.store)
    assert after["candidates"] == before["candidates"]
    run(runtime)
    assert len(in_state(runtime, "selected")) == 5


def test_revisions_in_any_order_and_any_number_of_times_give_the_same_answer() -> None:
    candidate = make_candidate(make_flag(3))
    answers = [
        make_label(candidate, "3"),
        make_label(candidate, None, 2, state="skipped"),
        make_label(candidate, "8", 3),
    ]
    outcomes = set()
    for order in permutations([*answers, answers[0]]):
        runtime = make_runtime()
        send(runtime, make_flag(3))
        send(runtime, *order)
        run(runtime)
        kept = revisions_of(runtime.store, candidate.id)
        outcomes.add((stored(runtime)[candidate.id].state, kept.to_bytes()))
    ((state, kept),) = outcomes
    assert state == "labelled"
    assert [label["answer"] for label in load_any(kept)["revisions"]] == ["3", None, "8"]


@pytest.mark.parametrize(
    ("answer", "state", "verdict"),
    [("3", "labelled", "correct"), ("4", "labelled", "failure"), (None, "skipped", "skipped")],
)
def test_an_answer_is_judged_against_the_models_own(answer: str | None, state: str, verdict: str) -> None:
    runtime = make_runtime()
    send(runtime, make_flag(3))
    (flagged,) = [make_candidate(make_flag(3))]
    send(runtime, make_label(flagged, answer))
    run(runtime)
    assert stored(runtime)[flagged.id].state == state
    line = f'davy_labels_total{{model="{MODEL}",verdict="{verdict}"}} 1.0'
    assert line in runtime.meter.exposition().decode()


def test_the_error_rate_uses_free_near_duplicates_and_only_the_random_arm() -> None:
    runtime = make_runtime(similarity=0.95, greedy_share=0.0)
    send(runtime, *(make_flag(n, control=0.1, scores={"msp": 0.5}) for n in range(20)))
    send(runtime, *(make_flag(100 + n, scores={"msp": 0.001}) for n in range(20)))
    assert mine_once(runtime, budget=10).random == 10
    chosen = in_state(runtime, "selected")
    send(runtime, *(make_label(c, "wrong" if n < 3 else str(_own(c)), 1) for n, c in enumerate(chosen)))
    run(runtime)
    found = quality(runtime.store, MODEL)
    assert found is not None
    assert (found.rate, found.labels) == (0.3, 10)
    assert found.traffic == pytest.approx(10 / (0.1 * 10 / 20))


def _own(candidate: Candidate) -> int:
    return int.from_bytes(candidate.inference_id, "big") % 10


def test_feedback_about_a_candidate_is_kept_the_latest_winning() -> None:
    runtime = make_runtime()
    flag = make_flag(3)
    send(runtime, flag)
    run(runtime)
    producer = runtime.log.producer()
    notes = [
        Feedback(flag.inference_id, truth, at, model=MODEL) for truth, at in (("a", 1), ("b", 9), ("c", 5))
    ]
    other = Feedback(bytes(16), "x", 1, model=MODEL)
    producer.append([Message(FEEDBACK, MODEL, dump(note)) for note in (*notes, other)])
    run(runtime)
    ((_, note),) = runtime.store.items("feedback")
    assert load(Feedback, note).truth == "b"


class ToolBox:
    """A labelling tool in memory: keeps one task a candidate, answers when told to, fails when told to."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.tasks: dict[str, int] = {}
        self.answers: list[Label] = []
        self.down = False
        self.calls = 0

    def push(self) -> int:
        self.calls += 1
        if self.down:
            raise LabelError("labelstudio.url", "here", "is down")
        batch, chosen = Batch(), in_state(self.runtime, "selected")
        for candidate in chosen:
            task = self.tasks.setdefault(candidate.id, len(self.tasks) + 1)
            changed = {f: getattr(candidate, f) for f in Candidate.__slots__} | {
                "state": "pushed",
                "task": task,
            }
            batch.put("candidates", candidate.id, dump(Candidate(**changed)))
        self.runtime.store.apply(batch)
        return len(chosen)

    def pull(self, batch: Batch) -> list[Label]:
        if self.down:
            raise LabelError("labelstudio.url", "here", "is down")
        found, self.answers = self.answers, []
        if found:
            batch.put("labelstudio", "watermark", str(len(found)).encode())
        return found


def stepped(role: Mine, loop: Loop[Any], times: int = 4) -> None:
    """Step the loop, letting the exchange finish in between."""
    assert role.exchange is not None
    for _ in range(times):
        loop.step()
        role.exchange.push.wait(10)
        role.exchange.pull.wait(10)


def test_selected_candidates_reach_the_tool_and_answers_come_back_as_labels() -> None:
    now = [10**18]
    runtime = make_runtime(clock=lambda: now[0])
    tool = ToolBox(runtime)
    role = Mine(runtime, tool)
    loop: Loop[Any] = Loop(runtime, role)
    send(runtime, *(make_flag(n, scores={"msp": 0.01}) for n in range(8)))
    rounds.request(runtime, MODEL, 4)
    stepped(role, loop)
    pushed = in_state(runtime, "pushed")
    assert {c.id: c.task for c in pushed} == tool.tasks
    assert len(pushed) == 4
    tool.answers = [make_label(c, "3") for c in pushed]
    now[0] += 31 * 10**9
    stepped(role, loop)
    assert len(in_state(runtime, "labelled")) == 4
    assert runtime.store.get("labelstudio", "watermark") == b"4"
    role.exchange.close()  # type: ignore[union-attr]
    loop.close()


def test_a_dead_tool_is_counted_waited_for_and_never_blocks_the_flags(
    spared: pytest.LogCaptureFixture,
) -> None:
    now = [10**18]
    runtime = make_runtime(clock=lambda: now[0])
    tool = ToolBox(runtime)
    tool.down = True
    role = Mine(runtime, tool)
    loop: Loop[Any] = Loop(runtime, role)
    send(runtime, *(make_flag(n, scores={"msp": 0.01}) for n in range(8)))
    rounds.request(runtime, MODEL, 4)
    stepped(role, loop, 20)
    assert tool.calls == 1
    for seconds in (1, 1, 1, 2, 4):
        now[0] += seconds * 10**9
        stepped(role, loop, 3)
    assert tool.calls == 4  # at 0, 1, 3 and 7 seconds
    send(runtime, make_flag(50, scores={"msp": 0.01}))
    stepped(role, loop)
    assert len(stored(runtime)) == 9
    assert sum("pushing tasks failed" in line for line in spared.messages) == 1
    assert 'davy_role_errors_total{error="LabelError",role="mine"}' in runtime.meter.exposition().decode()
    tool.down = False
    now[0] += 60 * 10**9
    stepped(role, loop)
    assert len(in_state(runtime, "pushed")) == 4
    role.exchange.close()  # type: ignore[union-attr]
    loop.close()


def test_candidate_records_survive_their_round_trip() -> None:
    candidate = make_candidate(make_flag(5, scores={"msp": 0.25}, control=0.5), offered="r1", duplicates=3)
    assert load(Candidate, dump(candidate)) == candidate
