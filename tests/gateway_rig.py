"""What the tests of the gateway share: a runtime with settings of its own, and what the log holds."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from davy.codec import decode
from davy.config import GatewaySettings, Settings
from davy.event import INFERENCES, Inference
from davy.log import Record
from davy.runner import open_runtime
from davy.runtime import Runtime


@contextmanager
def opened(url: str = "", clock: Callable[[], int] | None = None, **gateway: Any) -> Iterator[Runtime]:
    """Open a runtime, in memory unless a URL is given, with these settings of the gateway."""
    settings = Settings(url=url or f"memory://{uuid.uuid4()}", gateway=GatewaySettings(**gateway))
    with open_runtime(settings) as runtime:
        yield replace(runtime, clock=clock) if clock else runtime


def records(runtime: Runtime, topic: str) -> list[Record]:
    """Give every record of a topic."""
    start = runtime.log.start(topic)[topic, 0]
    return list(runtime.log.read(topic, 0, start))


def stored(runtime: Runtime) -> list[Inference]:
    """Give every inference the log holds, in order."""
    envelopes = [decode(record.value) for record in records(runtime, INFERENCES)]
    return [envelope.inference(row) for envelope in envelopes for row in range(envelope.count)]
