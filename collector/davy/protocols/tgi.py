"""Text Generation Inference: ``inputs`` asks, ``generated_text`` answers, and a streamed answer is a token an event.

Source: the OpenAPI description of huggingface/text-generation-inference (``/generate``, ``/generate_stream``, ``/``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from davy.protocols.columns import TensorColumns
from davy.protocols.messages import ProtocolMessage

EXPECTS: Final = {"request": "inputs", "response": "generated_text"}
_COUNTS: Final = {"generated_tokens": "completion_tokens", "input_length": "prompt_tokens"}


def speaks(message: ProtocolMessage) -> bool:
    """Return whether a message is of this protocol; a streamed answer is its events."""
    if message.asks:
        return isinstance(message.body.get("inputs"), str)
    return "generated_text" in message.body or any(
        isinstance(one.get("token"), dict) for one in message.chunks
    )


def read(message: ProtocolMessage) -> TensorColumns:
    """Read the text and the parameters, or the text that answers, why it ended, its tokens and their likelihoods."""
    if message.asks:
        parameters = message.body.get("parameters")
        given = parameters if isinstance(parameters, Mapping) else {}
        values = {name: value for name, value in given.items() if isinstance(value, (str, int, float))}
        return _single({**values, "prompt": message.body["inputs"]})
    return _single(_streamed(message) if message.chunks else _whole(message.body))


def _whole(body: Mapping[str, Any]) -> dict[str, Any]:
    details = body.get("details")
    tokens = details.get("tokens") if isinstance(details, Mapping) else None
    return {"text": body["generated_text"], **_detailed(details), **_likely(tokens)}


def _streamed(message: ProtocolMessage) -> dict[str, Any]:
    parts = [one["token"] for one in message.chunks if isinstance(one.get("token"), Mapping)]
    said = [one["generated_text"] for one in message.chunks if isinstance(one.get("generated_text"), str)]
    told = [one["details"] for one in message.chunks if isinstance(one.get("details"), Mapping)]
    text = "".join(str(part.get("text", "")) for part in parts if not part.get("special"))
    return {
        "text": said[-1] if said else text,
        "completion_tokens": len(parts),
        **_detailed(told[-1] if told else None),
        **_likely(parts),
    }


def _detailed(details: Any) -> dict[str, Any]:
    if not isinstance(details, Mapping):
        return {}
    found = {own: details[name] for name, own in _COUNTS.items() if type(details.get(name)) is int}
    reason = details.get("finish_reason")
    return {**found, "finish_reason": reason} if isinstance(reason, str) else found


def _likely(tokens: Any) -> dict[str, Any]:
    found = [one.get("logprob") for one in tokens or () if isinstance(one, Mapping)]
    return {"logprobs": found} if found and all(isinstance(one, (int, float)) for one in found) else {}


def _single(values: Mapping[str, Any]) -> TensorColumns:
    return TensorColumns({name: [value] for name, value in values.items()}, 1)
