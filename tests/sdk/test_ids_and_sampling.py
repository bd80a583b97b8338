"""Ids are unique and sort by time; sampling takes an even share and always the same one."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sdk_rig import Store, balanced, inferences_in, start

import davy
from davy.sdk.ids import Ids, join, join_many, parse
from davy.sdk.sampling import Sampler

pytestmark = pytest.mark.fast

EVERYTHING = Sampler(1.0)


@given(st.integers(0, 2**60), st.integers(0, 2**60))
def test_ids_sort_by_time_to_a_quarter_of_a_microsecond(one: int, other: int) -> None:
    ids = Ids(EVERYTHING)
    earlier, later = sorted((one, other))
    if later - earlier >= 245:
        assert join(earlier, ids.admitted()) < join(later, ids.admitted())


@given(st.integers(0, 2**60))
def test_ids_are_uuids_of_version_7_that_tell_their_time(now: int) -> None:
    id = uuid.UUID(bytes=join(now, Ids(EVERYTHING).admitted()))
    assert (id.version, id.variant) == (7, uuid.RFC_4122)
    assert id.int >> 80 == now // 1_000_000


def test_ids_made_together_are_those_made_one_by_one() -> None:
    lows, now = Ids(EVERYTHING).lows(5), time.time_ns()
    assert join_many(now, lows) == b"".join(join(now, int(low)) for low in lows)


def test_an_id_drawn_for_a_moment_is_of_that_moment_or_none_where_sampling_leaves_it_out() -> None:
    now = time.time_ns()
    id = Ids(EVERYTHING).at(now)
    assert id is not None
    assert join(now, int.from_bytes(id[8:], "big")) == id
    nothing = Ids(Sampler(0.0))
    assert [nothing.at(now) for _ in range(3)] == [None] * 3
    assert nothing.left_out == 3


def test_threads_never_draw_the_same_id() -> None:
    ids, drawn = Ids(EVERYTHING), list[list[int]]()

    def draw() -> None:
        drawn.append([ids.admitted() for _ in range(20_000)])

    threads = [threading.Thread(target=draw) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    flat = [low for part in drawn for low in part]
    assert len(set(flat)) == len(flat) == 160_000


@given(st.binary(min_size=16, max_size=16), st.floats(0, 1))
def test_one_id_and_many_are_judged_alike(id: bytes, rate: float) -> None:
    sampler, low = Sampler(rate), int.from_bytes(id[8:], "big")
    assert sampler.keeps(low) == sampler.keeps_each(np.array([low], np.uint64))[0]


@given(st.binary(min_size=16, max_size=16), st.floats(0, 1), st.floats(0, 1))
def test_what_a_small_share_keeps_a_larger_one_keeps_too(id: bytes, one: float, other: float) -> None:
    low = int.from_bytes(id[8:], "big")
    if Sampler(min(one, other)).keeps(low):
        assert Sampler(max(one, other)).keeps(low)


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["random", "counting"])
def test_the_share_kept_is_the_share_asked_for(rate: float, kind: str) -> None:
    count = 200_000
    lows = Ids(EVERYTHING).lows(count) if kind == "random" else np.arange(count, dtype=np.uint64)
    kept = Sampler(rate).keeps_each(lows).sum()
    assert abs(kept - rate * count) < 5 * (rate * (1 - rate) * count) ** 0.5 + 1


def test_the_same_id_is_always_in_or_always_out() -> None:
    sink = Store()
    start(sink, sample_rate=0.5)
    ids = [uuid.UUID(int=number * 0x9E3779B97F4A7C15) for number in range(100)]
    first = [davy.capture("m:1", {"x": 1.0}, {}, id=id) for id in ids]
    second = [davy.capture("m:1", {"x": 1.0}, {}, id=id) for id in ids]
    assert first == second
    assert 20 < sum(id is None for id in first) < 80
    assert davy.stats()["sampled_out"] == 2 * sum(id is None for id in first)


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_the_rate_in_force_travels_with_every_inference(rate: float) -> None:
    sink = Store()
    start(sink, sample_rate=rate)
    for _ in range(200):
        davy.capture("m:1", {"x": 1.0}, {})
    davy.watch(lambda x: x.sum(axis=1), "m:1", batched=True)(np.ones((200, 3)))
    davy.flush()
    stats = davy.stats()
    assert balanced(stats)
    assert stats["sent"] + stats["sampled_out"] == 400
    assert {one.rate for one in sink.inferences} <= {rate}
    assert (stats["sent"] == 0) == (rate == 0)
    assert (stats["sampled_out"] == 0) == (rate == 1)


def test_what_is_sampled_out_is_counted_exactly_under_threads() -> None:
    threads = 4
    start(Store(), sample_rate=0.3)

    def capture() -> None:
        for _ in range(2_000):
            davy.capture("m:1", {"x": 1.0}, {})

    workers = [threading.Thread(target=capture) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    stats = davy.stats()
    assert stats["captured"] + stats["sampled_out"] == threads * 2_000


def test_a_batch_of_one_is_sampled_by_the_id_of_its_context() -> None:
    sink = Store()
    start(sink, sample_rate=0.5)
    predict = davy.watch(lambda x: x.sum(axis=1), "m:1", batched=True)
    single = davy.watch(lambda x: 1.0, "m:2")
    for number in range(50):
        with davy.context(id=uuid.UUID(int=number * 0x9E3779B97F4A7C15)):
            predict(np.ones((1, 3)))
            single(1.0)
    davy.flush()
    ids: dict[str, set[bytes]] = {"m:1": set(), "m:2": set()}
    for one in sink.inferences:
        ids[one.model].add(one.id)
    assert ids["m:1"] == ids["m:2"]
    assert 5 < len(ids["m:1"]) < 45


def test_an_id_survives_its_text() -> None:
    id = join(time.time_ns(), Ids(EVERYTHING).admitted())
    assert parse(id.hex()) == parse(str(uuid.UUID(bytes=id))) == id


@pytest.mark.parametrize("make", [lambda x: {"value": x}, lambda x: np.array([x, 1 - x])])
def test_each_inference_of_a_model_in_a_context_with_an_id_has_one_of_its_own(
    make: Any, own_client: str
) -> None:
    one, other = davy.watch(make, "one:1"), davy.watch(make, "other:1")
    for _ in range(2):  # the request is repeated
        with davy.context(id="ab" * 16):
            for _ in range(40):
                one(0.25)
            with davy.context(tags={"country": "NZ"}):
                one(0.25)
                other(0.25)
    davy.flush()
    found = inferences_in(own_client)
    ids = {model: [each.id.hex() for each in found if each.model == model] for model in ("one:1", "other:1")}
    assert ids["other:1"] == ["ab" * 16] * 2
    assert "ab" * 16 in ids["one:1"]
    assert [*Counter(ids["one:1"]).values()] == [2] * 41
    assert {id[16:] for id in ids["one:1"]} == {"ab" * 8}
