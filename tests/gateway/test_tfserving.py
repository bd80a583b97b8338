"""TensorFlow Serving's two formats, of which KServe's V1 is one, and MLflow's tables: rows, columns, bytes, answers."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from support.gateway_rig import LocalClient, joined, opened, stored

from davy.errors import InvalidInference
from davy.gateway import make_app

pytestmark = pytest.mark.fast
PNG = base64.b64encode(b"\x89PNG").decode()
REQUESTS: list[tuple[str, Any, list[dict[str, Any]]]] = [
    ("rows", {"instances": [[1, 2], [3, 4]]}, [{"instance": [1, 2]}, {"instance": [3, 4]}]),
    ("rows by name", {"instances": [{"a": 1}, {"a": 2}]}, [{"a": 1}, {"a": 2}]),
    ("rows of which one is missing", {"instances": [{"a": 1}, None]}, [{"a": 1}, {"a": None}]),
    ("no rows", {"instances": []}, []),
    ("a signature", {"signature_name": "serving_default", "instances": ["x"]}, [{"instance": "x"}]),
    ("rows of bytes", {"instances": [{"b64": PNG}]}, [{"instance": b"\x89PNG"}]),
    ("bytes in rows by name", {"instances": [{"image": {"b64": PNG}, "k": 1}]}, [{"image": b"\x89PNG", "k": 1}]),
    ("rows of several kinds", {"instances": [1, "x", None]}, [{"instance": 1}, {"instance": "x"}, {"instance": None}]),
    ("columns", {"inputs": {"x": [[1, 2]]}}, [{"x": [1, 2]}]),
    ("several columns", {"inputs": {"x": [[1, 2], [3, 4]], "y": ["a", "b"]}}, [{"x": [1, 2], "y": "a"}, {"x": [3,
     4], "y": "b"}]),
    ("columns of another length", {"inputs": {"x": [1.0, 2.0], "y": [1.0]}}, [{"x": [1, 2], "y": [1]}]),
    ("scalars", {"inputs": {"x": 1, "y": "a"}}, [{"x": 1, "y": "a"}]),
    ("a bare tensor", {"inputs": [[1, 2]]}, [{"instance": [1, 2]}]),
    ("bare texts", {"inputs": ["a", "b"]}, [{"instance": "a"}, {"instance": "b"}]),
    ("a bare text", {"inputs": "a", "parameters": {"max_new_tokens": 3}}, [{"instance": "a"}]),
    ("bare objects", {"inputs": [{"b64": PNG}]}, [{"instance": b"\x89PNG"}]),
    ("bare objects with a name", {"inputs": [{"name": "Ada", "age": 36}]}, [{"name": "Ada", "age": 36}]),
    ("a table of MLflow", {"dataframe_split": {"columns": ["a", 7], "index": [3, 4], "data": [[1, "x"], [None, "y"]]}},
     [{"a": 1, "7": "x"}, {"a": None, "7": "y"}]),
    ("one without names", {"dataframe_split": {"data": [[1, 2]]}}, [{"instance": [1, 2]}]),
    ("records of MLflow", {"dataframe_records": [{"a": 1}, {"b": 2}], "params": {}}, [{"a": 1, "b": None},
     {"a": None, "b": 2}]),
    ("bytes in a column", {"inputs": {"image": [{"b64": PNG}]}}, [{"image": b"\x89PNG"}]),
]  # fmt: skip
RESPONSES: list[tuple[str, Any, dict[str, Any]]] = [
    ("rows", {"predictions": [[0.1, 0.9]]}, {"prediction": [0.1, 0.9]}),
    ("rows by name", {"predictions": [{"probs": [0.1, 0.9], "label": "b"}]}, {"probs": [0.1, 0.9], "label": "b"}),
    ("one object for one row", {"predictions": {"label": "cat", "score": 0.9}}, {"label": "cat", "score": 0.9}),
    ("one object with a vector", {"predictions": {"probs": [0.1, 0.9]}}, {"probs": [0.1, 0.9]}),
    ("columns under predictions", {"predictions": {"probs": [[0.1, 0.9]], "label": ["b"]}}, {"probs": [0.1, 0.9],
     "label": "b"}),
    ("columns", {"outputs": {"probs": [[0.1, 0.9]], "label": ["b"]}}, {"probs": [0.1, 0.9], "label": "b"}),
    ("a bare tensor", {"outputs": [[0.1, 0.9]]}, {"prediction": [0.1, 0.9]}),
    ("a bare number", {"outputs": 0.5}, {"prediction": 0.5}),
    ("boxes of one image", {"outputs": {"boxes": [[0, 0, 1, 1], [1, 1, 2, 2]], "count": [2]}},
     {"boxes": [[0, 0, 1, 1], [1, 1, 2, 2]], "count": [2]}),
]  # fmt: skip


def plain(fields: Any) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()
    }


@pytest.mark.parametrize(
    ("body", "expected"), [pytest.param(body, rows, id=name) for name, body, rows in REQUESTS]
)
def test_rows_and_columns_become_an_inference_a_row(body: Any, expected: list[dict[str, Any]]) -> None:
    assert [plain(one.inputs) for one in joined(body)] == expected


@pytest.mark.parametrize(
    ("body", "expected"), [pytest.param(body, fields, id=name) for name, body, fields in RESPONSES]
)
def test_one_row_has_inputs_of_the_same_shape_whatever_form_the_answer_has(
    body: Any, expected: dict[str, Any]
) -> None:
    (one,) = joined({"instances": [[1.0, 2.0]]}, body)
    assert (plain(one.inputs), plain(one.outputs)) == ({"instance": [1, 2]}, expected)


def test_columns_behind_a_logger_are_stored_over_http() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        for side, body in (("request", {"inputs": {"x": [[1, 2]]}}), ("response", {"outputs": [[0.1, 0.9]]})):
            headers = {"ce-id": "1", "ce-type": f"org.kubeflow.serving.inference.{side}"}
            client.post("/v1/cloudevents/t:1?output=probs", json=body, headers=headers).raise_for_status()
        (one,) = stored(runtime)
        assert (one.inputs["x"].tolist(), one.outputs["probs"].tolist()) == ([1, 2], [0.1, 0.9])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"instances": {"a": 1}}, "instances"),
        ({"instances": [{"b64": "?"}]}, "instances"),
        ({"inputs": {"x": [{"b64": 3}]}}, "inputs"),
        ({"inputs": None}, "inputs"),
        (b'{"inputs": {"x": 1}}\xff', "body"),
        (b'{"instances": [1]}{"instances": [2]}', "body"),
        ({"dataframe_split": [1]}, "dataframe_split"),
        ({"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}, "dataframe_split.data"),
        ({"dataframe_records": {"a": [1]}}, "dataframe_records"),
        ({"inputs": {str(name): 0 for name in range(5000)}}, "body"),
    ],
)
def test_a_damaged_message_is_refused_by_the_name_of_its_part(body: Any, field: str) -> None:
    with pytest.raises(InvalidInference) as refused:
        joined(body)
    assert refused.value.field == field
