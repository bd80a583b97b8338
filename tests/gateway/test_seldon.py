"""Seldon Core's V1 messages: whatever form the values have, every row becomes an inference with named fields."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from support.gateway_rig import LocalClient, joined, opened, stored

from davy.errors import InvalidInference
from davy.gateway import make_app

pytestmark = pytest.mark.fast


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def dims(*sizes: Any) -> dict[str, Any]:
    return {"dim": [{"size": size} for size in sizes]}


FLOATS = b64(np.array([[1, 2]], "<f4").tobytes())
REQUESTS: list[tuple[str, Any, list[dict[str, Any]]]] = [
    ("named columns", {"data": {"names": ["a", "b"], "ndarray": [[1, 2], [3, 4]]}}, [{"a": 1, "b": 2}, {"a": 3,
     "b": 4}]),
    ("mixed columns", {"data": {"names": ["a", "b"], "ndarray": [[1.5, "x"]]}}, [{"a": 1.5, "b": "x"}]),
    ("a gap", {"data": {"names": ["a", "b"], "ndarray": [[1.5, None]]}}, [{"a": 1.5, "b": None}]),
    ("one row without its brackets", {"data": {"names": ["a", "b"], "ndarray": [1, 2]}}, [{"a": 1, "b": 2}]),
    ("no names", {"data": {"ndarray": [[1.0, 2.0]]}}, [{"instance": [1, 2]}]),
    ("names of nothing", {"data": {"names": [], "ndarray": [[1.0, 2.0]]}}, [{"instance": [1, 2]}]),
    ("names that are null", {"data": {"names": None, "ndarray": [[1.0, 2.0]]}}, [{"instance": [1, 2]}]),
    ("too few names", {"data": {"names": ["a"], "ndarray": [[1.0, 2.0]]}}, [{"instance": [1, 2]}]),
    ("a name twice", {"data": {"names": ["a", "a"], "ndarray": [[1.0, 2.0]]}}, [{"instance": [1, 2]}]),
    ("texts", {"data": {"names": [], "ndarray": ["good", "bad"]}}, [{"instance": "good"}, {"instance": "bad"}]),
    ("objects", {"data": {"ndarray": [{"a": 1}, {"b": "x"}]}}, [{"a": 1, "b": None}, {"a": None, "b": "x"}]),
    ("ragged rows", {"data": {"names": ["a", "b"], "ndarray": [[1, 2], [3]]}}, [{"instance": [1, 2]},
     {"instance": [3]}]),
    ("a tensor", {"data": {"names": ["a", "b"], "tensor": {"shape": [2, 2], "values": [1, 2, 3, 4]}}},
     [{"a": 1, "b": 2}, {"a": 3, "b": 4}]),
    ("a tensor without its shape", {"data": {"tensor": {"values": [1, 2]}}}, [{"instance": 1}, {"instance": 2}]),
    ("a tensor of one row", {"data": {"names": ["a", "b"], "tensor": {"shape": [2], "values": [1, 2]}}},
     [{"a": 1, "b": 2}]),
    ("an image", {"data": {"tensor": {"shape": [1, 2, 2], "values": [0, 1, 2, 3]}}}, [{"instance": [[0, 1], [2, 3]]}]),
    ("a TensorFlow tensor", {"data": {"tftensor": {"dtype": "DT_FLOAT", "tensorShape": dims("1", "2"),
     "floatVal": [1, 2]}}},
     [{"instance": [1, 2]}]),
    ("its old spelling", {"data": {"tftensor": {"dtype": "DT_INT64", "tensor_shape": dims(2), "int64_val": ["1",
     "2"]}}},
     [{"instance": 1}, {"instance": 2}]),
    ("its bytes", {"data": {"names": ["a", "b"], "tftensor": {"dtype": "DT_FLOAT", "tensorShape": dims("1", "2"),
     "tensorContent": FLOATS}}}, [{"a": 1, "b": 2}]),
    ("its texts", {"data": {"tftensor": {"dtype": "DT_STRING", "tensorShape": dims("1"), "stringVal": [b64(b"hi")]}}},
     [{"instance": "hi"}]),
    ("its halves", {"data": {"tftensor": {"dtype": "DT_BFLOAT16", "tensorShape": dims(1), "halfVal": [0x3F80]}}},
     [{"instance": 1}]),
    ("text", {"meta": {"puid": "x"}, "strData": "hello"}, [{"instance": "hello"}]),
    ("bytes", {"binData": b64(b"\xff\xd8")}, [{"instance": b"\xff\xd8"}]),
    ("JSON", {"jsonData": {"amount": 1.5, "country": "NZ"}}, [{"amount": 1.5, "country": "NZ"}]),
    ("JSON of several rows", {"jsonData": [{"amount": 1}, {"amount": 2}]}, [{"amount": 1}, {"amount": 2}]),
    ("JSON that is a number", {"jsonData": 3}, [{"instance": 3}]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "expected"), [pytest.param(body, rows, id=name) for name, body, rows in REQUESTS]
)
def test_every_form_of_values_becomes_rows_of_named_fields(body: Any, expected: list[dict[str, Any]]) -> None:
    found = joined(body)
    assert [plain(one.inputs) for one in found] == expected


def plain(fields: Any) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()
    }


def test_the_names_of_a_response_are_the_names_of_the_classes_once_the_default_ones_are_left_out() -> None:
    for names, known in ((["cat", "dog"], True), (["t:0", "t:1"], False), ([], False)):
        response = {"data": {"names": names, "tensor": {"shape": [1, 2], "values": [0.1, 0.9]}}}
        for output, name in (("prediction", "probs" if known else "prediction"), ("logits", "logits")):
            (one,) = joined({"data": {"ndarray": [[1.0]]}}, response, output=output)
            assert one.outputs[name].tolist() == [0.1, 0.9]
            assert one.outputs.get("class_names") == (["cat", "dog"] if known else None)


def test_the_tags_of_meta_are_segments_and_the_rest_of_it_says_nothing() -> None:
    meta = {
        "puid": "p",
        "tags": {"outlier": True, "shop": "east", "odd": [1]},
        "routing": {"r": 1},
        "metrics": [],
    }
    (one,) = joined({"strData": "x"}, {"meta": meta, "strData": "y"})
    assert (dict(one.tags), one.outputs) == ({"outlier": "True", "shop": "east"}, {"prediction": "y"})


@pytest.mark.parametrize("maker", ["io.seldon", "org.kubeflow"])
def test_events_of_either_logger_with_these_messages_are_stored_over_http(maker: str) -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        for side, body in (
            ("request", {"data": {"names": ["a", "b"], "ndarray": [[1, 2]]}}),
            (
                "response",
                {"data": {"names": ["t:0", "t:1"], "tensor": {"shape": [1, 2], "values": [0.1, 0.9]}}},
            ),
        ):
            headers = {"ce-id": side, "ce-requestid": "7", "ce-type": f"{maker}.serving.inference.{side}"}
            client.post("/v1/cloudevents/s:1", json=body, headers=headers).raise_for_status()
        (one,) = stored(runtime)
        assert (one.model, one.inputs) == ("s:1", {"a": 1, "b": 2})
        assert one.outputs["prediction"].tolist() == [0.1, 0.9]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"data": {}}, "data"),
        ({"data": {"ndarray": 3}}, "data.ndarray"),
        ({"data": {"tensor": [1]}}, "data.tensor"),
        ({"data": {"tensor": {"shape": [3], "values": [1]}}}, "data.tensor"),
        ({"data": {"tensor": {"shape": [-1], "values": [1]}}}, "data.tensor.shape"),
        ({"data": {"tensor": {"shape": ["x"], "values": [1]}}}, "data.tensor.shape"),
        ({"data": {"tensor": {"shape": [1], "values": ["x"]}}}, "data.tensor"),
        ({"data": {"tftensor": {"dtype": "DT_COMPLEX64"}}}, "data.tftensor.dtype"),
        ({"data": {"tftensor": {"dtype": "DT_FLOAT", "tensorShape": {"dim": 3}}}}, "data.tftensor.tensorShape"),
        ({"data": {"tftensor": {"dtype": "DT_FLOAT", "tensorShape": dims(3), "tensorContent": FLOATS}}},
         "data.tftensor.data"),
        ({"data": {"tftensor": {"dtype": "DT_STRING", "tensorShape": dims(1), "stringVal": ["?"]}}},
         "data.tftensor.stringVal"),
        ({"data": {"tftensor": {"dtype": "DT_FLOAT", "tensorShape": dims(1), "floatVal": 3}}},
         "data.tftensor.floatVal"),
        ({"binData": "not base64"}, "binData"),
        ({"status": {"status": "FAILURE", "info": "broken"}}, "request"),
    ],
)  # fmt: skip
def test_a_damaged_message_is_refused_by_the_name_of_its_part(body: Any, field: str) -> None:
    with pytest.raises(InvalidInference) as refused:
        joined(body)
    assert refused.value.field == field
