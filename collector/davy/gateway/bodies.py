"""What clients may send as JSON: the shapes, their examples, and how they are read."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import numpy as np
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from davy.codec import Chunk, Encoder
from davy.errors import InvalidInference
from davy.event import MODEL_NAME, Feedback
from davy.gateway.moments import nanoseconds
from davy.gateway.remedies import invalid
from davy.gateway.surrogates import NOT_UTF8, in_utf8, whole_characters
from davy.protocols.columns import FIELDS
from davy.sdk import ids

T = TypeVar("T")
_MODEL: Final = f"^{MODEL_NAME}$"
_MANY_FIELDS: Final = 256
_SMALL: Final = 32 * 1024


def _id(value: Any) -> bytes:
    if not isinstance(value, str):
        raise _wrong("give a UUID or 32 hexadecimal digits, as text")
    try:
        return ids.parse(value)
    except InvalidInference as error:
        raise _wrong("give a UUID or 32 hexadecimal digits") from error


def _time(value: Any) -> int:
    try:
        return nanoseconds(value)
    except InvalidInference as error:
        raise _wrong(error.remedy) from error


def _wrong(remedy: str) -> PydanticCustomError:
    return PydanticCustomError("davy", "{remedy}", {"remedy": remedy})


_ID_SCHEMA: Final = {
    "type": "string",
    "description": "a UUID, or 16 bytes in hexadecimal",
    "examples": ["550e8400-e29b-41d4-a716-446655440000", "0" * 31 + "7"],
}
_TIME_SCHEMA: Final = {
    "description": "nanoseconds since the epoch (at most a day ahead), or ISO 8601; without a zone it is UTC",
    "anyOf": [
        {"type": "integer", "minimum": 10**17, "maximum": 2**63 - 1},
        {"type": "string", "format": "date-time"},
    ],
    "examples": [1767225600000000000, "2026-01-01T00:00:00Z"],
}
Id = Annotated[bytes, PlainValidator(_id), WithJsonSchema(_ID_SCHEMA)]
Time = Annotated[int, PlainValidator(_time), WithJsonSchema(_TIME_SCHEMA)]
ModelName = Annotated[str, Field(pattern=_MODEL, description="name:version", examples=["fraud:3"])]
Fields = Annotated[dict[str, Any], Field(max_length=FIELDS)]


class InferenceBody(BaseModel):
    """One inference; lists of numbers become tensors."""

    model_config = ConfigDict(extra="forbid")

    model: ModelName
    inputs: Fields = Field(min_length=1, examples=[{"amount": 12.5, "country": "NZ"}])
    outputs: Fields = Field(default_factory=dict, examples=[{"probs": [0.9, 0.1]}])
    embedding: list[float | None] | None = Field(default=None, description="null where an element is missing")
    tags: dict[str, str | bool | int | float | None] = Field(default_factory=dict, max_length=FIELDS)
    group: str | int | None = None
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


_FIELDS: Final = {
    "Inference": tuple(InferenceBody.model_fields),
    "Feedback": tuple(FeedbackBody.model_fields),
}
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
        whole = whole_characters(data)
        if whole != data:
            return parse(whole, kind)
        if not in_utf8(data):
            raise InvalidInference("body", f"{len(data)} bytes", NOT_UTF8) from error
        raise invalid(error, _FIELDS) from error


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
        tags={name: value for name, value in body.tags.items() if value is not None},
        group=None if body.group is None else str(body.group),
        seq=body.seq,
        latency_ms=float("nan") if body.latency_ms is None else body.latency_ms,
    )


def feedback(found: FeedbackBody | list[FeedbackBody]) -> list[Feedback]:
    """Turn the JSON of feedback into events."""
    bodies = [found] if isinstance(found, FeedbackBody) else found
    return [
        Feedback(
            id=one.id,
            truth=one.truth,
            at=time.time_ns() if one.at is None else one.at,
            kind=one.kind,
            model=one.model,
            source="gateway",
        )
        for one in bodies
    ]


def new_id() -> bytes:
    """Return a new id."""
    return ids.fresh(time.time_ns())
