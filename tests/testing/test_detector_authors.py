"""`davy.testing.runtime` and `davy_detectors.testing`: a plug-in is tested in five lines, in memory."""

from __future__ import annotations

import numpy as np
import pytest

import davy.testing
from davy.codec import decode
from davy.config import Settings
from davy.errors import SettingError
from davy.event import INFERENCES
from davy.runtime import Runtime
from davy_detectors.testing import detect, fit, send

pytestmark = pytest.mark.fast

BEGIN = 1_700_000_000_000_000_000


def test_a_change_is_found_and_clean_traffic_is_not() -> None:
    world, rng = davy.testing.runtime(), np.random.default_rng(0)
    fit(world, "fraud:3", {"inputs.amount": rng.normal(size=2_000)})
    send(world, "fraud:3", {"inputs.amount": rng.normal(size=1_000)})
    assert detect(world) == []
    send(world, "fraud:3", {"inputs.amount": rng.normal(2.0, size=1_000)})
    (incident,) = detect(world)
    assert (incident.cause, incident.features[0].feature) == ("drift", "inputs.amount")
    assert 950 < incident.onset_event < incident.raised_event < 1_200


def test_what_is_sent_is_what_the_sdk_sends() -> None:
    clock = davy.testing.Clock(BEGIN)
    world = davy.testing.runtime(clock=clock)
    columns = {
        "inputs.amount": np.array([1.0, 2.0, None], object),
        "outputs.probs": np.array([[0.5, 0.5]] * 3),
        "tags.country": np.array(["NZ", "FR", "NZ"], object),
        "embedding": np.ones((3, 2)),
        "group": np.array(["a", "a", "b"], object),
        "latency_ms": np.array([3.0, 4.0, 5.0]),
    }
    ids = send(world, "fraud:3", columns, seconds=2.0)
    found = [
        one
        for record in world.log.read(INFERENCES, 0, 0)
        for one in decode(record.value).inferences()
    ]  # fmt: skip
    assert [one.id.hex() for one in found] == ids
    assert [(one.at - BEGIN) / 1e9 for one in found] == [2.0, 4.0, 6.0]
    assert clock() == found[-1].at
    assert [one.inputs["amount"] for one in found] == [1.0, 2.0, None]
    assert [one.tags["country"] for one in found] == ["NZ", "FR", "NZ"]
    assert [one.group for one in found] == ["a", "a", "b"]
    assert [one.latency_ms for one in found] == [3.0, 4.0, 5.0]
    assert found[0].outputs["probs"].tolist() == [0.5, 0.5]
    assert found[0].embedding is not None


def test_ids_differ_between_two_sendings_at_one_moment() -> None:
    world = davy.testing.runtime()
    ids = [id for _ in range(2) for id in send(world, "m:1", {"inputs.x": np.zeros(3)}, seconds=0.001)]
    assert len(set(ids)) == 6


def test_settings_are_the_tests_own_and_a_wrong_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAVY_DETECT_FALSE_ALARM_EVERY", "7")
    usual = Settings().detect.false_alarm_every
    assert davy.testing.runtime().settings.detect.false_alarm_every == usual
    settings = {"detect.false_alarm_every": 1000}
    assert davy.testing.runtime(settings=settings).settings.detect.false_alarm_every == 1000
    with pytest.raises(SettingError, match="detect"):
        davy.testing.runtime(settings={"detect.false_alarms": 1})


def test_leases_append_times_and_payloads_follow_the_clock() -> None:
    world = davy.testing.runtime(clock=davy.testing.Clock(BEGIN))
    assert world.store.acquire("role", "one", seconds=10.0) is not None
    assert world.store.acquire("role", "other", seconds=10.0) is None
    assert isinstance(world.clock, davy.testing.Clock)
    world.clock.advance(11)
    assert world.store.acquire("role", "other", seconds=10.0) is not None
    world.blobs.put(b"x", "text/plain")
    assert [stored.at for stored in world.blobs.stored()] == [BEGIN + 11 * 10**9]


def test_two_worlds_share_nothing() -> None:
    one, other = davy.testing.runtime(), davy.testing.runtime()
    send(one, "m:1", {"inputs.x": np.zeros(3)})
    assert list(other.log.read(INFERENCES, 0, 0)) == []


def test_another_clock_is_refused_with_the_remedy() -> None:
    world = davy.testing.runtime()
    other = Runtime(world.settings, world.log, world.store, world.blobs, world.meter)
    with pytest.raises(SettingError, match=r"davy\.testing\.runtime"):
        detect(other)
