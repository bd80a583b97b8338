"""A call of a language model as its server answered it, whole or as a stream of events, as inferences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from davy.errors import InvalidInference
from davy.protocols import generate, openai, tgi
from davy.protocols.columns import TensorColumns, rows
from davy.protocols.messages import STREAM, ProtocolMessage, events
from davy.protocols.streaming import StreamedAnswer

Row: TypeAlias = tuple[dict[str, Any], dict[str, Any]]
_PROTOCOLS: Final = (tgi, generate, openai)
"""The first that speaks both messages reads them."""
_ONE_ASKED: Final = TensorColumns({}, 1)
_MOST_ROWS: Final = 1_024


class CompletionCall(NamedTuple):
    """What was asked and answered: inputs and outputs of every inference, and the model the request names, if any."""

    rows: list[Row]
    model: str


def read_call(request: bytes, response: bytes, *, cut: bool = False) -> CompletionCall | None:
    r"""Return the inferences of a call; None when it is none of a language model.

    Parameters
    ----------
    request, response
        The bodies: JSON, the response also server-sent events.
    cut
        Whether the end of the response is missing.

    Raises
    ------
    InvalidInference
        It is a call of a language model whose answer cannot be read.

    Examples
    --------
    >>> asked = b'{"model": "tiny", "prompt": "Once", "stream": true}'
    >>> told = b'data: {"choices": [{"index": 0, "text": " upon", "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    >>> read_call(asked, told).rows[0][1]
    {'text': ' upon', 'finish_reason': 'stop', 'completion_tokens': 1}
    """
    body = _parsed(request)
    if body is None:
        return None
    asked = ProtocolMessage("request", "", body)
    speaking = [one for one in _PROTOCOLS if one.speaks(asked)]
    if not speaking:
        return None
    told = _answer(response)
    protocol = next((one for one in speaking if told is not None and one.speaks(told)), None)
    if told is None or protocol is None:
        if cut:
            return None
        raise InvalidInference("response", f"{len(response)} bytes", "is no answer of a language model")
    found = rows(protocol.read(asked), protocol.read(told), _MOST_ROWS)
    for _, outputs in found:
        _complete(outputs, told)
    name = body.get("model")
    return CompletionCall(found, name if isinstance(name, str) else "")


def _answer(response: bytes) -> ProtocolMessage | None:
    start = response.lstrip()
    if start.startswith(STREAM):
        try:
            return ProtocolMessage(
                "response", "", {}, chunks=events(start, lambda data: _listed(_parsed(data)))
            )
        except InvalidInference:
            return None
    found = _parsed(start)
    return None if found is None else ProtocolMessage("response", "", found)


def _complete(outputs: dict[str, Any], told: ProtocolMessage) -> None:
    """Count tokens where the stream does not, and put how likely they were in two numbers."""
    surprise(outputs)
    if told.chunks and "completion_tokens" not in outputs:
        outputs["completion_tokens"] = sum(map(_brings_text, told.chunks))
    if any("error" in chunk for chunk in told.chunks):
        outputs["ended"] = "failed"


def surprise(outputs: dict[str, Any]) -> None:
    """Put how likely the tokens of an answer were in two numbers."""
    likely = outputs.pop("logprobs", None)
    known = [-one for one in likely or () if isinstance(one, (int, float))]
    if known:
        outputs |= {"mean_surprisal": sum(known) / len(known), "max_surprisal": max(known)}


def streamed(answer: StreamedAnswer) -> dict[str, Any]:
    """Return the outputs of an answer whose chunks have come: what is missing in it has no field.

    Of several choices the first is the answer; the others' texts are ``texts``, and what else they have ``other_NAME``.

    Examples
    --------
    >>> answer = StreamedAnswer()
    >>> for index, text in enumerate(["yes", "no"]):
    ...     answer.add({"choices": [{"index": index, "delta": {"content": text}}]})
    >>> streamed(answer)
    {'text': 'yes', 'texts': ['no']}
    """
    found = openai.read(ProtocolMessage("response", "", answer.whole()))
    if not found.count:
        return dict(found.call)
    ((_, outputs),) = rows(_ONE_ASKED, found, _MOST_ROWS)
    surprise(outputs)
    return {name: value for name, value in outputs.items() if value is not None} | dict(found.call)


def _brings_text(chunk: Mapping[str, Any]) -> bool:
    """Return whether an event brings a part of the text, which of a server's first answer is a token an event."""
    if str(chunk.get("type", "")).endswith(".delta"):
        return True
    choices = chunk.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, Mapping):
        return "text_output" in chunk
    delta = first.get("delta")
    parts = [first.get("text"), *(delta.values() if isinstance(delta, Mapping) else ())]
    named = isinstance(delta, Mapping) and "role" in delta and not delta.get("content")
    return not named and any(bool(part) for part in parts)


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, list) and len(found) == 1:
        (found,) = found
    return found if isinstance(found, dict) else None


def _listed(found: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [] if found is None else [found]
