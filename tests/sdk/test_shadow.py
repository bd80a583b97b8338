"""A shadow answers off the request path: both answers are recorded, and the primary never waits for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.sdk_rig import Store, inferences_in, start

import davy
from davy.sdk.leaving import stop_upstream
from davy.sdk.shadow import Shadow

pytestmark = pytest.mark.fast


class Gate:
    """A shadow that answers once it may."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.asked = threading.Event()

    def __call__(self, x: float) -> float:
        self.asked.set()
        self.open.wait(30)
        return -x


@pytest.fixture
def gate() -> Any:
    gate = Gate()
    yield gate
    gate.open.set()
    davy.flush()


def double(x: float) -> float:
    return 2 * x


def test_both_answers_are_in_the_inference(own_client: str) -> None:
    predict = davy.watch(double, "m:2", shadow=lambda x: 3 * x)
    assert predict(2.0) == 4.0
    assert davy.flush()
    (found,) = inferences_in(own_client)
    assert dict(found.outputs) == {"value": 4.0}
    assert found.alternatives == {"m:2-shadow": {"value": 6.0}}


def test_a_shadow_has_the_name_it_is_given(own_client: str) -> None:
    davy.watch(double, "m:2", shadow={"m:3": lambda x: {"value": x, "probs": [0.5, 0.5]}})(2.0)
    davy.flush()
    (found,) = inferences_in(own_client)
    assert set(found.alternatives["m:3"]) == {"value", "probs"}


def test_the_primary_does_not_wait_for_the_shadow(gate: Gate) -> None:
    start(Store())
    predict = davy.watch(double, "m:2", shadow=gate)
    begun = time.monotonic()
    assert [predict(float(x)) for x in range(500)] == [2.0 * x for x in range(500)]
    assert time.monotonic() - begun < 5
    assert gate.asked.wait(5)


def test_what_a_slow_shadow_has_no_time_for_is_captured_without_it_and_counted(gate: Gate) -> None:
    sink = Store()
    start(sink)
    predict = davy.watch(double, "m:2", shadow=gate)
    for x in range(100):
        predict(float(x))
    gate.open.set()
    assert davy.flush()
    answered = [one for one in sink.inferences if one.alternatives]
    assert len(sink.inferences) == 100
    assert all(one.alternatives["m:2-shadow"]["value"] == -one.inputs["x"] for one in answered)
    dropped = davy.stats()["incomplete"]["shadow_dropped"]
    assert (len(answered) + dropped, len(answered)) == (100, 64)
    assert sum(one.report.get("shadow_dropped", 0) for one in sink.envelopes) == dropped


