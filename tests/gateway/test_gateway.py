"""The gateway: what it stores, what it refuses and how it says so."""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.gateway_rig import PACKED, LocalClient, records

from davy.codec import Encoder, decode, dump, load, pack
from davy.config import Settings
from davy.errors import BlobError, SettingError
from davy.event import FEEDBACK, INFERENCES, Feedback, dead_letters
from davy.gateway import GatewayTarget, make_app, media_url, open_media
from davy.runner import beside_the_log, open_runtime
from davy.runtime import Runtime

pytestmark = pytest.mark.fast


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with open_runtime(Settings(url=f"memory://{uuid.uuid4()}")) as opened:
        yield opened


@pytest.fixture
def client(runtime: Runtime) -> Iterator[LocalClient]:
    with LocalClient(make_app(runtime)) as opened:
        yield opened


def test_an_inference_in_json_is_stored_with_tensors_and_the_id_it_was_given(
    client: LocalClient, runtime: Runtime
) -> None:
    body = {
        "model": "iris:1",
        "inputs": {"sepal": [5.1, 3.5], "site": "north"},
        "outputs": {"probs": [0.25, 0.75]},
        "tags": {"country": "NZ"},
        "id": "0" * 31 + "7",
        "at": 1_767_225_600_000_000_012,
    }
    answer = client.post("/v1/inferences", json=body)
    assert (answer.status_code, answer.json()) == (202, {"ids": [body["id"]], "repeated": 0})
    (record,) = records(runtime, INFERENCES)
    found = decode(record.value).inference(0)
    assert record.key == found.model == "iris:1"
    np.testing.assert_array_equal(found.inputs["sepal"], [5.1, 3.5])
    assert (found.inputs["site"], dict(found.tags), found.at) == ("north", {"country": "NZ"}, body["at"])


def test_a_list_of_inferences_is_one_envelope_under_the_ids_that_were_answered(
    client: LocalClient, runtime: Runtime
) -> None:
    bodies = [{"model": "iris:1", "inputs": {"x": value}} for value in (1.0, 2.0)]
    first = client.post("/v1/inferences", json=bodies).json()["ids"]
    assert len(set(first)) == 2
    (record,) = records(runtime, INFERENCES)  # rows of one layout share an envelope
    assert decode(record.value)["inputs", "x"].values.tolist() == [1.0, 2.0]
    assert [id.tobytes().hex() for id in decode(record.value).ids] == first


def test_an_envelope_is_stored_byte_for_byte(client: LocalClient, runtime: Runtime) -> None:
    data = pack([Encoder().encode("m:1", bytes(16), 1, {"x": np.ones(3, np.float32)}, {"value": 2.0})])
    assert client.post("/v1/envelopes", content=data, headers=PACKED).json() == {"accepted": 1, "repeated": 0}
    assert [record.value for record in records(runtime, INFERENCES)] == [data]


def test_bytes_that_are_no_envelope_are_refused_and_kept_as_a_dead_letter(
    client: LocalClient, runtime: Runtime
) -> None:
    answer = client.post("/v1/envelopes", content=b"not an envelope", headers=PACKED)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "field", "value", "remedy"}
    (record,) = records(runtime, dead_letters(INFERENCES))
    assert record.value == b"not an envelope"
    assert record.headers["davy.error"] == "DecodeError"
    assert records(runtime, INFERENCES) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"inputs": {"x": 1}}, "model"),
        ({"model": "no version", "inputs": {"x": 1}}, "model"),
        ({"model": "m:1", "inputs": {}}, "inputs"),
        ({"model": "m:1", "inputs": {"x": 1}, "id": "short"}, "id"),
        ({"model": "m:1", "inputs": {"x": 1}, "unknown": 1}, "unknown"),
    ],
)
def test_a_wrong_body_is_answered_with_the_field(
    client: LocalClient, body: dict[str, Any], field: str
) -> None:
    answer = client.post("/v1/inferences", json=body)
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "field", "value", "remedy"}
    assert answer.json()["field"] == field


def test_feedback_arrives_in_json_and_packed(client: LocalClient, runtime: Runtime) -> None:
    packed = Feedback(id=bytes(16), truth=3, at=5, model="m:1")
    client.post("/v1/feedback", json={"id": "ab" * 16, "truth": "cat", "model": "m:1"}).raise_for_status()
    headers = {"content-type": "application/vnd.davy.feedback"}
    client.post("/v1/feedback", content=dump(packed), headers=headers).raise_for_status()
    found = [load(Feedback, record.value) for record in records(runtime, FEEDBACK)]
    assert [event.truth for event in found] == ["cat", 3]
    assert found[1] == packed


