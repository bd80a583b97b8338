"""HTTP to log: envelopes as the SDK packs them, inferences and feedback as JSON."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from davy import metrics
from davy.codec import Encoder, decode, dump, load, pack
from davy.errors import DecodeError, InvalidInference
from davy.event import FEEDBACK, INFERENCES, Feedback, dead_letters
from davy.log import Message
from davy.runtime import Runtime

_HEX_ID: Final = r"^[0-9a-f]{32}$"
_PACKED_FEEDBACK: Final = "application/vnd.davy.feedback"
_MODEL: Final = r"^[^:\s]{1,200}:[^\s]{1,200}$"
Id = Annotated[str, Field(pattern=_HEX_ID, description="16 bytes in hexadecimal")]
ModelName = Annotated[str, Field(pattern=_MODEL, description="name:version")]


class InferenceBody(BaseModel):
    """One inference; lists of numbers become tensors."""

    model_config = ConfigDict(extra="forbid")

    model: ModelName
    inputs: dict[str, Any] = Field(min_length=1)
    outputs: dict[str, Any] = Field(default_factory=dict)
    embedding: list[float] | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    group: str | None = None
    seq: int | None = None
    latency_ms: float | None = None
    id: Id | None = None
    at: int | None = Field(default=None, ge=0, lt=2**63, description="nanoseconds since the epoch")


class FeedbackBody(BaseModel):
    """What became known about an inference."""

    model_config = ConfigDict(extra="forbid")

    id: Id
    truth: Any
    kind: str = "truth"
    model: str = ""
    at: int | None = Field(default=None, ge=0, lt=2**63)


class Ingest:
    """Writes what clients send to the log; what cannot be read becomes a dead letter and a refusal."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._producer = runtime.log.producer()
        self._lock = threading.Lock()
        self._encoder = Encoder()

    async def envelopes(self, request: Request) -> dict[str, int]:
        """Take one envelope, as the SDK packs it."""
        data = await self._body(request)
        try:
            envelope = decode(data)
            for column in envelope.values():
                _ = column.values  # every byte is looked at before it is accepted
        except DecodeError as error:
            await self._set_aside(INFERENCES, data, error)
            raise
        await self._append([Message(INFERENCES, envelope.model, data)])
        self._runtime.meter.add(metrics.RECEIVED, envelope.count, model=envelope.model)
        return {"accepted": envelope.count}

    async def inferences(self, found: InferenceBody | list[InferenceBody]) -> dict[str, list[str]]:
        """Take one inference or a list of them as JSON; give their ids."""
        bodies = found if isinstance(found, list) else [found]
        ids = [bytes.fromhex(body.id) if body.id else new_id() for body in bodies]
        packed = [pack([_encode(self._encoder, body, id)]) for body, id in zip(bodies, ids, strict=True)]
        await self._append(
            [Message(INFERENCES, b.model, data) for b, data in zip(bodies, packed, strict=True)]
        )
        for body in bodies:
            self._runtime.meter.add(metrics.RECEIVED, model=body.model)
        return {"ids": [id.hex() for id in ids]}

    async def feedback(self, request: Request) -> dict[str, int]:
        """Take feedback: one packed event, or JSON (one or a list)."""
        data = await self._body(request)
        if request.headers.get("content-type", "").startswith(_PACKED_FEEDBACK):
            try:
                events = [load(Feedback, data)]
            except DecodeError as error:
                await self._set_aside(FEEDBACK, data, error)
                raise
        else:
            events = _feedback_from_json(data)
        await self._append([Message(FEEDBACK, event.model, dump(event)) for event in events])
        return {"accepted": len(events)}

    async def _body(self, request: Request) -> bytes:
        limit, found = self._runtime.settings.gateway.body_bytes, bytearray()
        async for part in request.stream():
            found += part
            if len(found) > limit:
                raise InvalidInference("body", f"over {limit} bytes", "send fewer inferences at once")
        return bytes(found)

    async def _append(self, messages: Sequence[Message]) -> None:
        def append() -> None:
            with self._lock:
                self._producer.append(messages)

        await run_in_threadpool(append)

    async def _set_aside(self, topic: str, data: bytes, error: DecodeError) -> None:
        kind = type(error).__name__
        headers = {
            "davy.error": kind,
            "davy.message": str(error)[:1000],
            "davy.component": "gateway",
            "davy.topic": topic,
            "davy.attempts": "1",
        }
        self._runtime.meter.add(metrics.DEAD_LETTERS, topic=topic, error=kind)
        await self._append([Message(dead_letters(topic), "", data, headers)])


def ingest_routes(runtime: Runtime) -> APIRouter:
    """Build the routes under ``/v1``."""
    routes, ingest = APIRouter(prefix="/v1"), Ingest(runtime)
    routes.post("/envelopes", status_code=202)(ingest.envelopes)
    routes.post("/inferences", status_code=202)(ingest.inferences)
    routes.post("/feedback", status_code=202)(ingest.feedback)
    return routes


def new_id() -> bytes:
    """Make an inference id: 16 bytes that sort by time (UUID version 7, RFC 9562)."""
    stamp = time.time_ns() // 1_000_000
    random = uuid.uuid4().int & ((1 << 74) - 1)
    value = (stamp << 80) | (7 << 76) | ((random >> 62) << 64) | (2 << 62) | (random & ((1 << 62) - 1))
    return value.to_bytes(16, "big")


def _encode(encoder: Encoder, found: InferenceBody, id: bytes) -> Any:
    return encoder.encode(
        found.model,
        id,
        time.time_ns() if found.at is None else found.at,
        found.inputs,
        found.outputs,
        embedding=None if found.embedding is None else np.asarray(found.embedding, np.float32),
        tags=found.tags,
        group=found.group,
        seq=found.seq,
        latency_ms=float("nan") if found.latency_ms is None else found.latency_ms,
    )


def _feedback_from_json(data: bytes) -> list[Feedback]:
    try:
        found = TypeAdapter(FeedbackBody | list[FeedbackBody]).validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "body"
        raise InvalidInference(field, first.get("input"), first["msg"]) from error
    bodies = found if isinstance(found, list) else [found]
    return [
        Feedback(
            id=bytes.fromhex(one.id),
            truth=one.truth,
            at=time.time_ns() if one.at is None else one.at,
            kind=one.kind,
            model=one.model,
            source="gateway",
        )
        for one in bodies
    ]
