"""No message of any protocol, however damaged, breaks the gateway: it is read or refused by the name of a field."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.gateway_rig import LocalClient, opened

from davy.errors import InvalidInference
from davy.gateway import make_app
from davy.gateway.columns import TensorColumns, rows
from davy.gateway.halves import _DAMAGED, Half, read

SIDES = ("request", "response")
RAW = base64.b64encode(b"\x00\x00\x80\x3f").decode()
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}
CALL = {"function": {"name": "f", "arguments": "{}"}, "index": 0}
SEEDS: list[Any] = [
    {"data": {"names": ["a", "b"], "ndarray": [[1, 2]]}, "meta": {"tags": {"a": 1}}},
    {"data": {"names": ["a"], "tensor": {"shape": [1, 1], "values": [1]}}},
    {"data": {"tftensor": {"dtype": "DT_HALF", "tensorShape": {"dim": [{"size": "1"}]}, "halfVal": [1]}}},
    {"data": {"tftensor": {"dtype": "DT_STRING", "tensorShape": {"dim": [{"size": 1}]}, "stringVal": [RAW]}}},
    {"binData": RAW}, {"strData": "x"}, {"jsonData": [{"a": 1}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}, {"tool_calls": [CALL]}], "tools": []},
    {"prompt": ["a", "b"], "n": 2}, {"input": [[1, 2]]}, {"query": "x", "documents": [{"text": "a"}]},
    {"choices": [{"index": 0, "message": {"content": "x", "tool_calls": [CALL]}, "finish_reason": "stop",
                  "logprobs": {"content": [{"logprob": 1}], "token_logprobs": None}}], "usage": {"total_tokens": 1}},
    {"choices": [{"index": 0, "delta": {"content": "x", "tool_calls": [CALL]}, "text": "x", "logprobs": {"x": [1]}}]},
    {"object": "response", "output": [{"type": "message", "content": [{"text": "x"}]}], "status": "completed"},
    {"data": [{"index": 0, "embedding": [0.5]}]}, {"results": [{"index": 0, "relevance_score": 1}]},
    {"text_input": "x", "parameters": {"a": 1}}, {"text_output": "x", "model_version": "1"},
    {"instances": [{"b64": RAW}, {"a": {"b64": RAW}}], "signature_name": "s"}, {"predictions": {"a": [1], "b": [2]}},
    {"dataframe_split": {"columns": ["a"], "data": [[1]]}}, {"dataframe_records": [{"a": 1}]},
    {"inputs": {"x": [[1]], "y": [1]}}, {"outputs": [[1]]},
    {"inputs": [TENSOR]}, {"outputs": [TENSOR], "model_version": 3},
    {"inputs": [{**TENSOR, "contents": {"fp32_contents": [1]}}], "raw_input_contents": [RAW]},
    {"outputs": [{**TENSOR, "data": [1], "datatype": "BYTES"}], "raw_output_contents": [RAW]},
]  # fmt: skip
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5),
    st.sampled_from([[], {}, [[]], [None], [{}], {"a": {}}, "BYTES", "FP32", [2**40], [0, 2**40], 2**40, -1, RAW]),
)  # fmt: skip
THOROUGH = settings(
    max_examples=600, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the path to everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Return a message of some protocol in which up to three things became something else, left or came."""
    body = deepcopy(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 3))):
        found = list(places(body))
        if not found:
            break
        *way, last = draw(st.sampled_from(found))
        inside = body
        for key in way:
            inside = inside[key]
        if draw(st.booleans()):
            inside[last] = deepcopy(draw(ODD))
        else:
            del inside[last]
    body |= deepcopy(draw(st.sampled_from(SEEDS))) if draw(st.integers(0, 9)) == 0 else {}
    data = json.dumps(body).encode()
    match draw(st.integers(0, 9)):
        case 0:
            return b"data: " + data + b"\n\ndata: " + data + b"\n\ndata: [DONE]\n\n"
        case 1:
            return data + draw(st.binary(max_size=8))
        case 2:
            return data[: draw(st.integers(0, len(data)))]
        case 3:
            return data + b"\x00\x00\x80\x3f"
        case _:
            return data


@pytest.mark.fast
@THOROUGH
@given(bodies(), bodies())
def test_every_message_is_read_or_refused_by_the_name_of_a_field(first: bytes, second: bytes) -> None:
    found = [columns(side, data) for side, data in zip(SIDES, (first, second), strict=True)]
    with suppress(InvalidInference):  # too many rows
        assert all(len(one) == 2 for one in rows(found[0], found[1], 1000))


def columns(side: str, data: bytes) -> TensorColumns | None:
    refused: list[InvalidInference] = []
    try:
        return read(Half(side, "7", "m:1", "", "", 1, 1, "x", data))
    except InvalidInference as error:
        refused.append(error)
    assert all(error.field and error.remedy and error.remedy != _DAMAGED for error in refused)
    return None


def test_over_http_the_answer_is_200_or_422_and_never_500() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:

        @settings(THOROUGH, max_examples=300)
        @given(bodies(), bodies(), st.uuids())
        def check(first: bytes, second: bytes, call: uuid.UUID) -> None:
            for side, data in zip(SIDES, (first, second), strict=True):
                headers = {"ce-id": str(call), "ce-type": f"io.seldon.serving.inference.{side}"}
                answer = client.post("/v1/cloudevents/m:1", content=data, headers=headers)
                assert answer.status_code in {200, 422}, answer.text
                assert answer.status_code == 200 or set(answer.json()) == {
                    "error",
                    "field",
                    "value",
                    "remedy",
                }

        check()


@pytest.mark.fast
@pytest.mark.swallows
def test_a_reader_that_stumbles_refuses_the_message_and_tells_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(_: Any) -> TensorColumns:
        raise KeyError("x")

    monkeypatch.setattr("davy.protocols.openai.read", stumble)
    with pytest.raises(InvalidInference) as refused:
        read(Half("request", "7", "m:1", "", "", 1, 1, "x", b'{"prompt": "x"}'))
    assert (refused.value.field, refused.value.remedy) == ("request", _DAMAGED)
    assert "cannot be read" in caplog.text
