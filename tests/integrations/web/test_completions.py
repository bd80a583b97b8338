"""Endpoints as vLLM's and Text Generation Inference's: one row a call when its stream ends, and nothing held back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.testclient import TestClient
from support.sdk_rig import inferences_in

import davy
from davy.integrations.fastapi import DavyMiddleware
from davy.integrations.vllm import DavyMiddleware as ForVllm

WORDS = ["It", " is", " raining", "."]
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How is the weather?"}]


def event(body: Any) -> str:
    return f"data: {body if isinstance(body, str) else json.dumps(body)}\n\n"


def chat_events(asked: dict[str, Any]) -> Iterator[str]:
    """Yield what vLLM does: a first event with the role, one a token, the reason in the last, the usage if wanted."""
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": asked["model"]}

    def part(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {**base, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]}

    yield event(part({"role": "assistant", "content": ""}))
    for word in WORDS[:-1]:
        yield event(part({"content": word}))
    yield event(part({"content": WORDS[-1]}, "stop"))
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield event({**base, "choices": [], "usage": USAGE})
    yield event("[DONE]")


def tgi_events() -> Iterator[str]:
    """Yield what Text Generation Inference does: a token an event, all of the text and the details in the last."""
    for at, word in enumerate(WORDS):
        last = at == len(WORDS) - 1
        details = {"finish_reason": "length", "generated_tokens": 4, "input_length": 7, "seed": None}
        yield event(
            {
                "index": at + 1,
                "token": {"id": at, "text": word, "logprob": -0.5 * at, "special": False},
                "top_tokens": [],
                "generated_text": "".join(WORDS) if last else None,
                "details": details if last else None,
            }
        )


def make_app() -> FastAPI:
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Any:
        asked = await request.json()
        if asked.get("stream"):
            return StreamingResponse(chat_events(asked), media_type="text/event-stream")
        message = {"role": "assistant", "content": "".join(WORDS)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {"object": "chat.completion", "choices": [choice], "usage": USAGE}

    @app.post("/v1/completions")
    async def completions(request: Request) -> Any:
        asked = await request.json()
        choices = [
            {"index": at, "text": f" {at}", "finish_reason": "length"} for at in range(len(asked["prompt"]))
        ]
        return {"object": "text_completion", "choices": choices, "usage": USAGE}

    @app.post("/generate_stream")
    async def generate_stream(request: Request) -> StreamingResponse:
        await request.json()
        return StreamingResponse(tgi_events(), media_type="text/event-stream")

    @app.post("/generate")
    async def generate(request: Request) -> Any:
        await request.json()
        details = {
            "finish_reason": "eos_token",
            "generated_tokens": 4,
            "tokens": [{"logprob": -1.0}, {"logprob": -3.0}],
        }
        return {"generated_text": "".join(WORDS), "details": details}

    @app.post("/refused")
    async def refused() -> JSONResponse:
        return JSONResponse({"error": {"message": "too long"}}, status_code=400)

    @app.post("/echo")
    async def echo(request: Request) -> Any:
        return await request.json()

    return app


@pytest.fixture
def client() -> Iterator[TestClient]:
    app = make_app()
    app.add_middleware(DavyMiddleware, model="weather:1")
    with TestClient(app) as found:
        yield found


def captured(url: str) -> list[Any]:
    assert davy.flush()
    return inferences_in(url)


@pytest.mark.parametrize("counted", [True, False])
def test_a_streamed_chat_is_one_row_when_the_stream_has_ended(
    counted: bool, client: TestClient, own_client: str
) -> None:
    asked = {"model": "tiny", "messages": MESSAGES, "stream": True, "temperature": 0.5}
    asked |= {"stream_options": {"include_usage": True}} if counted else {}
    told = client.post("/v1/chat/completions", json=asked)
    assert told.text == "".join(chat_events(asked))
    (one,) = captured(own_client)
    assert one.inputs["prompt"] == "system: Be brief.\nuser: How is the weather?"
    assert (one.inputs["user_message"], one.inputs["message_count"]) == ("How is the weather?", 2)
    assert one.inputs["temperature"] == 0.5
    assert (one.outputs["text"], one.outputs["finish_reason"]) == ("It is raining.", "stop")
    assert one.outputs["completion_tokens"] == 4
    assert one.outputs.get("prompt_tokens") == (9 if counted else None)
    assert (one.model, one.tags) == ("weather:1", {"route": "/v1/chat/completions"})
    assert one.id.hex() == told.headers["X-Davy-Id"]
    assert one.latency_ms is not None
    assert one.latency_ms > 0


def test_a_whole_chat_has_the_same_fields_as_a_streamed_one(client: TestClient, own_client: str) -> None:
    for stream in (False, True):
        asked = {
            "model": "tiny",
            "messages": MESSAGES,
            "stream": stream,
            "stream_options": {"include_usage": True},
        }
        client.post("/v1/chat/completions", json=asked)
    whole, streamed = captured(own_client)
    assert dict(whole.outputs) == dict(streamed.outputs)
    assert dict(whole.inputs) == dict(streamed.inputs)


def test_several_prompts_are_several_rows(client: TestClient, own_client: str) -> None:
    client.post("/v1/completions", json={"model": "tiny", "prompt": ["one", "two"]})
    assert [(one.inputs["prompt"], one.outputs["text"]) for one in captured(own_client)] == [
        ("one", " 0"),
        ("two", " 1"),
    ]


def test_text_generation_inference_is_one_row_with_surprisal(client: TestClient, own_client: str) -> None:
    asked = {"inputs": "How is the weather?", "parameters": {"max_new_tokens": 4, "stop": ["x"]}}
    assert client.post("/generate_stream", json=asked).text == "".join(tgi_events())
    client.post("/generate", json=asked)
    streamed, whole = captured(own_client)
    assert (
        dict(streamed.inputs) == dict(whole.inputs) == {"max_new_tokens": 4, "prompt": "How is the weather?"}
    )
    assert dict(streamed.outputs) == {
        "text": "It is raining.", "finish_reason": "length", "completion_tokens": 4, "prompt_tokens": 7,
        "mean_surprisal": 0.75, "max_surprisal": 1.5,
    }  # fmt: skip
    assert (whole.outputs["text"], whole.outputs["finish_reason"]) == ("It is raining.", "eos_token")
    assert (whole.outputs["mean_surprisal"], whole.outputs["max_surprisal"]) == (2.0, 3.0)


def test_refused_calls_and_other_requests_are_no_inferences(client: TestClient, own_client: str) -> None:
    client.post("/refused", json={"model": "tiny", "messages": MESSAGES})
    assert client.post("/echo", json={"hello": 1}).json() == {"hello": 1}
    assert captured(own_client) == []


def test_without_a_model_bodies_pass_unread(own_client: str) -> None:
    app = make_app()
    app.add_middleware(DavyMiddleware)
    with TestClient(app) as client:
        client.post("/v1/chat/completions", json={"model": "tiny", "messages": MESSAGES})
    assert captured(own_client) == []


def test_vllm_names_the_model_by_the_request(own_client: str) -> None:
    app = make_app()
    app.add_middleware(ForVllm)
    with TestClient(app) as client:
        client.post("/v1/chat/completions", json={"model": "org/tiny", "messages": MESSAGES, "stream": True})
    assert [one.model for one in captured(own_client)] == ["org/tiny:live"]


Send = Callable[[Any], Any]


async def talk(app: Any, send: Send, body: bytes = b"") -> None:
    """Speak ASGI with an application, without anything that gathers what it sends."""
    asked = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        message = next(asked, None)
        if message is None:
            await asyncio.Event().wait()
        return message

    headers = [(b"content-type", b"application/json")]
    await app({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive, send)


BODY = json.dumps({"model": "tiny", "messages": MESSAGES, "stream": True}).encode()


def test_every_part_reaches_the_client_before_the_next_is_made(own_client: str) -> None:
    sent: list[bytes] = []
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for at, part in enumerate(chat_events({"model": "tiny"})):
            await send({"type": "http.response.body", "body": part.encode(), "more_body": True})
            seen.append(len(sent) - at)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            sent.append(message["body"])

    asyncio.run(talk(DavyMiddleware(app, model="weather:1"), send, BODY))
    assert set(seen) == {1}
    assert b"".join(sent).decode() == "".join(chat_events({"model": "tiny"}))
    assert len(captured(own_client)) == 1


def test_a_client_that_leaves_gets_what_it_got_captured(own_client: str) -> None:
    left = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        for part in list(chat_events({"model": "tiny"}))[:3]:
            yield part.encode()
        left.set()
        await asyncio.Event().wait()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async for part in parts():
            await send({"type": "http.response.body", "body": part, "more_body": True})

    async def send(message: Any) -> None:
        del message

    async def leave() -> None:
        task = asyncio.create_task(talk(DavyMiddleware(app, model="weather:1"), send, BODY))
        await left.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    (one,) = captured(own_client)
    assert (one.outputs["text"], one.outputs["ended"]) == ("It is", "closed")


def test_an_answer_beyond_the_bound_is_captured_as_far_as_it_was_kept_and_counted(
    own_client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davy.integrations._completions.MOST_BYTES", 600)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in chat_events({"model": "tiny"}):
            await send({"type": "http.response.body", "body": part.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def send(message: Any) -> None:
        del message

    asyncio.run(talk(DavyMiddleware(app, model="weather:1"), send, BODY))
    (one,) = captured(own_client)
    assert "".join(WORDS).startswith(one.outputs["text"])
    assert davy.stats()["incomplete"]["stream_cut"] == 1
