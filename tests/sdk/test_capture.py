"""Explicit capture, feedback and context: what is given is what the log holds."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from support.sdk_rig import Store, balanced, envelopes_in, inferences_in, start

import davy
from davy.codec import load
from davy.event import FEEDBACK, Feedback
from davy.log import open_log

pytestmark = pytest.mark.fast


def test_two_lines_are_enough(own_client: str) -> None:
    id = davy.capture("iris:1", {"sepal": 5.1}, {"label": "setosa"})
    assert davy.flush()
    (found,) = inferences_in(own_client)
    assert (found.id.hex(), found.model) == (id, "iris:1")
    assert (dict(found.inputs), dict(found.outputs)) == ({"sepal": 5.1}, {"label": "setosa"})
    assert abs(found.at - time.time_ns()) < 60e9


def test_everything_given_is_stored(own_client: str) -> None:
    davy.capture(
        "iris:1",
        {"x": np.arange(3.0)},
        {"value": 2},
        embedding=[1.0, 2.0],
        tags={"country": "FR"},
        group="session",
        seq=4,
        alternatives={"iris:2": {"value": 3}, "iris:3": 0.5},
        latency_ms=1.5,
        id="00112233445566778899aabbccddeeff",
        at=12,
    )
    davy.flush()
    (found,) = inferences_in(own_client)
    assert found.id.hex() == "00112233445566778899aabbccddeeff"
    assert (found.at, found.latency_ms, found.group, found.seq) == (12, 1.5, "session", 4)
    assert found.embedding is not None
    assert found.embedding.tolist() == [1.0, 2.0]
    assert dict(found.tags) == {"country": "FR"}
    assert found.alternatives == {"iris:2": {"value": 3}, "iris:3": {"value": 0.5}}


@dataclass
class Applicant:
    age: int
    income: float


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        (OrderedDict(age=3), {"age": 3}),
        (Applicant(3, 4.0), {"age": 3, "income": 4.0}),
        (3.5, {"value": 3.5}),
    ],
)
@pytest.mark.parametrize("dictionary", [True, False])
def test_inputs_that_are_no_dictionary_are_named(
    inputs: Any, found: Any, dictionary: bool, own_client: str
) -> None:
    davy.capture("m:1", inputs, {"label": "a"} if dictionary else "a")
    davy.flush()
    (one,) = inferences_in(own_client)
    assert (dict(one.inputs), dict(one.outputs)) == (found, {"label": "a"})


@pytest.mark.parametrize(
    "form", [lambda id: id.bytes, lambda id: id, lambda id: id.hex, str, lambda id: bytearray(id.bytes)]
)
def test_an_id_may_be_bytes_a_uuid_or_text(form: Any, own_client: str) -> None:
    given = uuid.uuid4()
    assert davy.capture("m:1", {"x": 1.0}, {}, id=form(given)) == given.hex
    davy.flush()
    assert inferences_in(own_client)[0].id == given.bytes


def test_ids_sort_in_the_order_of_capture() -> None:
    start(Store())
    ids = []
    for _ in range(50):
        ids.append(davy.capture("m:1", {"x": 1.0}, {}))
        time.sleep(0.001)
    assert ids == sorted(map(str, ids))
    assert {uuid.UUID(id).version for id in ids} == {7}


def test_inferences_of_one_model_share_an_envelope(own_client: str) -> None:
    for value in range(300):
        davy.capture(f"m:{value % 2}", {"x": float(value)}, {})
    davy.flush()
    envelopes = envelopes_in(own_client)
    assert {envelope.model for envelope in envelopes} == {"m:0", "m:1"}
    assert sum(envelope.count for envelope in envelopes) == 300
    assert len(envelopes) < 30
    for model in (0, 1):
        values = [one.inputs["x"] for one in inferences_in(own_client) if one.model == f"m:{model}"]
        assert values == sorted(values)


def test_a_context_holds_for_what_is_captured_inside_and_merges_tags(own_client: str) -> None:
    with davy.context(group="outer", seq=1, tags={"a": 1, "b": 1}):
        with davy.context(seq=2, tags={"b": 2}):
            davy.capture("m:1", {"x": 1.0}, {}, tags={"c": 3})
        davy.capture("m:1", {"x": 2.0}, {}, group="own")
    davy.capture("m:1", {"x": 3.0}, {})
    davy.flush()
    found = {one.inputs["x"]: (one.group, one.seq, dict(one.tags)) for one in inferences_in(own_client)}
    assert found == {
        1.0: ("outer", 2, {"a": 1, "b": 2, "c": 3}),
        2.0: ("own", 1, {"a": 1, "b": 1}),
        3.0: (None, None, {}),
    }


def test_a_context_gives_the_id(own_client: str) -> None:
    with davy.context(id="ff" * 16):
        assert davy.capture("m:1", {"x": 1.0}, {}) == "ff" * 16


def test_contexts_of_threads_and_tasks_are_their_own(own_client: str) -> None:
    def in_thread() -> None:
        davy.capture("m:1", {"x": 1.0}, {})

    async def in_task(group: str, gate: asyncio.Barrier) -> None:
        with davy.context(group=group):
            await gate.wait()
            davy.capture("m:1", {"x": 2.0}, {})

    async def tasks() -> None:
        gate = asyncio.Barrier(3)
        await asyncio.gather(*(in_task(f"task{number}", gate) for number in range(3)))

    with davy.context(group="main"):
        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
    asyncio.run(tasks())
    davy.flush()
    found = sorted((one.inputs["x"], str(one.group)) for one in inferences_in(own_client))
    assert found == [(1.0, "None"), (2.0, "task0"), (2.0, "task1"), (2.0, "task2")]


@pytest.mark.swallows
def test_a_context_that_cannot_be_read_changes_nothing(own_client: str) -> None:
    with davy.context(id="short", tags={"a": 1}), davy.context(seq="many"):  # type: ignore[arg-type]
        davy.capture("m:1", {"x": 1.0}, {})
    davy.flush()
    (found,) = inferences_in(own_client)
    assert dict(found.tags) == {}


def test_feedback_reaches_its_own_topic(own_client: str) -> None:
    id = davy.capture("m:1", {"x": 1.0}, {})
    davy.feedback(id, {"label": "cat"}, kind="override", model="m:1")
    assert davy.flush()
    log = open_log(own_client)
    (record,) = log.read(FEEDBACK, 0, 0)
    found = load(Feedback, record.value)
    assert record.key == found.model == "m:1"
    assert (found.id.hex(), found.truth, found.kind) == (id, {"label": "cat"}, "override")


def test_feedback_overtakes_waiting_inferences() -> None:
    release = threading.Event()

    def wait() -> None:
        release.wait(5)

    sink = Store(wait)
    start(sink, envelope_rows=1)
    for value in range(5):
        davy.capture("m:1", {"x": float(value)}, {})
    assert sink.tried.acquire(timeout=5)
    davy.feedback("ab" * 16, 1)
    release.set()
    assert davy.flush()
    assert [message.topic for message in sink.messages].index(FEEDBACK) == 1


@pytest.mark.swallows
@pytest.mark.parametrize(
    ("id", "truth", "reason"),
    [
        ("zz", 1, "encode_error"),
        ("ab" * 16, object(), "encode_error"),
        ("ab" * 16, "x" * 300_000, "too_large"),
    ],
)
def test_feedback_that_cannot_travel_is_counted(id: Any, truth: Any, reason: str) -> None:
    start(Store())
    davy.feedback(id, truth)
    assert davy.stats()["feedback"]["dropped"] == {reason: 1}


def test_feedback_to_an_inference_that_was_not_captured_is_counted() -> None:
    start(Store())
    davy.feedback(None, 1)
    assert davy.stats()["feedback"]["dropped"] == {"no_id": 1}


@pytest.mark.swallows
@pytest.mark.parametrize("model", ["", "fraud", "fraud:", ":1", "a b:1", "x" * 300 + ":1", None, 3, ["m:1"]])
def test_an_invalid_name_of_a_model_is_counted_not_raised(model: Any) -> None:
    start(Store())
    assert davy.capture(model, {"x": 1.0}, {}) is None
    assert davy.stats()["dropped"] == {"invalid_model": 1}


class Names(str):
    """Text of the app's own making."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("compared")

    __hash__ = str.__hash__


