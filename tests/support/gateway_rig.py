"""What the tests of the gateway share: a runtime with settings of its own, and what the log holds."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from fastapi.testclient import TestClient

from davy.codec import Encoder, decode
from davy.config import GatewaySettings, Settings
from davy.event import INFERENCES, Inference
from davy.gateway.halves import Half, join
from davy.log import Record
from davy.runner import open_runtime
from davy.runtime import Runtime


@contextmanager
def opened(url: str = "", clock: Callable[[], int] | None = None, **gateway: Any) -> Iterator[Runtime]:
    """Open a runtime, in memory unless a URL is given, with these settings of the gateway."""
    settings = Settings(url=url or f"memory://{uuid.uuid4()}", gateway=GatewaySettings(**gateway))
    with open_runtime(settings) as runtime:
        yield replace(runtime, clock=clock) if clock else runtime


JSON = {"content-type": "application/json"}
PACKED = {"content-type": "application/vnd.davy.envelope"}


class LocalClient(TestClient):
    """A client that gives an application its own name: the door refuses Starlette's ``testserver``."""

    def __init__(self, app: Any, base_url: str = "http://localhost") -> None:
        super().__init__(app, base_url=base_url)


def records(runtime: Runtime, topic: str) -> list[Record]:
    """Return every record of a topic."""
    start = runtime.log.start(topic)[topic, 0]
    return list(runtime.log.read(topic, 0, start))


def joined(
    request: Any = None, response: Any = None, *, input: str = "instance", output: str = "prediction"
) -> list[Inference]:
    """Return what the log would hold of a call: halves are JSON, or bytes as they come."""
    halves = [
        Half(side, "call-7", "m:1", "", "", 1, 1, name, body if isinstance(body, bytes) else dumps(body))
        for side, name, body in (("request", input, request), ("response", output, response))
        if body is not None
    ]
    parcels = join(Encoder(), halves[0], halves[1] if len(halves) > 1 else None, 10_000)
    envelopes = [decode(parcel.value(range(len(parcel.ids)))) for parcel in parcels]
    return [envelope.inference(row) for envelope in envelopes for row in range(envelope.count)]


def dumps(body: Any) -> bytes:
    """Return a body as the bytes of JSON."""
    return json.dumps(body).encode()


def stored(runtime: Runtime) -> list[Inference]:
    """Return every inference the log holds, in order."""
    envelopes = [decode(record.value) for record in records(runtime, INFERENCES)]
    return [envelope.inference(row) for envelope in envelopes for row in range(envelope.count)]
