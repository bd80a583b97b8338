"""Under overload the sample gets smaller and stays fair: weights give back what a frozen sink never saw."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import numpy as np
import pytest
from sdk_rig import balanced, start, stuck

import davy
from davy.event import Inference
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
