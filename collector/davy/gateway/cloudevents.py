"""CloudEvents 1.0 over HTTP, as the payload loggers of KServe and Seldon send them: binary and structured mode."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from davy.errors import InvalidInference
from davy.gateway.messages import decoded, json_object
from davy.gateway.moments import nanoseconds

STRUCTURED: Final = "application/cloudevents+json"
SIDES: Final = {
    "org.kubeflow.serving.inference.request": "request",
    "org.kubeflow.serving.inference.response": "response",
    "io.seldon.serving.inference.request": "request",
    "io.seldon.serving.inference.response": "response",
}
"""Which half of a call an event is, by its type."""
HEAD: Final = "inference-header-content-length"
"""The header of the binary tensor extension."""
_HEAD: Final = HEAD.replace("-", "")
"""The same as an attribute: their names have no hyphens."""
_DIGITS: Final = 12
_PREFIX: Final = "ce-"
_LONGEST: Final = 1024
_DESCRIBED: Final = ("application/cloudevents-batch", "application/cloudevents-batch+json")


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its attributes, without the payload, and the payload."""

    attributes: Mapping[str, str]
    data: bytes

    @property
    def side(self) -> str:
        """``request`` or ``response``."""
        return SIDES[self.attributes["type"]]

    @property
    def call(self) -> str:
        """The name both halves of a call share: Seldon's ``requestid``, else the event's id."""
        return self.attributes.get("requestid") or self.attributes["id"]

    @property
    def at(self) -> int | None:
        """When it happened, nanoseconds since the epoch, if the event says so."""
        try:
            return nanoseconds(self.attributes.get("time"))
        except InvalidInference:
            return None

    @property
    def head(self) -> int | None:
        """The length of the JSON at the start of the payload, where the event says that bytes follow it.

        Raises
        ------
        InvalidInference
            It is no number.
        """
        length = self.attributes.get(_HEAD, "")
        if not length:
            return None
        if not length.isascii() or not length.isdecimal() or len(length) > _DIGITS:
            raise InvalidInference(HEAD, length, "give the length of the JSON in bytes")
        return int(length)

    @property
    def service(self) -> str:
        """The model's name: the inference service, with its component where that is not the predictor."""
        name = self.attributes.get("inferenceservicename", "")
        component = self.attributes.get("component", "")
        return f"{name}-{component}" if name and component not in {"", "predictor"} else name


def read_event(headers: Mapping[str, str], body: bytes) -> Event:
    """Read the event of a request.

    Raises
    ------
    InvalidInference
        Names the attribute that lacks or is wrong.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _DESCRIBED:
        raise InvalidInference("content-type", kind, "send one event a request")
    attributes, data = _structured(body) if kind == STRUCTURED else (_binary(headers), body)
    for name in ("id", "type"):
        if not attributes.get(name):
            raise InvalidInference(f"{_PREFIX}{name}", "", f"give the attribute {name} (CloudEvents 1.0)")
    for name, value in attributes.items():
        if len(value) > _LONGEST and name in {"id", "requestid", "inferenceservicename", "endpoint"}:
            raise InvalidInference(name, value, f"at most {_LONGEST} characters")
    if attributes["type"] not in SIDES:
        raise InvalidInference(f"{_PREFIX}type", attributes["type"], f"give one of {', '.join(SIDES)}")
    return Event(attributes, data)


def _binary(headers: Mapping[str, str]) -> dict[str, str]:
    attributes = {
        name.lower().removeprefix(_PREFIX): unquote(value, errors="replace")
        for name, value in headers.items()
        if name.lower().startswith(_PREFIX)
    }
    if HEAD in headers:
        attributes[_HEAD] = headers[HEAD]
    return attributes


def _structured(body: bytes) -> tuple[dict[str, str], bytes]:
    event = json_object(body)
    attributes = {
        name: str(value) for name, value in event.items() if isinstance(value, (str, int)) and name != "data"
    }
    return attributes, _payload(event)


def _payload(event: Mapping[str, Any]) -> bytes:
    if "data_base64" in event:
        return decoded(event["data_base64"], "data_base64")
    data = event.get("data")
    return data.encode() if isinstance(data, str) else json.dumps(data).encode()
