"""What clients may send as JSON: the shapes, their examples, and how they are read."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import numpy as np
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from davy.codec import Chunk, Encoder
from davy.errors import InvalidInference
from davy.event import Feedback
from davy.gateway.refusals import invalid

T = TypeVar("T")
FIELDS: Final = 4096
_HEX_ID: Final = r"^[0-9a-f]{32}$"
_MODEL: Final = r"^[^:\s]{1,200}:[^\s]{1,200}$"
_MANY_FIELDS: Final = 256
_SMALL: Final = 32 * 1024
Id = Annotated[str, Field(pattern=_HEX_ID, description="16 bytes in hexadecimal", examples=["0" * 31 + "7"])]
ModelName = Annotated[str, Field(pattern=_MODEL, description="name:version", examples=["fraud:3"])]
Time = Annotated[int, Field(ge=0, lt=2**63, description="nanoseconds since the epoch")]
Fields = Annotated[dict[str, Any], Field(max_length=FIELDS)]


class InferenceBody(BaseModel):
    """One inference; lists of numbers become tensors."""

    model_config = ConfigDict(extra="forbid")

    model: ModelName
    inputs: Fields = Field(min_length=1, examples=[{"amount": 12.5, "country": "NZ"}])
    outputs: Fields = Field(default_factory=dict, examples=[{"probs": [0.9, 0.1]}])
    embedding: list[float] | None = None
    tags: dict[str, str] = Field(default_factory=dict, max_length=FIELDS)
    group: str | None = None
    seq: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    latency_ms: float | None = None
    id: Id | None = None
    at: Time | None = None


class FeedbackBody(BaseModel):
    """What became known about an inference."""

    model_config = ConfigDict(extra="forbid")

    id: Id
    truth: Any = Field(examples=["cat"])
    kind: str = "truth"
    model: str = ""
    at: Time | None = None


INFERENCES: Final = TypeAdapter[InferenceBody | list[InferenceBody]](InferenceBody | list[InferenceBody])
FEEDBACK: Final = TypeAdapter[FeedbackBody | list[FeedbackBody]](FeedbackBody | list[FeedbackBody])


async def read_json(request: Request, kind: TypeAdapter[T]) -> T:
    """Read a request's body as JSON of a shape; a large one is read in a thread.

    Raises
    ------
    InvalidInference
        Names the field that is wrong.
    """
    data = await request.body()
    return await aside(len(data), lambda: parse(data, kind))


async def aside(size: int, work: Callable[[], T]) -> T:
    """Do work for a body of `size` bytes: at once when it is small, else in a thread, so that nobody waits."""
    return work() if size <= _SMALL else await run_in_threadpool(work)


def parse(data: bytes, kind: TypeAdapter[T]) -> T:
    """Read JSON of a shape.

    Raises
    ------
    InvalidInference
        Names the field that is wrong.
    """
    try:
        return kind.validate_json(data)
    except ValidationError as error:
        raise invalid(error) from error


def few_enough(rows: int, limit: int) -> None:
    """Refuse a request with more rows than the gateway takes.

    Raises
    ------
    InvalidInference
        Says how many it takes.
    """
    if rows > limit:
        raise InvalidInference("body", f"{rows} inferences", f"at most {limit} a request")


def encode(encoder: Encoder, body: InferenceBody, id: bytes) -> Chunk:
    """Turn the JSON of an inference into the bytes of a row.

    Raises
    ------
    InvalidInference
        A field cannot travel, or there are more than 4 096.
    """
    fields = len(body.inputs) + len(body.outputs) + len(body.tags)
    if fields > FIELDS:
        raise InvalidInference("inference", f"{fields} fields", f"at most {FIELDS}; use a tensor")
    if fields > _MANY_FIELDS:
        encoder = Encoder()  # a layout of thousands of fields is too large to be remembered for whoever asks
    with np.errstate(over="ignore"):
        embedding = None if body.embedding is None else np.asarray(body.embedding, np.float32)
    return encoder.encode(
        body.model,
        id,
        time.time_ns() if body.at is None else body.at,
        body.inputs,
        body.outputs,
        embedding=embedding,
        tags=body.tags,
        group=body.group,
        seq=body.seq,
        latency_ms=float("nan") if body.latency_ms is None else body.latency_ms,
    )


def feedback(found: FeedbackBody | list[FeedbackBody]) -> list[Feedback]:
    """Turn the JSON of feedback into events."""
    bodies = [found] if isinstance(found, FeedbackBody) else found
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


def new_id() -> bytes:
    """Make an inference id: 16 bytes that sort by time (UUID version 7, RFC 9562)."""
    stamp = time.time_ns() // 1_000_000
    random = uuid.uuid4().int & ((1 << 74) - 1)
    value = (stamp << 80) | (7 << 76) | ((random >> 62) << 64) | (2 << 62) | (random & ((1 << 62) - 1))
    return value.to_bytes(16, "big")