def test_large_calls_wait_within_a_bound_of_bytes(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("davy.sdk.shadow._WAITING_BYTES", 1000)
    recorded: list[str] = []
    shadow = Shadow(lambda *x, **more: gate(0.0), lambda call, answer, reason: recorded.append(reason))
    large = np.zeros(50)  # 400 bytes, also where the same array is in the record
    shadow.take([large], {}, {"inputs": large})
    shadow.take([], {"batch": [{"image": large}]}, None)
    assert recorded == []
    shadow.take([large], {}, None)
    shadow.take([b"x" * 201], {}, None)
    assert recorded == ["shadow_dropped"] * 2
    shadow.take([b"x" * 200], {}, None)
    assert recorded == ["shadow_dropped"] * 2
    gate.open.set()
    assert shadow.wait(10)
    shadow.take([large], {}, {"inputs": large})  # room again
    assert shadow.wait(10)
    assert recorded == ["shadow_dropped"] * 2 + [""] * 4


@pytest.mark.swallows
def test_a_shadow_that_fails_costs_its_answer_and_nothing_else() -> None:
    sink = Store()
    start(sink)
    predict = davy.watch(double, "m:2", shadow=lambda x: 1 / 0)
    assert predict(2.0) == 4.0
    davy.flush()
    assert [dict(one.alternatives) for one in sink.inferences] == [{}]
    assert davy.stats()["incomplete"] == {"shadow_failed": 1}


@pytest.mark.swallows
def test_arguments_that_cannot_be_copied_cost_the_answer_only() -> None:
    start(Store())
    davy.watch(lambda lock: 1.0, "m:2", inputs=lambda lock: {"x": 1.0}, shadow=lambda lock: 2.0)(
        threading.Lock()
    )
    davy.flush()
    stats = davy.stats()
    assert (stats["sent"], stats["incomplete"]) == (1, {"shadow_failed": 1})


def test_the_shadow_sees_the_arguments_as_they_were(gate: Gate) -> None:
    sink = Store()
    start(sink)

    def slow(x: Any) -> Any:
        gate(0.0)
        return x.copy()

    x = np.ones(3)
    davy.watch(lambda x: x.sum(), "m:2", shadow=slow)(x)
    x[:] = 7.0
    gate.open.set()
    davy.flush()
    (found,) = sink.inferences
    assert found.inputs["x"].tolist() == found.alternatives["m:2-shadow"]["value"].tolist() == [1.0] * 3


def test_batches_have_an_answer_a_row(own_client: str) -> None:
    predict = davy.watch(lambda x: x[:, 0], "m:2", batched=True, shadow=lambda x: x[:, 1])
    predict(np.arange(6.0).reshape(3, 2))
    davy.flush()
    found = inferences_in(own_client)
    assert [one.outputs["value"] for one in found] == [0.0, 2.0, 4.0]
    assert [one.alternatives["m:2-shadow"]["value"] for one in found] == [1.0, 3.0, 5.0]


def test_objects_are_shadowed_method_by_method(own_client: str) -> None:
    class Model:
        def __init__(self, scale: float) -> None:
            self.scale = scale

        def predict(self, x: float) -> float:
            return self.scale * x

    davy.watch(Model(2), "m:2", shadow={"m:3": Model(3)}).predict(1.0)
    davy.flush()
    (found,) = inferences_in(own_client)
    assert (found.outputs["value"], found.alternatives["m:3"]["value"]) == (2.0, 3.0)


def test_an_async_shadow_is_awaited_off_the_loop(own_client: str) -> None:
    async def primary(x: float) -> float:
        return 2 * x

    async def other(x: float) -> float:
        await asyncio.sleep(0)
        return 3 * x

    assert asyncio.run(davy.watch(primary, "m:2", shadow=other)(1.0)) == 2.0
    davy.flush()
    (found,) = inferences_in(own_client)
    assert found.alternatives["m:2-shadow"]["value"] == 3.0


def test_the_context_of_the_call_goes_along(own_client: str) -> None:
    predict = davy.watch(double, "m:2", shadow=double)
    with davy.context(id="ab" * 16, group="g", seq=7, tags={"country": "NZ"}):
        predict(1.0)
    davy.flush()
    (found,) = inferences_in(own_client)
    assert (found.id.hex(), found.group, found.seq) == ("ab" * 16, "g", 7)
    assert dict(found.tags) == {"country": "NZ"}


def test_what_is_sampled_out_is_not_asked() -> None:
    start(Store(), sample_rate=0.0)
    asked: list[float] = []
    davy.watch(double, "m:2", shadow=asked.append)(1.0)
    davy.flush()
    assert asked == []


def test_a_shadow_stuck_at_the_exit_leaves_the_inference_captured_once(gate: Gate) -> None:
    sink = Store()
    client = start(sink)
    predict = davy.watch(double, "m:2", shadow=gate)
    predict(1.0)
    predict(2.0)
    assert gate.asked.wait(5)
    stop_upstream(0.05)
    gate.open.set()
    assert client.sender.flush(5.0)
    assert [(one.inputs["x"], dict(one.alternatives)) for one in sink.inferences] == [(1.0, {}), (2.0, {})]
    assert davy.stats()["incomplete"] == {"shadow_dropped": 2}


class Meddling:
    """An argument that does something while it is copied."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action = action

    def __deepcopy__(self, memo: object) -> None:
        self._action()


def test_a_shadow_that_stops_while_a_call_is_copied_leaves_the_call_recorded_once(gate: Gate) -> None:
    recorded: list[str] = []
    shadow = Shadow(gate, lambda call, answer, reason: recorded.append(reason))
    shadow.take([Meddling(lambda: shadow.stop(0.0))], {}, None)
    assert recorded == ["shadow_dropped"]


def test_the_bound_holds_when_the_queue_fills_while_a_call_is_copied(gate: Gate) -> None:
    recorded: list[str] = []
    shadow = Shadow(gate, lambda call, answer, reason: recorded.append(reason))
    shadow.take([Meddling(lambda: [shadow.take([1.0], {}, None) for _ in range(64)])], {}, None)
    assert recorded == ["shadow_dropped"]
    gate.open.set()
    assert shadow.wait(10)
    assert recorded == ["shadow_dropped", *[""] * 64]