def test_names_of_the_apps_own_making_do_not_harm_later_captures(own_client: str) -> None:
    davy.capture(Names("m:1"), {Names("x"): 1.0}, {}, tags={Names("t"): 1})
    davy.capture("m:1", {"x": 2.0}, {}, tags={"t": 1})
    davy.flush()
    assert [one.inputs for one in inferences_in(own_client)] == [{"x": 1.0}, {"x": 2.0}]


def test_a_field_that_cannot_travel_is_left_out_counted_and_named_in_the_log_without_its_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Secret:
        def __repr__(self) -> str:
            return "password"

    sink = Store()
    start(sink)
    for _ in range(3):
        assert davy.capture("m:1", {"x": 1.0, "token": Secret()}, {})
    assert davy.stats()["left_out"] == {"m:1 inputs.token: type": 3}
    davy.flush()
    assert [one.inputs for envelope in sink.envelopes for one in envelope.inferences()] == [
        {"x": 1.0, "token": None}
    ] * 3
    (line,) = [record.getMessage() for record in caplog.records]
    assert "inputs.token" in line
    assert "password" not in line


def test_the_accounts_balance_whatever_happens() -> None:
    sink = Store()
    start(sink, sample_rate=0.5, envelope_rows=10)
    for value in range(500):
        davy.capture("m:1", {"x": float(value)}, {})
    davy.flush()
    stats = davy.stats()
    assert balanced(stats)
    assert stats["captured"] + stats["sampled_out"] == 500
    assert stats["sent"] == len(sink.inferences) > 0


