"""OpenAI's routes behind a logger: chat and text completions, responses, embeddings, reranking; whole or streamed.

Source: platform.openai.com/docs/api-reference; KServe and vLLM serve them under ``/openai/v1``. Inputs are flat: what
was asked as one text, the last message of the user, how many messages there were, and every parameter that is a
scalar. Who asked (`user`) is left out.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from davy.errors import InvalidInference
from davy.protocols.chat import calls_text, content_text, conversation
from davy.protocols.columns import TensorColumns
from davy.protocols.messages import ProtocolMessage
from davy.protocols.streaming import whole

EXPECTS: Final = {"request": "messages, prompt or input", "response": "choices, output, data or results"}
_PRIVATE: Final = {"user", "safety_identifier", "prompt_cache_key", "stream"}
_ASKS: Final = ("messages", "prompt", "input", "query")
_CHOICES: Final = "texts"


def speaks(message: ProtocolMessage) -> bool:
    """Whether a message is of this protocol."""
    body = message.body
    if message.chunks:
        return not message.asks
    if message.asks:
        return any(name in body for name in _ASKS)
    return (
        "choices" in body
        or (body.get("object") == "response" and "output" in body)
        or isinstance(body.get("data"), list)
        or isinstance(body.get("results"), list)
    )


def read(message: ProtocolMessage) -> TensorColumns:
    """Read what was asked, or the answers; a request with several prompts has a row each.

    Raises
    ------
    InvalidInference
        Names the part that has another form.
    """
    if message.asks:
        return _request(message.body)
    body = whole(message.chunks) if message.chunks else message.body
    if "choices" in body:
        return _choices(body)
    if "output" in body:
        return _response(body)
    if "data" in body:
        return _embeddings(body)
    return _ranking(body)


def _request(body: Mapping[str, Any]) -> TensorColumns:
    values = _parameters(body)
    if "messages" in body:
        return _single(values | conversation(body["messages"], "messages"))
    if "query" in body:
        documents = [content_text(one) for one in _list(body.get("documents", []), "documents")]
        return _single(values | {"prompt": content_text(body["query"]), "documents": documents})
    part = "prompt" if "prompt" in body else "input"
    asked = body[part]
    if isinstance(asked, list) and asked and all(isinstance(item, dict) for item in asked):
        return _single(values | conversation(asked, part))
    name, prompts = _prompts(asked, part)
    columns = {key: [value] * len(prompts) for key, value in values.items()}
    return TensorColumns(columns | {name: prompts}, len(prompts))


def _prompts(asked: Any, part: str) -> tuple[str, list[Any]]:
    """Return prompts as texts, or as lists of the numbers of their tokens, and the name of the field they are."""
    if isinstance(asked, str):
        return "prompt", [asked]
    asked = _list(asked, part)
    if asked and all(type(item) is int for item in asked):
        return "tokens", [asked]
    if asked and all(isinstance(item, list) for item in asked):
        return "tokens", asked
    return "prompt", [content_text(item) for item in asked]


def _parameters(body: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        name: value
        for name, value in body.items()
        if isinstance(value, (str, int, float)) and name not in _PRIVATE and name not in _ASKS
    }
    shape = body.get("response_format")
    if isinstance(shape, dict) and isinstance(shape.get("type"), str):
        found["response_format"] = shape["type"]
    if isinstance(body.get("tools"), list):
        found["tool_count"] = len(body["tools"])
    return found


def _choices(body: Mapping[str, Any]) -> TensorColumns:
    choices = [
        _object(one, f"choices.{place}") for place, one in enumerate(_list(body["choices"], "choices"))
    ]
    choices.sort(key=lambda one: one["index"] if type(one.get("index")) is int else 0)
    return _many([_choice(one) for one in choices], body, _CHOICES)


def _choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    message = choice.get("message")
    if not isinstance(message, dict):  # a text completion
        found: dict[str, Any] = {"text": choice.get("text"), "finish_reason": choice.get("finish_reason")}
    else:
        content = message.get("content")
        found = {
            "text": None if content is None else content_text(content),
            "finish_reason": choice.get("finish_reason"),
        }
        if message.get("tool_calls") or message.get("function_call"):
            found["tool_calls"] = calls_text(message)
        for name in ("refusal", "reasoning_content"):
            if isinstance(message.get(name), str):
                found[name] = message[name]
    likelihoods = _logprobs(choice.get("logprobs"))
    return found | ({"logprobs": likelihoods} if likelihoods else {})


def _logprobs(found: Any) -> list[Any]:
    """Return the log-probability of every token of an answer; empty where they were not asked for."""
    if not isinstance(found, dict):
        return []
    if isinstance(found.get("token_logprobs"), list):
        return list(found["token_logprobs"])
    content = found.get("content")
    return (
        [one.get("logprob") for one in content if isinstance(one, dict)] if isinstance(content, list) else []
    )


def _response(body: Mapping[str, Any]) -> TensorColumns:
    """Read an answer of the responses API: a list of items, of which messages hold the text."""
    items = [_object(one, f"output.{place}") for place, one in enumerate(_list(body["output"], "output"))]
    texts = [content_text(one.get("content")) for one in items if one.get("type") == "message"]
    found: dict[str, Any] = {"text": "\n".join(texts) if texts else None, "finish_reason": body.get("status")}
    called = [one for one in items if one.get("type") == "function_call"]
    if called:
        found["tool_calls"] = calls_text({"tool_calls": [{"function": one} for one in called]})
    return _many([found], body)


def _embeddings(body: Mapping[str, Any]) -> TensorColumns:
    items = [_object(one, f"data.{place}") for place, one in enumerate(_list(body["data"], "data"))]
    items.sort(key=lambda one: one["index"] if type(one.get("index")) is int else 0)
    return _many([{"embedding": _vector(one.get("embedding"))} for one in items], body)


def _vector(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return np.frombuffer(base64.b64decode(value, validate=True), "<f4")
    except ValueError as error:
        raise InvalidInference(
            "data.embedding", f"{len(value)} characters", f"is no base64: {error}"
        ) from error


def _ranking(body: Mapping[str, Any]) -> TensorColumns:
    """Read a reranking: the places of the documents, best first, and how relevant each is."""
    items = [_object(one, f"results.{place}") for place, one in enumerate(_list(body["results"], "results"))]
    found = {
        "ranking": [one.get("index") for one in items],
        "relevance": [one.get("relevance_score") for one in items],
    }
    return _many([found], body)


def _many(found: list[dict[str, Any]], body: Mapping[str, Any], choices: str = "") -> TensorColumns:
    """Return answers by column; the tokens of a call are told where it has one row, as they cannot be split."""
    usage = body.get("usage")
    counted = (
        {name: value for name, value in usage.items() if type(value) is int}
        if isinstance(usage, dict)
        else {}
    )
    names = dict.fromkeys(name for one in found for name in one)
    values: dict[str, list[Any]] = {name: [one.get(name) for one in found] for name in names}
    return TensorColumns(values, len(found), choices=choices, call=counted)


def _single(values: Mapping[str, Any]) -> TensorColumns:
    return TensorColumns({name: [value] for name, value in values.items()}, 1)


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidInference(where, type(value).__name__, "give a list")
    return value


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInference(where, type(value).__name__, "give an object")
    return value
