"""Payloads over HTTP: large values of inferences, stored under the hash of their bytes before the envelope names it."""

from __future__ import annotations

import re
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from davy.errors import BlobError, InvalidInference
from davy.gateway.describe import REFUSALS, media_type_of
from davy.gateway.refusals import Later, WrongType
from davy.runtime import Runtime

_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]{1,100}/[\w!#$&^.+-]{1,100}(; ?[\w-]{1,40}=[\w.-]{1,60})?")
_FORMS: Final = ("", "application/x-www-form-urlencoded", "multipart/form-data")
"""What a form sends, and curl where nobody says what the bytes are."""
_BODY: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}
}


class Stored(BaseModel):
    """The claim check of a payload: what an inference carries instead of it."""

    hash: str = Field(description="BLAKE2b-256 of the bytes", examples=["0" * 64])
    length: int = Field(examples=[150528])
    media_type: str = Field(examples=["image/png"])


def blob_routes(runtime: Runtime) -> APIRouter:
    """Build the route under ``/v1`` that takes payloads."""
    routes = APIRouter(prefix="/v1", tags=["write"], responses=REFUSALS)

    @routes.post("/payloads", status_code=201, openapi_extra=_BODY)
    async def payloads(request: Request) -> Stored:
        """Store one payload of the media type that Content-Type names; storing it again changes nothing."""
        media_type = request.headers.get("content-type", "")
        if media_type_of(request) in _FORMS:
            raise WrongType("Content-Type", media_type, "name the media type of the bytes, such as image/png")
        if not _MEDIA_TYPE.fullmatch(media_type):
            raise InvalidInference("Content-Type", media_type[:60], "name a media type, such as image/png")
        data = await request.body()
        if not data:
            raise InvalidInference("payload", "0 bytes", "send the bytes as the body")
        try:
            found = await run_in_threadpool(runtime.blobs.put, data, media_type)
        except BlobError as error:
            raise Later(error.field, error.value, error.remedy) from error
        return Stored(hash=found.hash, length=found.length, media_type=found.media_type)

    return routes
