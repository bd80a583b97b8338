"""CloudEvents 1.0 over HTTP, as the payload loggers of KServe and Seldon send them: binary and structured mode."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

from davy.errors import InvalidInference
from davy.gateway.columns import json_object

STRUCTURED: Final = "application/cloudevents+json"
SIDES: Final = {
    "org.kubeflow.serving.inference.request": "request",
    "org.kubeflow.serving.inference.response": "response",
    "io.seldon.serving.inference.request": "request",
    "io.seldon.serving.inference.response": "response",
}
"""Which half of a call an event is, by its type."""
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
            time = datetime.fromisoformat(self.attributes.get("time", ""))
            return max(0, int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1e6) * 1000)
        except (ValueError, OverflowError):
            return None

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
    return {
        name.lower().removeprefix(_PREFIX): unquote(value, errors="replace")
        for name, value in headers.items()
        if name.lower().startswith(_PREFIX)
    }


def _structured(body: bytes) -> tuple[dict[str, str], bytes]:
    event = json_object(body)
    attributes = {
        name: str(value) for name, value in event.items() if isinstance(value, (str, int)) and name != "data"
    }
    return attributes, _payload(event)


def _payload(event: Mapping[str, Any]) -> bytes:
    if "data_base64" in event:
        try:
            return base64.b64decode(str(event["data_base64"]), validate=True)
        except ValueError as error:
            raise InvalidInference("data_base64", "", f"is not base64: {error}") from error
    data = event.get("data")
    return data.encode() if isinstance(data, str) else json.dumps(data).encode()