def test_a_context_may_say_when_it_happened(own_client: str) -> None:
    predict = davy.watch(lambda x: x[:, 0], "m:1", batched=True)
    with davy.context(at=7 * 10**18):
        davy.capture("m:1", {"x": 1.0}, {})
        davy.capture("m:1", {"x": 1.0}, {}, at=9)
        predict(np.zeros((2, 2)))
    davy.flush()
    assert [one.at for one in inferences_in(own_client)] == [7 * 10**18, 9, 7 * 10**18, 7 * 10**18]


def test_an_inference_all_of_whose_inputs_are_left_out_is_counted(own_client: str) -> None:
    davy.capture("m:1", {"x": 1.0, "y": "a"}, {"label": "b"})
    davy.capture("m:1", {"x": object, "y": object}, {"label": "b"})
    davy.capture("m:1", {"x": object, "y": "a"}, {"label": "b"})
    assert davy.stats()["misread"] == {"m:1: no_inputs": 1}
    watched = davy.watch(lambda x: ["a"] * len(x), "batch:1", batched=True)
    watched([object, object, 3.0])
    assert davy.stats()["misread"]["batch:1: no_inputs"] == 2
    assert davy.flush()
    assert len(inferences_in(own_client)) == 6


def test_feedback_says_whose_inference_it_is_about_where_the_sdk_gave_the_id(own_client: str) -> None:
    ids = {model: davy.capture(model, {"x": 1.0}, {}) for model in ("m:1", "n:1")}
    own = "ab" * 16
    davy.capture("m:1", {"x": 1.0}, {}, id=own)
    for id in (*ids.values(), own, "cd" * 16):
        davy.feedback(id, "cat")
    davy.capture("n:1", {"x": 1.0}, {}, id=own)
    davy.feedback(own, "cat")  # of two models, so nobody's
    assert davy.flush()
    found = [
        (record.key, load(Feedback, record.value)) for record in open_log(own_client).read(FEEDBACK, 0, 0)
    ]
    assert [key for key, _ in found] == [event.model for _, event in found] == ["m:1", "n:1", "m:1", "", ""]
