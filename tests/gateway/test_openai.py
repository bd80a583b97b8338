"""Language models behind a logger: what was asked and answered becomes flat fields, whole or streamed."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from support.gateway_rig import LocalClient, joined, opened, stored

from davy.errors import InvalidInference
from davy.gateway import make_app

pytestmark = pytest.mark.fast
HI = [{"role": "user", "content": "hi"}]
ASKED = {"prompt": "user: hi", "user_message": "hi", "message_count": 1, "image_count": 0}
CALL = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Graz"}'}}
REQUESTS: list[tuple[str, Any, dict[str, Any]]] = [
    ("a chat", {"model": "llm", "messages": HI}, {"model": "llm", **ASKED}),
    ("parameters", {"messages": HI, "temperature": 0.2, "max_tokens": 64, "stop": ["\n"], "user": "ada",
     "stream": True},
     {**ASKED, "temperature": 0.2, "max_tokens": 64}),
    ("a whole conversation",
     {"messages": [{"role": "system", "content": "Be kind."}, *HI, {"role": "assistant", "content": "hello"},
                   {"role": "user", "content": "and?"}]},
     {"prompt": "system: Be kind.\nuser: hi\nassistant: hello\nuser: and?", "user_message": "and?", "message_count": 4,
      "image_count": 0}),
    ("several parts",
     {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"},
                                                {"type": "image_url",
                                                "image_url": {"url": "data:image/png;base64,AA"}}]}]},
     {"prompt": "user: What is it?\n[image_url]", "user_message": "What is it?\n[image_url]", "message_count": 1,
      "image_count": 1}),
    ("calls of tools",
     {"messages": [*HI, {"role": "assistant", "content": None, "tool_calls": [CALL]},
                   {"role": "tool", "tool_call_id": "c", "content": "12 °C"}], "tools": [{"type": "function"}]},
     {"tool_count": 1, "prompt": 'user: hi\nassistant: weather({"city": "Graz"})\ntool: 12 °C', "user_message": "hi",
      "message_count": 3, "image_count": 0}),
    ("the old call of a function",
     {"messages": [{"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}]},
     {"prompt": "assistant: f({})", "user_message": None, "message_count": 1, "image_count": 0}),
    ("no message", {"messages": []}, {"prompt": "", "user_message": None, "message_count": 0, "image_count": 0}),
    ("content that is null or a number", {"messages": [{"role": "user", "content": None}, {"role": None,
     "content": 3}]},
     {"prompt": "user: \n: 3", "user_message": "", "message_count": 2, "image_count": 0}),
    ("a part of a kind that is no kind", {"messages": [{"role": "user", "content": [{"type": [],
     "text": "hi"}]}]}, ASKED),
    ("the form of the answer", {"messages": HI, "response_format": {"type": "json_object"}},
     {"response_format": "json_object", **ASKED}),
    ("a completion", {"prompt": "Once", "max_tokens": 5}, {"max_tokens": 5, "prompt": "Once"}),
    ("tokens", {"prompt": [1, 2, 3]}, {"tokens": [1, 2, 3]}),
    ("an embedding", {"model": "e", "input": "text"}, {"model": "e", "prompt": "text"}),
    ("a response", {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}], "temperature": 0},
     {"temperature": 0, **ASKED}),
    ("a response to a tool", {"input": [{"type": "function_call", "name": "f", "arguments": "{}"},
                                        {"type": "function_call_output", "output": "3"}]},
     {"prompt": "function_call: f({})\nfunction_call_output: 3", "user_message": None, "message_count": 2,
     "image_count": 0}),
    ("a reranking", {"query": "lamp", "documents": ["a", {"text": "b"}], "top_n": 2},
     {"top_n": 2, "prompt": "lamp", "documents": ["a", "b"]}),
]  # fmt: skip
USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "total_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 0},
}
COUNTED = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
RESPONSES: list[tuple[str, Any, dict[str, Any]]] = [
    ("a chat", {"choices": [{"message": {"content": "hello"}}]}, {"text": "hello", "finish_reason": None}),
    ("with usage", {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"},
     "finish_reason": "stop"}],
                    "usage": USAGE}, {"text": "hello", "finish_reason": "stop", **COUNTED}),
    ("calls of tools", {"choices": [{"message": {"content": None, "tool_calls": [CALL]},
     "finish_reason": "tool_calls"}]},
     {"text": None, "finish_reason": "tool_calls", "tool_calls": 'weather({"city": "Graz"})'}),
    ("a refusal", {"choices": [{"message": {"content": None, "refusal": "No."}, "finish_reason": "stop"}]},
     {"text": None, "finish_reason": "stop", "refusal": "No."}),
    ("reasons", {"choices": [{"message": {"content": "4", "reasoning_content": "2+2"}, "finish_reason": "stop"}]},
     {"text": "4", "finish_reason": "stop", "reasoning_content": "2+2"}),
    ("likelihoods", {"choices": [{"message": {"content": "a"}, "finish_reason": "stop",
                                  "logprobs": {"content": [{"token": "a", "logprob": -0.5}]}}]},
     {"text": "a", "finish_reason": "stop", "logprobs": [-0.5]}),
    ("a completion", {"choices": [{"text": " upon", "finish_reason": "length",
     "logprobs": {"token_logprobs": [-1.5]}}]},
     {"text": " upon", "finish_reason": "length", "logprobs": [-1.5]}),
    ("usage that is null", {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": None},
     {"text": "x", "finish_reason": "stop"}),
    ("several answers", {"choices": [{"index": 1, "message": {"content": "b"}, "finish_reason": "stop"},
                                     {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}],
                                     "usage": USAGE},
     {"text": "a", "finish_reason": "stop", "texts": ["b"], "other_finish_reason": ["stop"],
      **COUNTED}),
    ("a response", {"object": "response", "status": "completed", "usage": {"input_tokens": 1}, "output": [
        {"type": "reasoning"}, {"type": "message", "content": [{"type": "output_text", "text": "hello"}]},
        {"type": "function_call", "name": "f", "arguments": "{}"}]},
     {"text": "hello", "finish_reason": "completed", "tool_calls": "f({})", "input_tokens": 1}),
    ("a reranking", {"results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.25}]},
     {"ranking": [1, 0], "relevance": [0.9, 0.25]}),
]  # fmt: skip


def plain(fields: Any) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()
    }


@pytest.mark.parametrize(
    ("body", "expected"), [pytest.param(body, fields, id=name) for name, body, fields in REQUESTS]
)
def test_what_was_asked_becomes_flat_inputs(body: Any, expected: dict[str, Any]) -> None:
    (one,) = joined(body)
    assert plain(one.inputs) == expected


@pytest.mark.parametrize(
    ("body", "expected"), [pytest.param(body, fields, id=name) for name, body, fields in RESPONSES]
)
def test_what_was_answered_becomes_flat_outputs(body: Any, expected: dict[str, Any]) -> None:
    (one,) = joined({"messages": HI}, body)
    assert plain(one.outputs) == expected


def test_several_prompts_are_several_inferences_each_with_its_answers() -> None:
    request = {"prompt": ["a", "b"], "n": 2}
    response = {
        "choices": [{"index": i, "text": str(i), "finish_reason": "stop"} for i in range(4)],
        "usage": USAGE,
    }
    found = joined(request, response)
    assert [one.inputs for one in found] == [{"n": 2, "prompt": prompt} for prompt in "ab"]
    assert [(one.outputs["text"], one.outputs["texts"]) for one in found] == [("0", ["1"]), ("2", ["3"])]
    assert not any("total_tokens" in one.outputs for one in found)  # of the call, and not to be split


@pytest.mark.parametrize("encoded", [False, True])
def test_the_vectors_of_an_embedding_route_are_embeddings_in_order_one_a_text(encoded: bool) -> None:
    vectors = np.arange(6, dtype="<f4").reshape(2, 3)
    shown = [base64.b64encode(one.tobytes()).decode() if encoded else one.tolist() for one in vectors]
    data = [{"object": "embedding", "index": i, "embedding": shown[i]} for i in (1, 0)]
    found = joined({"model": "e", "input": ["x", "y"]}, {"object": "list", "data": data, "usage": USAGE})
    np.testing.assert_array_equal([one.embedding for one in found], vectors)
    assert [one.inputs["prompt"] for one in found] == ["x", "y"]


def stream(*events: Any, end: str = "\n") -> bytes:
    lines = [f"data: {one if isinstance(one, str) else json.dumps(one)}{end}{end}" for one in events]
    return f": keep-alive{end}{end}{''.join(lines)}".encode()


def delta(part: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": part, "finish_reason": reason}],
    }


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_streamed_chat_says_what_it_would_have_said_in_one_piece(end: str) -> None:
    events = [
        delta({"role": "assistant", "content": ""}), delta({"content": "Grüß "}), delta({"content": "Gott"}),
        delta({}, "stop"), {"choices": [], "usage": USAGE}, "[DONE]",
    ]  # fmt: skip
    (one,) = joined({"messages": HI, "stream": True}, stream(*events, end=end))
    assert plain(one.outputs) == {"text": "Grüß Gott", "finish_reason": "stop", **COUNTED}


def test_a_streamed_call_of_a_tool_is_put_together() -> None:
    def call(**function: str) -> dict[str, Any]:
        return delta({"tool_calls": [{"index": 0, "function": function}]})

    events = [call(name="weather", arguments=""), call(arguments='{"city": '), call(arguments='"Graz"}')]
    (one,) = joined({"messages": HI}, stream(*events, delta({}, "tool_calls"), "[DONE]"))
    assert one.outputs["tool_calls"] == 'weather({"city": "Graz"})'


def test_streams_of_completions_and_of_responses_and_one_that_was_cut_are_read() -> None:
    parts = [{"choices": [{"index": i, "text": t}]} for i, t in ((0, "a"), (1, "x"), (0, "b"))]
    (one,) = joined({"prompt": "p", "n": 2}, stream(*parts)[:-2] + b'\n\ndata: {"choi')
    assert (one.outputs["text"], one.outputs["texts"]) == ("ab", ["x"])
    last = {
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}],
    }
    named = b"event: response.created\n" + stream({"type": "response.created"}, {"response": last})
    (one,) = joined({"input": "p"}, named)
    assert one.outputs == {"text": "hi", "finish_reason": "completed"}


def test_the_generate_route_is_read_with_its_parameters_whole_or_streamed() -> None:
    request = {"text_input": "Once", "parameters": {"temperature": 0.5}, "stream": False, "id": "7"}
    whole = {"text_output": " upon", "model_name": "m", "model_version": "4"}
    for response in (whole, stream({"text_output": " up"}, {"text_output": "on", "model_version": "4"})):
        half = joined(request, response)
        assert [(plain(one.inputs), one.outputs) for one in half] == [
            ({"temperature": 0.5, "prompt": "Once", "stream": False}, {"text": " upon"})
        ]


def test_a_chat_behind_a_logger_is_stored_over_http() -> None:
    with opened() as runtime, LocalClient(make_app(runtime)) as client:
        for side, body in (
            ("request", json.dumps({"model": "llm", "messages": HI}).encode()),
            ("response", stream(delta({"content": "hello"}, "stop"), "[DONE]")),
        ):
            headers = {"ce-id": "1", "ce-type": f"org.kubeflow.serving.inference.{side}"}
            client.post("/v1/cloudevents/l:1", content=body, headers=headers).raise_for_status()
        (one,) = stored(runtime)
        assert (one.inputs["user_message"], one.outputs["text"]) == ("hi", "hello")


@pytest.mark.parametrize(
    ("request_body", "response_body", "field"),
    [
        ({"messages": "hi"}, None, "messages"),
        ({"messages": ["hi"]}, None, "messages.0"),
        ({"prompt": 3}, None, "prompt"),
        ({"input": {"x": 1}}, None, "input"),
        ({"query": "x", "documents": "y"}, None, "documents"),
        (None, {"choices": {}}, "choices"),
        (None, {"choices": ["hi"]}, "choices.0"),
        (None, {"object": "response", "output": {}}, "output"),
        (None, {"data": [1]}, "data.0"),
        (None, {"data": [{"embedding": "?"}]}, "data.embedding"),
        (None, b"data: [DONE]\n\n", "body"),
    ],
)
def test_a_damaged_message_is_refused_by_the_name_of_its_part(
    request_body: Any, response_body: Any, field: str
) -> None:
    with pytest.raises(InvalidInference) as refused:
        joined(request_body, response_body)
    assert refused.value.field == field
