"""Calls of language models are read from the bodies that their servers send, whole, streamed, cut or damaged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from davy.errors import InvalidInference
from davy.protocols import read_call

pytestmark = pytest.mark.fast
ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def events(*chunks: Any) -> bytes:
    return b"".join(b"data: " + body(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


def part(
    index: int = 0, reason: str | None = None, logprob: float | None = None, **delta: Any
) -> dict[str, Any]:
    likely = None if logprob is None else {"content": [{"token": "x", "logprob": logprob}]}
    return {"choices": [{"index": index, "delta": delta, "finish_reason": reason, "logprobs": likely}]}


def test_a_stream_gives_what_the_whole_answer_would() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    streamed = events(
        part(role="assistant", content=""),
        part(content="He"),
        part(content="y", reason="stop"),
        {"choices": [], "usage": usage},
    )
    whole = {
        "choices": [{"index": 0, "message": {"content": "Hey"}, "finish_reason": "stop"}],
        "usage": usage,
    }
    assert read_call(body(ASKED), streamed) == read_call(body(ASKED), body(whole))


def test_likelihoods_become_two_numbers() -> None:
    ((_, outputs),) = read_call(
        body(ASKED), events(part(content="a", logprob=-1.0), part(content="b", logprob=-2.0))
    ).rows
    assert (outputs["mean_surprisal"], outputs["max_surprisal"]) == (1.5, 2.0)
    assert "logprobs" not in outputs


def test_several_choices_are_one_row_whose_further_texts_stand_beside_it() -> None:
    streamed = events(part(0, content="a"), part(1, content="b"), part(1, "stop", content="c"))
    ((_, outputs),) = read_call(body(ASKED), streamed).rows
    assert (outputs["text"], outputs["texts"]) == ("a", ["bc"])


def test_tools_that_are_called_are_the_answer() -> None:
    calls = [{"index": 0, "function": {"name": "weather", "arguments": "{}"}}]
    ((_, outputs),) = read_call(body(ASKED), events(part(tool_calls=calls, reason="tool_calls"))).rows
    assert (outputs["tool_calls"], outputs["finish_reason"]) == ("weather({})", "tool_calls")


def test_an_error_in_the_middle_of_a_stream_is_told() -> None:
    ((_, outputs),) = read_call(
        body(ASKED), events(part(content="a"), {"error": {"message": "out of memory"}})
    ).rows
    assert (outputs["text"], outputs["ended"]) == ("a", "failed")


@pytest.mark.parametrize("asked", [b"", b"[1]", b"{}", body({"x": 1}), b"\xff"])
def test_what_asks_no_language_model_is_no_call(asked: bytes) -> None:
    assert read_call(asked, events(part(content="a"))) is None


@pytest.mark.parametrize("told", [b"", b"<html>", body({"hello": 1}), b"data: [DONE]\n\n"])
def test_an_answer_that_cannot_be_read_is_refused_unless_it_was_cut(told: bytes) -> None:
    with pytest.raises(InvalidInference):
        read_call(body(ASKED), told)
    assert read_call(body(ASKED), told, cut=True) is None


def test_a_stream_cut_inside_an_event_keeps_what_came_whole() -> None:
    told = events(part(content="a"), part(content="b"))
    ((_, outputs),) = read_call(body(ASKED), told[: told.index(b'"b"') + 1], cut=True).rows
    assert outputs["text"] == "a"
