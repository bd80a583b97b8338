"""A logged request or response before it is understood: one JSON object, what follows it, or a stream of events."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from pydantic_core import from_json

from davy.errors import InvalidInference
from davy.protocols.messages import STREAM, ProtocolMessage, events

__all__ = ["ANSWER", "QUESTION", "ProtocolMessage", "decoded", "json_object", "open_message", "with_bytes"]
from davy.gateway.surrogates import NOT_UTF8, in_utf8, whole_characters

QUESTION: Final = "instance"
ANSWER: Final = "prediction"
"""The names of values without a name, where the client gives none either."""
_SCANNER: Final = json.JSONDecoder()
_DEPTH: Final = 64
_B64: Final = "b64"


def open_message(side: str, name: str, data: bytes, head: int | None = None) -> ProtocolMessage:
    """Read the JSON of a message; `head` is its length where a header says so and bytes follow it.

    Raises
    ------
    InvalidInference
        These bytes are no JSON object, nor one with bytes after it, nor a stream of events.
    """
    if head is not None:
        if not 0 < head <= len(data):
            raise InvalidInference(
                "Inference-Header-Content-Length",
                head,
                f"the body has {len(data)} bytes, and starts with JSON",
            )
        return ProtocolMessage(side, name, json_object(data[:head]), data[head:])
    try:
        return ProtocolMessage(side, name, json_object(data))
    except InvalidInference:
        start = data.lstrip()
        if start.startswith(STREAM):
            return ProtocolMessage(side, name, {}, chunks=events(start, _object))
        end = _end(data)
        if end is None:
            raise
        return ProtocolMessage(side, name, json_object(data[:end]), data[end:])


def json_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    InvalidInference
        These bytes are something else.
    """
    try:
        found = _read(data)
    except ValueError as error:
        remedy = f"is not JSON: {error}" if in_utf8(data) else NOT_UTF8
        raise InvalidInference("body", f"{len(data)} bytes", remedy) from error
    if not isinstance(found, dict):
        raise InvalidInference("body", type(found).__name__, "give a JSON object")
    return found


def _read(data: bytes) -> Any:
    try:
        return from_json(data)
    except ValueError:
        whole = whole_characters(data)
        if whole == data:
            raise
        return from_json(whole)


def decoded(text: Any, where: str) -> bytes:
    """Return the bytes of base64 text.

    Raises
    ------
    InvalidInference
        It is no base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, TypeError) as error:
        raise InvalidInference(where, f"{len(str(text))} characters", f"is not base64: {error}") from error


def with_bytes(value: Any, where: str, depth: int = 0) -> Any:
    """Return a JSON value in which every ``{"b64": "…"}``, TensorFlow's way to write bytes, is the bytes."""
    if depth > _DEPTH:
        return value
    if isinstance(value, dict):
        if value.keys() == {_B64}:
            return decoded(value[_B64], where)
        return {key: with_bytes(item, where, depth + 1) for key, item in value.items()}
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return [with_bytes(item, where, depth + 1) for item in value]
    return value


def _end(data: bytes) -> int | None:
    """Return where the JSON object at the start of `data` ends; Latin-1 keeps places, whatever the bytes are."""
    text = data.decode("latin-1")
    start = len(text) - len(text.lstrip(" \t\r\n"))
    if not text.startswith("{", start):
        return None
    try:
        _, end = _SCANNER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return end if end < len(data) else None


def _object(data: bytes) -> list[dict[str, Any]]:
    try:
        return [json_object(data)]
    except InvalidInference:
        return []  # a stream that was cut keeps what came whole
