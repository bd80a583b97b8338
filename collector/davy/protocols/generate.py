"""The generate extension of the Open Inference Protocol: ``text_input`` asks, ``text_output`` answers.

Source: github.com/triton-inference-server, protocol/extension_generate; KServe's language model runtimes serve it.
"""

from __future__ import annotations

from typing import Any, Final

from davy.protocols.columns import TensorColumns
from davy.protocols.messages import ProtocolMessage

EXPECTS: Final = {"request": "text_input", "response": "text_output"}
_NAMES: Final = {"text_input": "prompt", "text_output": "text"}
_FIXED: Final = {"model_name", "model_version", "id"}


def speaks(message: ProtocolMessage) -> bool:
    """Whether a message is of this protocol; a streamed answer is its events."""
    part = EXPECTS[message.side]
    return part in message.body or any(part in chunk for chunk in message.chunks)


def read(message: ProtocolMessage) -> TensorColumns:
    """Read the text and the parameters, or the text that answers; the parts of a streamed one are joined."""
    body: dict[str, Any] = dict(message.body)
    for chunk in message.chunks:
        body |= chunk
    if message.chunks:
        body["text_output"] = "".join(str(chunk.get("text_output", "")) for chunk in message.chunks)
    parameters = body.pop("parameters", None)
    values = {
        _NAMES.get(name, name): value
        for name, value in [*(parameters.items() if isinstance(parameters, dict) else ()), *body.items()]
        if name not in _FIXED
    }
    return TensorColumns(
        {name: [value] for name, value in values.items()}, 1, str(body.get("model_version") or "")
    )
