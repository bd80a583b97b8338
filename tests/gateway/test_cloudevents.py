"""Payload loggers: what KServe and Seldon send becomes inferences, joined, once each."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.gateway_rig import LocalClient, opened, stored

from davy.gateway import make_app
from davy.gateway.halves import Half
from davy.gateway.joining import Joiner
from davy.gateway.writer import Writer
from davy.runtime import Runtime

pytestmark = pytest.mark.fast
CALL = "c56a4180-65aa-42ec-a945-5fd21dec0538"
V1 = {"request": {"instances": [[6.8, 2.8], [6.0, 3.4]]}, "response": {"predictions": [1, 2]}}
V2 = {
    "request": {"inputs": [
        {"name": "sepal", "shape": [2, 2], "datatype": "FP32", "data": [6.8, 2.8, 6.0, 3.4]},
        {"name": "site", "shape": [2], "datatype": "BYTES", "data": ["north", "south"]},
    ]},
    "response": {"model_name": "iris", "model_version": "4", "outputs": [
        {"name": "value", "shape": [2, 1], "datatype": "INT64", "data": [[1], [2]]},
    ]},
}  # fmt: skip


def headers(side: str, call: str = CALL, maker: str = "org.kubeflow", **more: str) -> dict[str, str]:
    """Return the headers of a logger's event in binary mode; the names are KServe's and Seldon's own."""
    attributes = {
        "specversion": "1.0", "id": call, "source": "http://localhost:9081/", "time": "2026-01-02T03:04:05.5Z",
        "type": f"{maker}.serving.inference.{side}", "inferenceservicename": "iris", "namespace": "prod",
        "component": "predictor", "endpoint": "default",
    }  # fmt: skip
    return {f"ce-{name}": value for name, value in (attributes | more).items()}


def send(client: LocalClient, side: str, body: Any = None, path: str = "/v1/cloudevents", **more: str) -> Any:
    answer = client.post(path, json=V1[side] if body is None else body, headers=headers(side, **more))
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("order", [("request", "response"), ("response", "request")])
def test_a_request_and_its_response_become_one_inference_a_row_in_either_order(
    order: tuple[str, str],
) -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        first, second = (send(client, side) for side in order)
        assert (first["waiting"], second) == (True, {"accepted": 2, "repeated": 0, "waiting": False})
        found = stored(runtime)
        assert [one.model for one in found] == ["iris:default"] * 2
        np.testing.assert_allclose([one.inputs["instance"] for one in found], V1["request"]["instances"])
        assert [one.outputs["prediction"] for one in found] == [1, 2]
        assert [one.at for one in found] == [1_767_323_045_500_000_000] * 2
        assert [one.id for one in found] == [
            hashlib.sha256(f"{CALL}/{row}".encode()).digest()[:16] for row in range(2)
        ]


def test_a_single_row_has_the_requests_uuid_so_feedback_can_name_it() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        send(client, "request", {"instances": [{"amount": 12.5, "country": "NZ"}]})
        send(client, "response", {"predictions": [{"probs": [0.9, 0.1]}]})
        (one,) = stored(runtime)
        assert one.id.hex() == CALL.replace("-", "")
        assert one.inputs == {"amount": 12.5, "country": "NZ"}
        np.testing.assert_array_equal(one.outputs["probs"], [0.9, 0.1])


def test_open_inference_protocol_tensors_keep_names_types_and_rows() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        for side in ("request", "response"):
            send(client, side, V2[side])
        first, second = stored(runtime)
        assert first.model == "iris:4"
        np.testing.assert_array_equal(first.inputs["sepal"], np.array([6.8, 2.8], np.float32))
        assert (first.inputs["site"], second.inputs["site"]) == ("north", "south")
        assert (first.outputs["value"], second.outputs["value"]) == (1, 2)


@pytest.mark.parametrize("encoded", [False, True])
def test_structured_mode_says_the_same_as_binary_mode(encoded: bool) -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        for side in ("request", "response"):
            attributes = {name.removeprefix("ce-"): value for name, value in headers(side).items()}
            data = base64.b64encode(json.dumps(V1[side]).encode()).decode() if encoded else V1[side]
            event = attributes | {"data_base64" if encoded else "data": data}
            kind = {"content-type": "application/cloudevents+json; charset=utf-8"}
            client.post("/v1/cloudevents", json=event, headers=kind).raise_for_status()
        assert [one.outputs["prediction"] for one in stored(runtime)] == [1, 2]


def test_seldon_names_a_call_by_its_requestid() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        for number, side in enumerate(("request", "response")):
            send(client, side, maker="io.seldon", call=f"event-{number}", requestid=CALL, endpoint="v2")
        assert [one.model for one in stored(runtime)] == ["iris:v2"] * 2


def test_the_path_and_the_query_name_the_model_and_the_fields() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        for side in ("request", "response"):
            send(client, side, path="/v1/cloudevents/iris:7?input=sepal&output=label")
        (one, _) = stored(runtime)
        assert (one.model, set(one.inputs), set(one.outputs)) == ("iris:7", {"sepal"}, {"label"})


def test_calls_of_other_models_components_or_names_never_join() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        send(client, "request")
        for more in ({"inferenceservicename": "other"}, {"component": "transformer"}, {"namespace": "test"}):
            assert send(client, "response", **more)["waiting"]
        assert send(client, "response", call="another")["waiting"]
        assert stored(runtime) == []


