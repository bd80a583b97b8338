"""What is sent twice is acknowledged twice and stored once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.gateway_rig import PACKED, LocalClient, opened, records, stored

from davy.codec import Encoder, decode, pack
from davy.event import INFERENCES
from davy.gateway import make_app

pytestmark = pytest.mark.fast


def body(number: int, model: str = "m:1") -> dict[str, object]:
    return {"model": model, "inputs": {"x": float(number)}, "id": f"{number:032x}"}


def envelope(*numbers: int) -> bytes:
    ids = b"".join(number.to_bytes(16, "big") for number in numbers)
    values = np.array(numbers, float)
    return pack([Encoder().encode_batch("m:1", ids, 1, {"x": values}, {})], report={"queue_full": 3})


def test_an_inference_sent_again_is_acknowledged_and_stored_once() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        answers = [client.post("/v1/inferences", json=body(7)) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 202]
        assert [answer.json()["repeated"] for answer in answers] == [0, 1]
        assert len(stored(runtime)) == 1
        assert 'davy_gateway_repeated_inferences_total{model="m:1"} 1.0' in client.get("/metrics").text


def test_the_same_id_of_another_model_is_another_inference() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        client.post("/v1/inferences", json=[body(7), body(7, "m:2")]).raise_for_status()
        assert [one.model for one in stored(runtime)] == ["m:1", "m:2"]


def test_a_list_that_overlaps_stores_only_what_is_new_in_order() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        client.post("/v1/inferences", json=[body(1), body(2)]).raise_for_status()
        answer = client.post("/v1/inferences", json=[body(3), body(2), body(4), body(3)])
        assert answer.json() == {"ids": [f"{n:032x}" for n in (3, 2, 4, 3)], "repeated": 2}
        assert [one.inputs["x"] for one in stored(runtime)] == [1.0, 2.0, 3.0, 4.0]


def test_an_envelope_sent_again_is_stored_once_and_one_that_overlaps_gives_its_new_rows() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        first, second = envelope(1, 2, 3), envelope(2, 3, 4)
        answers = [
            client.post("/v1/envelopes", content=data, headers=PACKED).json()
            for data in (first, first, second)
        ]
        assert answers == [
            {"accepted": 3, "repeated": 0}, {"accepted": 3, "repeated": 3}, {"accepted": 3, "repeated": 2},
        ]  # fmt: skip
        found = records(runtime, INFERENCES)
        assert found[0].value == first
        assert [one.inputs["x"] for one in stored(runtime)] == [1.0, 2.0, 3.0, 4.0]
        assert [dict(decode(record.value).report) for record in found] == [{"queue_full": 3}] * 2


def test_the_same_inference_sent_by_many_at_once_is_stored_once() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: client.post("/v1/inferences", json=body(7)), range(16)))
        assert {answer.status_code for answer in answers} == {202}
        assert sum(answer.json()["repeated"] for answer in answers) == 15
        assert len(stored(runtime)) == 1


def test_ids_beyond_the_memory_are_stored_again() -> None:
    with opened(recent_ids=2) as runtime, LocalClient(make_app(runtime)) as client:
        for number in (1, 2, 3, 3, 1):
            client.post("/v1/inferences", json=body(number)).raise_for_status()
        assert [one.inputs["x"] for one in stored(runtime)] == [1.0, 2.0, 3.0, 1.0]


def test_without_a_memory_everything_is_stored() -> None:
    with opened(recent_ids=0) as runtime, LocalClient(make_app(runtime)) as client:
        for _ in range(2):
            client.post("/v1/inferences", json=body(1)).raise_for_status()
        assert len(stored(runtime)) == 2
