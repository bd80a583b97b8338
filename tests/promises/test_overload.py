"""Under overload the sample gets smaller and stays fair: weights give back what a frozen sink never saw."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from support.sdk_rig import ALWAYS_IN, balanced, start, stuck
from support.sdk_rig import settings as settings_of

import davy
from davy.event import Inference
from davy.sdk.client import Client
from davy.sdk.home import HOME
from davy.sdk.lane import Lane
from davy.sdk.report import ClientReport
from davy.sdk.sampling import Sampler
from davy.sdk.thinning import Thinning

pytestmark = pytest.mark.fast

DEVIATIONS = 5
"""An estimate is further off in 6 of 10 million runs (two-sided, normal)."""
TENTH = 100_000_000


def total(sample: Iterable[Inference]) -> tuple[float, float]:
    """Estimate the sum of ``x`` over everything offered, and the standard deviation of the estimate."""
    x, rate = np.array([(one.inputs["x"], one.rate) for one in sample]).T
    return float((x / rate).sum()), float(np.sqrt(((1 - rate) / rate**2 * x**2).sum()))


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_frozen_sink_keeps_an_unbiased_sample_of_all_that_was_offered(share: float) -> None:
    offered = 30_000
    with stuck() as sink:
        start(sink, queue_items=2_000, sample_rate=share, flush_seconds=0.01)
        for value in range(offered):  # it rises, so a sample of the first or the last would be far off
            davy.capture("m:1", {"x": float(value)}, {})
        stats = davy.stats()
        assert (balanced(stats), stats["dropped"]) == (True, {})
        assert stats["captured"] + stats["sampled_out"] + stats["thinned"] == offered
        assert stats["rate"] < share
        sink.release.set()
        assert davy.flush(20)
    estimate, deviation = total(sink.inferences)
    assert abs(estimate - offered * (offered - 1) / 2) < DEVIATIONS * deviation
    rates = [one.rate for one in sink.inferences]
    assert (rates[0], len(set(rates)) > 3) == (share, True)


def test_batches_are_thinned_as_fairly() -> None:
    offered, rows = 15_000, 50
    with stuck() as sink:
        start(sink, queue_items=2_000, flush_seconds=0.01)
        predict = davy.watch(lambda x: x, "m:1", batched=True)
        for first in range(0, offered, rows):
            predict(np.arange(first, first + rows, dtype=float))
        stats = davy.stats()
        assert (balanced(stats), stats["dropped"]) == (True, {})
        assert stats["captured"] + stats["thinned"] == offered
        sink.release.set()
        assert davy.flush(20)
    estimate, deviation = total(sink.inferences)
    assert abs(estimate - offered * (offered - 1) / 2) < DEVIATIONS * deviation


def test_what_is_in_at_a_lower_rate_is_in_at_a_higher_one() -> None:
    ids = [uuid.UUID(int=number * 0x9E3779B97F4A7C15) for number in range(2_000)]
    with stuck() as sink:
        start(sink, queue_items=500, flush_seconds=0.01)
        for id in ids:
            davy.capture("m:1", {"x": 1.0}, {}, id=id)
        sink.release.set()
        assert davy.flush(20)
    sample = {one.id: one.rate for one in sink.inferences}
    assert len(set(sample.values())) > 3
    for id, rate in sample.items():
        assert Sampler(rate).keeps(int.from_bytes(id[8:], "big"))


def test_the_share_that_was_left_out_rides_on_the_next_envelope() -> None:
    with stuck() as sink:
        start(sink, queue_items=500, flush_seconds=0.01)
        for _ in range(3_000):
            davy.capture("m:1", {"x": 1.0}, {})
        sink.release.set()
        assert davy.flush(20)
        davy.capture("m:1", {"x": 1.0}, {}, id=bytes(16))
        assert davy.flush(20)
    reports = [envelope.report.get("thinned", 0) for envelope in sink.envelopes]
    assert sum(reports) + len(sink.inferences) == 3_001


def lane_at(share: float) -> tuple[Lane, Thinning]:
    lane = Lane(1_000, 10**6, 10**6, 10**6, lambda: None, ClientReport())
    lane.put("load", "m:1", int(share * 1_000), 1, 0)
    return lane, Thinning(lane, Sampler(0.5))


def test_the_rate_is_halved_every_tenth_of_a_second_down_to_a_thousandth() -> None:
    _, thinning = lane_at(0.51)
    rates = [thinning.at((1 + step) * TENTH).rate for step in range(15)]
    assert rates == [0.5 / 2 ** min(step, 10) for step in range(1, 16)]


def test_the_rate_stays_between_two_looks_and_between_a_quarter_and_a_half() -> None:
    lane, thinning = lane_at(0.51)
    assert thinning.at(10 * TENTH).rate == thinning.at(11 * TENTH - 1).rate == 0.25
    lane.drain()
    lane.settle("m:1", 110, 0)
    assert [thinning.at(step * TENTH).rate for step in range(11, 20)] == [0.25] * 9


def test_the_rate_comes_back_step_by_step_or_at_once_after_a_long_silence() -> None:
    for moments, expected in (((11, 12, 13), [0.25, 0.5, 0.5]), ((60,), [0.5])):
        lane, thinning = lane_at(0.51)
        assert [thinning.at(step * TENTH).rate for step in (9, 10)] == [0.25, 0.125]
        lane.drain()
        lane.settle("m:1", 510, 1)
        assert [thinning.at(step * TENTH).rate for step in moments] == expected


def test_a_burst_is_thinned_before_the_next_look_and_bytes_count_as_inferences_do() -> None:
    for rows, size in ((520, 1), (1, 520_000)):
        lane, thinning = lane_at(0.0)
        assert thinning.at(10 * TENTH).rate == 0.5
        lane.put("load", "m:1", rows, size, 0)
        assert [thinning.at(10 * TENTH + after).rate for after in (1, 2)] == [0.25, 0.25]


def test_a_clock_that_was_set_back_does_not_put_the_next_look_off() -> None:
    _, thinning = lane_at(0.51)
    assert [thinning.at(moment).rate for moment in (10**18, 10**17)] == [0.25, 0.125]


def test_a_child_begins_at_the_full_rate() -> None:
    lane, thinning = lane_at(0.51)
    assert thinning.at(TENTH).rate == 0.25
    lane.renew()
    thinning.renew()
    assert thinning.at(TENTH + 1).rate == 0.5


def numbers(rows: int) -> Any:
    return np.zeros((rows, 64))


def texts(rows: int) -> Any:
    return ["text " * 100] * rows


def pictures(rows: int) -> Any:
    return np.zeros((rows, 16, 16, 3), np.uint8)


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize(
    ("rows", "beside", "settings"),
    [
        (200_000, None, {}),
        (24_000, None, {}),
        (3_000, None, {"queue_items": 50}),
        (10_000, numbers, {"queue_bytes": 500_000}),
        (5_000, texts, {"queue_bytes": 300_000}),
        (300, texts, {"queue_bytes": 50_000}),
        (380, pictures, {"queue_bytes": 60_000, "payloads": True, "fields": {"inputs.y": "blob"}}),
    ],
)
def test_a_batch_larger_than_the_queue_is_a_fair_sample_with_its_rate(
    rows: int, beside: Callable[[int], Any] | None, settings: dict[str, Any], share: float
) -> None:
    with stuck() as sink:
        start(sink, sample_rate=share, **settings)
        predict = davy.watch(lambda x, y=None: x, "m:1", batched=True)
        x = np.arange(rows, dtype=float)  # sorted, so a sample of the first would be far off
        predict(x, *(() if beside is None else (beside(rows),)))
        stats = davy.stats()
        assert (balanced(stats), stats["dropped"]) == (True, {})
        assert stats["captured"] + stats["sampled_out"] + stats["thinned"] == rows
        assert stats["thinned"] > 0
        assert stats["captured"] > 10
        sink.release.set()
        assert davy.flush(20)
    estimate, deviation = total(sink.inferences)
    assert abs(estimate - rows * (rows - 1) / 2) < DEVIATIONS * deviation
    assert {one.rate for one in sink.inferences} != {share}


def test_batches_behind_one_another_leave_room_for_what_comes_next() -> None:
    with stuck() as sink:
        start(sink, queue_items=1_000)
        predict = davy.watch(lambda x: x, "m:1", batched=True)
        for first in range(0, 50_000, 10_000):
            predict(np.arange(first, first + 10_000, dtype=float))
        stats = davy.stats()
        assert (balanced(stats), stats["dropped"]) == (True, {})
        sink.release.set()
        assert davy.flush(20)
    estimate, deviation = total(sink.inferences)
    assert abs(estimate - 50_000 * 49_999 / 2) < DEVIATIONS * deviation


def test_of_a_large_batch_that_the_hook_has_seen_a_random_part_is_kept_and_the_rest_counted() -> None:
    seen: list[bytes] = []

    def hook(inference: Inference) -> Inference:
        seen.append(inference.id)
        return inference

    with stuck() as sink:
        HOME.client = Client(settings_of(queue_bytes=100_000), sink.open, before_capture=hook)
        davy.watch(lambda x, y: x, "m:1", batched=True)(np.arange(1_000.0), texts(1_000))
        stats = davy.stats()
        assert (balanced(stats), len(seen), len(set(seen))) == (True, 1_000, 1_000)
        assert stats["dropped"] == {"bytes_full": 1_000 - stats["depth"]}
        sink.release.set()
        assert davy.flush(20)
    assert max(one.inputs["x"] for one in sink.inferences) > 900
    assert min(one.inputs["x"] for one in sink.inferences) < 100


@pytest.mark.parametrize("large", [1, 300])
def test_what_is_too_large_for_the_whole_queue_is_counted(large: int) -> None:
    with stuck() as sink:
        start(sink, queue_bytes=5_000)
        davy.watch(lambda x: x, "m:1", batched=True)(np.zeros((large, 1_000)))
        stats = davy.stats()
        assert balanced(stats)
        assert sum(stats["dropped"].values()) + stats["thinned"] == large


def lines(caplog: pytest.LogCaptureFixture, reason: str) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.getMessage().startswith(f"{reason}: ")]


def test_every_loss_of_overload_is_said_once_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    with stuck() as sink:
        start(sink, queue_items=100)
        for _ in range(300):
            davy.capture("m:1", {"x": 1.0}, {}, id=ALWAYS_IN)
        davy.watch(lambda x: x, "m:1", batched=True)(np.zeros(1_000))
        for _ in range(2_500):
            davy.feedback(ALWAYS_IN, 1)
        start(sink, queue_bytes=2_000)
        for _ in range(100):
            davy.capture("m:1", {"x": 1.0}, {}, id=ALWAYS_IN)
    for reason, remedy in {
        "thinned": "sdk.sample_rate",
        "queue_full": "sdk.queue_items",
        "bytes_full": "sdk.queue_bytes",
        "feedback_queue_full": "davy.flush()",
    }.items():
        (said,) = lines(caplog, reason)
        assert remedy in said