def test_halves_with_other_numbers_of_rows_make_one_inference_of_whole_tensors() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        send(client, "request")
        assert send(client, "response", {"predictions": [0.5]})["accepted"] == 1
        (one,) = stored(runtime)
        assert one.inputs["instance"].shape == (2, 2)
        assert one.outputs["prediction"].tolist() == [0.5]


def test_a_call_logged_again_is_stored_once() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        for side in ("request", "request", "response"):
            send(client, side)
        send(client, "request")
        assert send(client, "response") == {"accepted": 2, "repeated": 2, "waiting": False}
        assert len(stored(runtime)) == 2


@pytest.mark.parametrize(
    ("body", "more", "field"),
    [
        (b"\x80 not JSON", {}, "body"),
        (b"[1]", {}, "body"),
        (b"{}", {}, "request"),
        (b'{"instances": 3}', {}, "instances"),
        (b'{"inputs": [{"name": "x", "shape": [3], "datatype": "FP32", "data": [1]}]}', {}, "inputs.0.data"),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP99", "data": [1]}]}', {}, "datatype"),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "INT8", "data": [1.5]}]}', {}, "inputs.0.data"),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "UINT8", "data": [256]}]}', {}, "inputs.0.data"),
        (b'{"inputs": [{"name": "x", "shape": [-1], "datatype": "FP32", "data": []}]}', {}, "shape"),
        (b'{"instances": [1]}', {"ce-type": "io.seldon.serving.feedback"}, "ce-type"),
        (b'{"instances": [1]}', {"ce-id": ""}, "ce-id"),
        (b'{"instances": [1]}', {"ce-inferenceservicename": ""}, "model"),
        (b'{"instances": [1]}', {"ce-inferenceservicename": "two words"}, "model"),
        (b'{"instances": [1]}', {"content-type": "application/cloudevents-batch+json"}, "content-type"),
    ],
)  # fmt: skip
def test_a_wrong_event_is_answered_422_with_the_field(body: bytes, more: dict[str, str], field: str) -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        answer = client.post("/v1/cloudevents", content=body, headers=headers("request") | more)
        assert (answer.status_code, field in answer.json()["field"]) == (422, True), answer.text


def half(side: str, call: str, runtime: Runtime) -> Half:
    data = json.dumps(V1[side]).encode()
    return Half(side, call, "iris:1", "", "", runtime.clock(), runtime.clock(), "x", data)


def test_a_half_without_the_other_is_written_with_what_it_has_when_its_time_is_over_and_counted() -> None:
    now = 10**18

    async def work() -> None:
        nonlocal now
        joiner = Joiner(runtime, Writer(runtime))
        await joiner.take(half("request", "a", runtime))
        now += 59 * 10**9
        await joiner.take(half("response", "b", runtime))
        await joiner.expire()
        assert stored(runtime) == []
        now += 10**9
        await joiner.expire()
        assert [(bool(one.inputs), bool(one.outputs)) for one in stored(runtime)] == [(True, False)] * 2
        now += 59 * 10**9
        await joiner.expire()
        assert [(bool(one.inputs), bool(one.outputs)) for one in stored(runtime)[2:]] == [(False, True)] * 2
        assert runtime.store.count("joining") == 0

    with opened(clock=lambda: now, join_seconds=60.0) as runtime:
        asyncio.run(work())
        metrics = runtime.meter.exposition().decode()
        for side in ("request", "response"):
            assert f'davy_gateway_unjoined_total{{half="{side}"}} 1.0' in metrics


@pytest.mark.parametrize("limit", [{"join_events": 2}, {"bytes_at_once": 1024}])
def test_beyond_the_room_the_oldest_halves_are_written_alone(limit: dict[str, int]) -> None:
    async def work() -> None:
        joiner = Joiner(runtime, Writer(runtime))
        for number in range(40):
            await joiner.take(half("request", str(number), runtime))
        waiting = runtime.store.count("joining")
        assert waiting <= max(2, 1024 // len(json.dumps(V1["request"])))
        assert len(stored(runtime)) == 2 * (40 - waiting)
        assert await joiner.take(half("response", "39", runtime)) == (2, 0)

    with opened(**limit) as runtime:
        asyncio.run(work())


def test_a_half_that_was_acknowledged_outlives_the_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}"
    with opened(url) as runtime, LocalClient(make_app(runtime)) as client:
        send(client, "request")
    with opened(url) as runtime, LocalClient(make_app(runtime)) as client:
        assert send(client, "response")["accepted"] == 2
        assert all(one.inputs and one.outputs for one in stored(runtime))


def test_time_runs_while_the_gateway_does() -> None:
    with opened(join_seconds=0.01) as runtime, LocalClient(make_app(runtime)) as client:
        send(client, "request")
        consumer = runtime.log.consumer(["davy.inferences"], "test")
        assert consumer.poll(timeout=10.0)
        consumer.close()


def test_a_pair_of_the_open_inference_protocol_is_stored_under_its_id() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        body = {"request": {**V2["request"], "id": CALL}, "response": V2["response"]}
        answers = [client.post("/v1/oip/iris", json=body).json() for _ in range(2)]
        assert [answer["repeated"] for answer in answers] == [0, 2]
        found = stored(runtime)
        assert [one.id.hex() for one in found] == answers[0]["ids"] == answers[1]["ids"]
        assert {one.model for one in found} == {"iris:4"}
        client.post("/v1/oip/iris:9", json=body).raise_for_status()
        assert stored(runtime)[-1].model == "iris:9"
