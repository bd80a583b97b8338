"""The Open Inference Protocol with its binary tensors and gRPC's JSON: every datatype arrives as it was."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.gateway_rig import LocalClient, joined, opened, records, stored

from davy.codec import decode
from davy.errors import InvalidInference
from davy.event import INFERENCES
from davy.gateway import make_app
from davy.gateway.tensors import TYPES

pytestmark = pytest.mark.fast


def packed(values: list[Any], datatype: str) -> bytes:
    """Return values as the extension packs them."""
    if datatype == "BYTES":
        parts = [one.encode() if isinstance(one, str) else one for one in values]
        return b"".join(struct.pack("<I", len(part)) + part for part in parts)
    if datatype == "BF16":
        return (np.array(values, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return np.array(values, TYPES[datatype]).tobytes()


def binary(
    part: str, *tensors: tuple[str, str, list[int], list[Any]], gap: bytes = b"", **more: Any
) -> bytes:
    """Return a message whose tensors follow its JSON."""
    datas = [packed(values, datatype) for _, datatype, _, values in tensors]
    heads = [
        {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(data)}}
        for (name, datatype, shape, _), data in zip(tensors, datas, strict=True)
    ]
    return json.dumps({part: heads, **more}).encode() + gap + b"".join(datas)


VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False], "UINT8": [0, 255], "UINT16": [0, 65535], "UINT32": [0, 2**32 - 1], "UINT64": [0, 2**63 - 1],
    "INT8": [-128, 127], "INT16": [-(2**15), 1], "INT32": [-(2**31), 1], "INT64": [-(2**63), 1], "FP16": [0.5, -2],
    "BF16": [1.5, -2], "FP32": [0.25, 2.0**100], "FP64": [0.1, float("inf")], "BYTES": ["grüß", b"\xff\x00"],
}  # fmt: skip


def test_the_table_covers_every_datatype() -> None:
    assert VALUES.keys() == TYPES.keys()


@pytest.mark.parametrize("datatype", list(VALUES))
@pytest.mark.parametrize("part", ["inputs", "outputs"])
def test_a_binary_tensor_arrives_as_it_was_in_both_directions(datatype: str, part: str) -> None:
    message = binary(part, ("x", datatype, [2], VALUES[datatype]))
    found = joined(message) if part == "inputs" else joined({"inputs": []}, message)
    values = [getattr(one, part)["x"] for one in found] if part == "inputs" else found[0].outputs["x"]
    assert list(values) == VALUES[datatype]


@pytest.mark.parametrize("datatype", list(VALUES))
def test_raw_contents_of_grpc_in_json_are_the_same_bytes(datatype: str) -> None:
    raw = base64.b64encode(packed(VALUES[datatype], datatype)).decode()
    for name in ("raw_input_contents", "rawInputContents"):
        body = {"inputs": [{"name": "x", "datatype": datatype, "shape": ["2", "1"]}], name: [raw]}
        assert [one.inputs["x"] for one in joined(body)] == VALUES[datatype]
    answer = {
        "modelVersion": "4", "outputs": [{"name": "x", "datatype": datatype, "shape": ["2"]}],
        "rawOutputContents": [raw],
    }  # fmt: skip
    found = joined({"inputs": [{"name": "i", "datatype": "INT8", "shape": [2], "data": [0, 1]}]}, answer)
    assert [one.outputs["x"] for one in found] == VALUES[datatype]


@pytest.mark.parametrize(
    ("datatype", "contents", "expected"),
    [
        ("FP32", {"fp32_contents": [0.5, 1]}, [0.5, 1]),
        ("INT64", {"int64Contents": ["-5", "9"]}, [-5, 9]),
        ("BOOL", {"bool_contents": [True, False]}, [True, False]),
        ("UINT8", {"uintContents": [1, 2]}, [1, 2]),
        ("BYTES", {"bytesContents": [base64.b64encode(b"a").decode(), "/w=="]}, ["a", b"\xff"]),
        ("INT32", {"intContents": [3, 4], "fp32Contents": []}, [3, 4]),
    ],
)
def test_typed_contents_of_grpc_in_json_are_read(datatype: str, contents: Any, expected: list[Any]) -> None:
    body = {"inputs": [{"name": "x", "datatype": datatype, "shape": ["2"], "contents": contents}]}
    assert [one.inputs["x"] for one in joined(body)] == expected


def test_binary_and_json_tensors_stand_side_by_side_in_any_order() -> None:
    first = ("a", "FP32", [2, 1], [0.5, 1.5])
    data = packed([7, 8], "INT32")
    head = {
        "id": "7", "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
        "inputs": [
            {"name": "j", "shape": [2], "datatype": "BYTES", "data": ["u", "v"]},
            {"name": "a", "shape": [2, 1], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
            {"name": "k", "shape": [2], "datatype": "FP64", "data": [1, 2], "parameters": {"content_type": "np"}},
            {"name": "b", "shape": [2], "datatype": "INT32", "parameters": {"binary_data_size": 8}},
        ],
    }  # fmt: skip
    found = joined(json.dumps(head).encode() + packed(first[3], "FP32") + data)
    assert [dict(one.inputs) for one in found] == [
        {"j": "u", "a": 0.5, "k": 1.0, "b": 7}, {"j": "v", "a": 1.5, "k": 2.0, "b": 8},
    ]  # fmt: skip


@pytest.mark.parametrize("gap", [b"", b"  ", b"\n"])
@pytest.mark.parametrize("said", ["header", "attribute", "nowhere"])
def test_where_the_bytes_begin_is_said_by_a_header_or_an_attribute_or_seen(said: str, gap: bytes) -> None:
    value = struct.unpack("<f", b'{"}\\')[0]  # bytes that look like JSON are none
    request = binary("inputs", ("x", "FP32", [1, 2], [value, 32.0]), gap=gap, id="ü")
    response = binary("outputs", ("y", "BF16", [1, 1], [0.5]), model_version="4")
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        for side, data in (("request", request), ("response", response)):
            headers = {"ce-id": "1", "ce-type": f"org.kubeflow.serving.inference.{side}"}
            length = str(len(data) - {"request": 8, "response": 2}[side])
            if said == "header":
                headers["Inference-Header-Content-Length"] = length
            elif said == "attribute":
                headers["ce-inferenceheadercontentlength"] = length
            answer = client.post("/v1/cloudevents/t", content=data, headers=headers)
            assert answer.status_code == 200, answer.text
        (one,) = stored(runtime)
        assert (one.model, one.outputs) == ("t:4", {"y": 0.5})
        np.testing.assert_array_equal(one.inputs["x"], np.array([value, 32.0], np.float32))


def test_a_tensor_in_shared_memory_is_left_out_and_counted_and_what_is_beside_it_arrives() -> None:
    away = {"name": "x", "shape": [1, 2**39], "datatype": "FP32", "parameters": {"shared_memory_region": "r"}}
    body = {"inputs": [away, one_tensor(name="y", data=[1.5])]}
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        response = {"outputs": [one_tensor(name="z", data=[2.5])]}
        client.post("/v1/oip/m:1", json={"request": body, "response": response}).raise_for_status()
        (one,) = stored(runtime)
        assert (one.inputs, one.outputs) == ({"x": None, "y": 1.5}, {"z": 2.5})
        (record,) = records(runtime, INFERENCES)
        (told,) = decode(record.value).report.items()
        assert (told[0].startswith("field:inputs.x:"), told[1]) == (True, 1)
    with pytest.raises(InvalidInference):
        joined({"inputs": [{**away, "shape": [20_000]}]})
    (one,) = joined({"inputs": [{**away, "shape": [2**39]}, one_tensor(name="y", data=[1.5])]})
    assert (one.inputs["x"], one.inputs["y"].tolist()) == (None, [1.5])


def test_a_whole_call_over_http_may_have_raw_contents() -> None:
    raw = [base64.b64encode(packed([1.5, 2.5], "FP16")).decode()]
    body = {
        "request": {"inputs": [{"name": "x", "datatype": "FP16", "shape": [2]}], "raw_input_contents": raw},
        "response": {
            "outputs": [{"name": "y", "datatype": "FP16", "shape": [2]}],
            "raw_output_contents": raw,
        },
    }
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        assert len(client.post("/v1/oip/m:1", json=body).raise_for_status().json()["ids"]) == 2
        assert [(one.inputs["x"], one.outputs["y"]) for one in stored(runtime)] == [(1.5, 1.5), (2.5, 2.5)]


def one_tensor(**more: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [1], **more}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (binary("inputs", ("x", "FP32", [3], [1.0])), "inputs.0.data"),
        (binary("inputs", ("x", "BYTES", [2], ["a"])), "inputs.0.data"),
        (binary("inputs", ("x", "FP32", [1], [1.0]))[:-1], "body"),
        (binary("inputs", ("x", "FP32", [1], [1.0])) + b"more", "body"),
        ({"inputs": [one_tensor(parameters={"binary_data_size": 4})]}, "body"),
        ({"inputs": [one_tensor(parameters={"binary_data_size": -4})]}, "inputs.0.parameters.binary_data_size"),
        ({"inputs": [one_tensor(parameters={"binary_data_size": "4"})]}, "inputs.0.parameters.binary_data_size"),
        ({"inputs": [one_tensor(parameters=3)]}, "inputs.0.data"),
        ({"inputs": [one_tensor(shape=["9" * 5000], data=[])]}, "inputs.0.shape"),
        ({"inputs": [one_tensor(datatype="INT64", contents={"int64Contents": ["9" * 5000]})]}, "inputs.0.data"),
        ({"inputs": [one_tensor(data=[1, 2])]}, "inputs.0.data"),
        ({"inputs": [one_tensor(contents={"fp32Contents": []})]}, "inputs.0.data"),
        ({"inputs": [one_tensor(shape=[2**62, 2**62], data=[])]}, "inputs.0.shape"),
        ({"inputs": [one_tensor()], "raw_input_contents": []}, "inputs.0.data"),
        ({"inputs": [one_tensor()], "raw_input_contents": ["AAAAAA==", "AA=="]}, "raw_input_contents"),
        ({"inputs": [one_tensor()], "raw_input_contents": ["?"]}, "inputs.0.data"),
        (b'{"inputs": [{"name": "x"' + b"\xff" * 20, "body"),
    ],
)  # fmt: skip
def test_a_damaged_message_is_refused_by_the_name_of_its_part(body: Any, field: str) -> None:
    with pytest.raises(InvalidInference) as refused:
        joined(body)
    assert refused.value.field == field


@pytest.mark.parametrize("length", ["0", "x", "999999", "-1", "1" * 40, "%C2%B2"])
def test_a_wrong_length_of_the_json_is_refused(length: str) -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        headers = {
            "ce-id": "1", "ce-type": "org.kubeflow.serving.inference.request",
            "ce-inferenceheadercontentlength": length,
        }  # fmt: skip
        answer = client.post("/v1/cloudevents/m:1", json={"inputs": []}, headers=headers)
        assert (answer.status_code, answer.json()["field"].lower()) == (
            422,
            "inference-header-content-length",
        )


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_any_tensor_survives_the_bytes(data: st.DataObject) -> None:
    datatype = data.draw(st.sampled_from([name for name in TYPES if name not in {"BYTES", "BF16"}]))
    width = np.dtype(TYPES[datatype]).itemsize
    count = data.draw(st.integers(1, 5))
    drawn = data.draw(st.binary(min_size=width * count, max_size=width * count))
    sent = np.frombuffer(drawn, "u1" if datatype == "BOOL" else TYPES[datatype])
    head = {
        "name": "x",
        "datatype": datatype,
        "shape": [1, count],
        "parameters": {"binary_data_size": len(drawn)},
    }
    (one,) = joined(json.dumps({"inputs": [head]}).encode() + drawn)
    np.testing.assert_array_equal(
        one.inputs["x"], (sent != 0 if datatype == "BOOL" else sent)[slice(None) if count > 1 else 0]
    )