def test_feedback_is_told_whose_inference_it_is_about_where_the_gateway_wrote_it(
    client: LocalClient, runtime: Runtime
) -> None:
    for model, id in (("m:1", "ab" * 16), ("m:1", "cd" * 16), ("n:1", "cd" * 16)):
        body = {"model": model, "inputs": {"x": 1.0}, "id": id}
        client.post("/v1/inferences", json=body).raise_for_status()
    told = [
        {"id": id * 16, "truth": "cat"} for id in ("ab", "cd", "ef")
    ]  # one model's, two models', nobody's
    client.post("/v1/feedback", json=told).raise_for_status()
    found = [load(Feedback, record.value) for record in records(runtime, FEEDBACK)]
    assert [event.model for event in found] == ["m:1", "", ""]


def test_wrong_feedback_names_the_field(client: LocalClient) -> None:
    answer = client.post("/v1/feedback", json={"id": "zz", "truth": 1})
    assert answer.status_code == 422
    assert "id" in answer.json()["field"]


def test_a_body_beyond_the_limit_is_refused(runtime: Runtime) -> None:
    gateway = replace(runtime.settings.gateway, body_bytes=1024)
    small = replace(runtime, settings=replace(runtime.settings, gateway=gateway))
    with LocalClient(make_app(small)) as client:
        answer = client.post("/v1/envelopes", content=bytes(2048), headers=PACKED)
    assert (answer.status_code, answer.json()["field"]) == (413, "body")


def test_with_an_api_key_everything_but_media_and_health_needs_it(runtime: Runtime) -> None:
    gateway = replace(runtime.settings.gateway, api_key="lamp")
    closed = replace(runtime, settings=replace(runtime.settings, gateway=gateway))
    with LocalClient(make_app(closed)) as client:
        for path in ("/metrics", "/", "/status.json"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401
            assert client.get(path, headers={"authorization": "Bearer lamp"}).status_code == 200
            assert client.get(path, auth=("anyone", "lamp")).status_code == 200
            assert client.get(path, auth=("lamp", "wrong")).status_code == 401
        assert client.post("/v1/inferences", json={"model": "m:1", "inputs": {"x": 1}}).status_code == 401
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


def test_a_media_link_opens_its_payload_and_no_other(client: LocalClient, runtime: Runtime) -> None:
    url = media_url(runtime, runtime.blobs.put(b"picture", "image/png"))
    answer = client.get(url)
    assert (answer.content, answer.headers["content-type"]) == (b"picture", "image/png")
    forged = url[:-2] + ("aa" if url[-2:] != "aa" else "bb")
    assert client.get(forged).status_code == 404


def test_a_media_link_expires(runtime: Runtime) -> None:
    gateway = replace(runtime.settings.gateway, media_hours=-1.0)
    late = replace(runtime, settings=replace(runtime.settings, gateway=gateway))
    token = media_url(runtime, runtime.blobs.put(b"picture", "image/png")).rpartition("/")[2]
    with pytest.raises(BlobError, match="expired"):
        open_media(late, token)


def test_metrics_count_what_was_received(client: LocalClient) -> None:
    client.post("/v1/inferences", json={"model": "m:1", "inputs": {"x": 1}}).raise_for_status()
    assert 'davy_gateway_inferences_total{model="m:1"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_an_open_address_needs_an_api_key(runtime: Runtime, host: str) -> None:
    gateway = replace(runtime.settings.gateway, host=host, port=0)
    with pytest.raises(SettingError, match="DAVY_GATEWAY_API_KEY"):
        GatewayTarget(replace(runtime, settings=replace(runtime.settings, gateway=gateway)))


def test_a_server_refuses_a_log_it_cannot_read() -> None:
    with pytest.raises(SettingError, match="reads its log itself"):
        beside_the_log(Settings(url="http://gateway:8321"))


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/", "/docs", "/media/none", "/v1/inferences"])
def test_head_is_answered_as_get_without_the_body(path: str, client: LocalClient) -> None:
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert int(head.headers["content-length"]) > 0


ROW = '{"model": "m:1", "inputs": {"x": "é"}}'


@pytest.mark.parametrize("path", ["/v1/inferences", "/v1/payloads?id=1&model=m:1&side=request"])
def test_a_compressed_body_is_refused_by_its_header(path: str, client: LocalClient) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = client.post(path, content=gzip.compress(ROW.encode()), headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (415, "Content-Encoding")


def test_a_mark_of_the_byte_order_is_skipped_and_another_encoding_is_named(client: LocalClient) -> None:
    headers = {"content-type": "application/json"}
    assert client.post("/v1/inferences", content=ROW.encode("utf-8-sig"), headers=headers).status_code == 202
    for encoding in ("utf-16", "utf-16-le", "utf-32", "latin-1"):
        answer = client.post("/v1/inferences", content=ROW.encode(encoding), headers=headers)
        assert (answer.status_code, answer.json()["field"]) == (422, "body")
        assert "UTF-8" in answer.json()["remedy"]
