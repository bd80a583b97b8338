"""Endpoints as ways in: what a language model's server streams, read by the middleware, and a watched function."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from support.integration_rows import Answer, way_in

import davy
from davy.integrations.fastapi import DavyMiddleware

GROUP = "web"
WORDS = {False: ["parcel", "late", "where", "today"], True: ["Rechnung", "falsch", "Betrag", "Euro"]}


def questions(count: int, *, shifted: bool) -> list[str]:
    rng = np.random.default_rng(1 + shifted)
    return [" ".join(rng.choice(WORDS[shifted], rng.integers(2, 6) + 6 * shifted)) for _ in range(count)]


def parts(text: str) -> list[str]:
    return [f" {word}" for word in text.split()[::-1]]


def sent(events: Iterator[Any]) -> Iterator[str]:
    for each in events:
        yield f"data: {json.dumps(each)}\n\n"


def chunks(asked: dict[str, Any]) -> Iterator[Any]:
    words = parts(asked["messages"][-1]["content"])
    for word in words:
        yield {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
    yield {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {"prompt_tokens": 2 * len(words), "completion_tokens": len(words), "total_tokens": 3 * len(words)}
    yield {"choices": [], "usage": usage}


def tokens(asked: dict[str, Any]) -> Iterator[Any]:
    words = parts(asked["inputs"])
    for at, word in enumerate(words):
        details = {
            "finish_reason": "eos_token",
            "generated_tokens": len(words),
            "input_length": 2 * len(words),
        }
        yield {
            "token": {"id": at, "text": word, "logprob": -len(word) / 4, "special": False},
            "generated_text": "".join(words) if at == len(words) - 1 else None,
            "details": details if at == len(words) - 1 else None,
        }


def streaming(path: str, events: Any, ask: Any, model: str) -> Answer:
    app = FastAPI()
    app.add_middleware(DavyMiddleware, model=model)

    @app.post(path)
    async def answer(request: Request) -> StreamingResponse:
        return StreamingResponse(sent(events(await request.json())), media_type="text/event-stream")

    client = TestClient(app)

    def served(count: int, shifted: bool) -> None:
        for text in questions(count, shifted=shifted):
            assert client.post(path, json=ask(text)).text

    return served


@way_in(GROUP, "FastAPI", "a streamed chat as vLLM's, `DavyMiddleware(model=)`", named="inputs.")
def openai(model: str) -> Answer:
    def ask(text: str) -> dict[str, Any]:
        return {"model": "tiny", "stream": True, "messages": [{"role": "user", "content": text}]}

    return streaming("/v1/chat/completions", chunks, ask, model)


@way_in(
    GROUP,
    "FastAPI",
    "a stream as of Text Generation Inference, `DavyMiddleware(model=)`",
    named="inputs.prompt",
)
def tgi(model: str) -> Answer:
    return streaming(
        "/generate_stream", tokens, lambda text: {"inputs": text, "parameters": {"max_new_tokens": 9}}, model
    )


@way_in(GROUP, "FastAPI", "a function that is watched", named="inputs.text")
def function(model: str) -> Answer:
    app = FastAPI()
    app.add_middleware(DavyMiddleware)
    judge = davy.watch(lambda text: {"label": "late" if "late" in text else "other", "score": 0.75}, model)

    @app.get("/judge/{text}")
    def answer(text: str) -> dict[str, Any]:
        return judge(text)

    client = TestClient(app)

    def served(count: int, shifted: bool) -> None:
        for text in questions(count, shifted=shifted):
            client.get(f"/judge/{text}")

    return served
