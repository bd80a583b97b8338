"""The events of a streamed answer of a language model, put together to what it would have been in one piece."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_DONE: Final = "response"
_JOINED: Final = ("content", "refusal", "reasoning_content")
_REASONING: Final = "reasoning"
"""What some servers call the reasoning."""
_CHOICES: Final = 1024


def whole(chunks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the answer that the chunks of a stream are parts of.

    Examples
    --------
    >>> parts = [{"index": 0, "delta": {"content": part}, "finish_reason": None} for part in ("Hel", "lo")]
    >>> whole([{"choices": [part]} for part in parts])["choices"][0]["message"]
    {'content': 'Hello'}
    """
    answered = [chunk[_DONE] for chunk in chunks if isinstance(chunk.get(_DONE), dict)]
    if answered:  # the responses API repeats all of it in its last event
        return {"output": [], **answered[-1]}
    answer = StreamedAnswer()
    for chunk in chunks:
        answer.add(chunk)
    return answer.whole()


class StreamedAnswer:
    """An answer whose chunks come one after the other."""

    def __init__(self) -> None:
        self._body: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Take a chunk in."""
        self._body |= {
            name: value for name, value in chunk.items() if name != "choices" and value is not None
        }
        found = chunk.get("choices")
        for part in found if isinstance(found, list) else []:
            if isinstance(part, dict) and len(self._choices) < _CHOICES:
                index = part["index"] if type(part.get("index")) is int else 0
                _add(self._choices.setdefault(index, {"index": index}), part)

    def whole(self) -> dict[str, Any]:
        """Return what came so far as an answer in one piece; nothing may be added after that."""
        for choice in self._choices.values():
            _close(choice)
        return self._body | {"choices": list(self._choices.values())}


def _add(choice: dict[str, Any], part: Mapping[str, Any]) -> None:
    """Add a part to a choice; texts wait as lists until the end, since adding to a text copies it."""
    if part.get("finish_reason") is not None:
        choice["finish_reason"] = part["finish_reason"]
    if isinstance(part.get("text"), str):
        choice.setdefault("text", []).append(part["text"])
    if isinstance(part.get("logprobs"), dict):
        likelihoods = choice.setdefault("logprobs", {})
        for name, values in part["logprobs"].items():
            if isinstance(values, list):
                likelihoods.setdefault(name, []).extend(values)
    delta = part.get("delta")
    if not isinstance(delta, dict):
        return
    _add_message(choice.setdefault("message", {}), delta)


def _add_message(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    for name in _JOINED:
        if isinstance(delta.get(name), str):
            message.setdefault(name, []).append(delta[name])
    if isinstance(delta.get(_REASONING), str) and not isinstance(delta.get("reasoning_content"), str):
        message.setdefault("reasoning_content", []).append(delta[_REASONING])
    if isinstance(delta.get("function_call"), dict):  # what there was before several tools could be called
        _add_call(message.setdefault("tool_calls", {}), {"function": delta["function_call"]})
    calls = delta.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        if isinstance(call, dict):
            _add_call(message.setdefault("tool_calls", {}), call)


def _add_call(calls: dict[Any, dict[str, list[str]]], part: Mapping[str, Any]) -> None:
    function = part.get("function")
    index = part["index"] if type(part.get("index")) is int else 0
    call = calls.setdefault(index, {"name": [], "arguments": []})
    for name, parts in call.items():
        if isinstance(function, dict) and isinstance(function.get(name), str):
            parts.append(function[name])


def _close(choice: dict[str, Any]) -> None:
    if "text" in choice:
        choice["text"] = "".join(choice["text"])
    message = choice.get("message", {})
    for name in _JOINED:
        if name in message:
            message[name] = "".join(message[name])
    if "tool_calls" in message:
        calls = message["tool_calls"].values()
        message["tool_calls"] = [
            {"function": {name: "".join(parts) for name, parts in call.items()}} for call in calls
        ]
