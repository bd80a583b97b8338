"""A conversation with a language model as text: who said what, with what was said by other means named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from davy.errors import InvalidInference

_TEXTS: Final = ("text", "input_text", "output_text", "refusal")
_PICTURES: Final = ("image_url", "input_image", "image")


def conversation(messages: Any, where: str) -> dict[str, Any]:
    r"""Return the inputs of a conversation: `prompt`, `user_message`, `message_count`, `image_count`.

    Raises
    ------
    InvalidInference
        It is no list of objects.

    Examples
    --------
    >>> conversation([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}], "messages")
    {'prompt': 'system: Be kind.\nuser: hi', 'user_message': 'hi', 'message_count': 2, 'image_count': 0}
    """
    if not isinstance(messages, list):
        raise InvalidInference(where, type(messages).__name__, "give a list of messages")
    said, last, pictures = [], None, 0
    for place, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidInference(f"{where}.{place}", type(message).__name__, "give role and content")
        role, text = str(message.get("role") or message.get("type") or ""), _said(message)
        said.append(f"{role}: {text}")
        if role == "user":
            last = text
        pictures += _pictures(message.get("content"))
    return {
        "prompt": "\n".join(said),
        "user_message": last,
        "message_count": len(messages),
        "image_count": pictures,
    }


def content_text(content: Any) -> str:
    r"""Return what a message says: its text, or those of its parts; a part without text by its kind in brackets.

    Examples
    --------
    >>> content_text([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "…"}}])
    'What is it?\n[image_url]'
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(content_text(part) for part in content if not isinstance(part, list))
    if isinstance(content, dict):
        text = next((content[name] for name in _TEXTS if isinstance(content.get(name), str)), None)
        return f"[{content.get('type', 'part')}]" if text is None else text
    return str(content)


def calls_text(message: Mapping[str, Any]) -> str:
    """Return the tools a message calls, one a line, as ``name(arguments)``.

    Examples
    --------
    >>> calls_text({"tool_calls": [{"function": {"name": "weather", "arguments": '{"city": "Graz"}'}}]})
    'weather({"city": "Graz"})'
    """
    calls = message.get("tool_calls")
    found = [one.get("function") or one.get("custom") for one in calls if isinstance(one, dict)] if (
        isinstance(calls, list)
    ) else []  # fmt: skip
    found.append(message.get("function_call"))
    return "\n".join(_call(one) for one in found if isinstance(one, dict))


def _call(function: Mapping[str, Any]) -> str:
    given = function.get("arguments", function.get("input", ""))
    return f"{function.get('name', '')}({given if isinstance(given, str) else json.dumps(given)})"


def _said(message: Mapping[str, Any]) -> str:
    if message.get("type") == "function_call":
        return _call(message)
    content = message.get("content", message.get("output"))
    return "\n".join(text for text in (content_text(content), calls_text(message)) if text)


def _pictures(content: Any) -> int:
    if not isinstance(content, list):
        return 0
    return sum(isinstance(part, dict) and part.get("type") in _PICTURES for part in content)
