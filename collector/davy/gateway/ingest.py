"""HTTP to log: envelopes as the SDK packs them, inferences and feedback as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from davy import metrics
from davy.codec import Encoder, decode, dump, load, renamed, select
from davy.dead_letters import explain
from davy.errors import DavyError, DecodeError, InvalidInference
from davy.event import FEEDBACK, INFERENCES, Envelope, Feedback, dead_letters
from davy.gateway import bodies
from davy.gateway.describe import JSON, PACKED_ENVELOPE, PACKED_FEEDBACK, REFUSALS, media_type_of, takes
from davy.gateway.names import PROJECT, called
from davy.gateway.rows import parcels
from davy.gateway.writer import PendingRecord, Writer
from davy.protocols.columns import FIELDS, few_enough
from davy.runtime import Runtime

_NAME: Final = 401
"""Characters of a model's name: 200, a colon, 200."""


class Accepted(BaseModel):
    """How many were acknowledged, and how many of them had been written before."""

    accepted: int = Field(examples=[200])
    repeated: int = Field(default=0, examples=[0])


class AcceptedIds(BaseModel):
    """The ids of the inferences, in order: feedback refers to them."""

    ids: list[str] = Field(examples=[["0" * 31 + "7"]])
    repeated: int = Field(default=0, examples=[0])


class Ingest:
    """Writes what clients send to the log; what cannot be read becomes a dead letter and a refusal."""

    def __init__(self, runtime: Runtime, writer: Writer) -> None:
        self._rows = runtime.settings.gateway.request_rows
        self._meter, self._writer = runtime.meter, writer
        self._encoder = Encoder()

    async def envelopes(self, request: Request) -> Accepted:
        """Take one envelope, as the SDK packs it."""
        data = await request.body()
        try:
            envelope = await bodies.aside(len(data), lambda: self._open(data))
            model = called(envelope.model)
            written = data if model == envelope.model else renamed(data, model)
            ids = [id.tobytes() for id in envelope.ids]
            part = partial(_part, written, len(ids))
            parcel = PendingRecord(INFERENCES, model, part, ids, fields=list(envelope))
            repeated = await self._writer.write([parcel])
        except (DecodeError, InvalidInference) as error:
            await self._set_aside(INFERENCES, data, error)
            raise
        return Accepted(accepted=envelope.count, repeated=repeated)

    async def inferences(self, request: Request) -> AcceptedIds:
        """Take one inference or a list of them as JSON; return their ids."""
        data = await request.body()
        ids, found = await bodies.aside(len(data), lambda: self._encode(data))
        repeated = await self._writer.write(found)
        return AcceptedIds(ids=[id.hex() for id in ids], repeated=repeated)

    async def feedback(self, request: Request) -> Accepted:
        """Take feedback: one packed event, or JSON (one or a list)."""
        data = await request.body()
        if media_type_of(request) == PACKED_FEEDBACK:
            try:
                events = [load(Feedback, data)]
            except DecodeError as error:
                await self._set_aside(FEEDBACK, data, error)
                raise
        else:
            events = bodies.feedback(await bodies.read_json(request, bodies.FEEDBACK))
        few_enough(len(events), self._rows)
        known = [event.model or self._writer.model_of(event.id, PROJECT.get()) for event in events]
        events = [replace(event, model=called(model)) for event, model in zip(events, known, strict=True)]
        values = [dump(event) for event in events]
        await self._writer.write(
            [
                PendingRecord(FEEDBACK, event.model, partial(_whole, value))
                for event, value in zip(events, values, strict=True)
            ]
        )
        return Accepted(accepted=len(events))

    def _open(self, data: bytes) -> Envelope:
        envelope = decode(data)
        for column in envelope.values():
            _ = column.values  # every byte is looked at before it is accepted
        few_enough(envelope.count, self._rows)
        if len(envelope) > FIELDS:
            raise InvalidInference("envelope", f"{len(envelope)} fields", f"at most {FIELDS}")
        if len(envelope.model) > _NAME:
            raise InvalidInference("model", f"{len(envelope.model)} characters", f"at most {_NAME}")
        return envelope

    def _encode(self, data: bytes) -> tuple[list[bytes], Sequence[PendingRecord]]:
        found = bodies.parse(data, bodies.INFERENCES)
        rows = found if isinstance(found, list) else [found]
        few_enough(len(rows), self._rows)
        ids = [row.id or bodies.new_id() for row in rows]
        for row in rows:
            row.model = called(row.model)
        chunks = [bodies.encode(self._encoder, row, id) for row, id in zip(rows, ids, strict=True)]
        return ids, parcels(zip(ids, chunks, strict=True), source="gateway")

    async def _set_aside(self, topic: str, data: bytes, error: DavyError) -> None:
        headers = explain(error, topic=topic, component="gateway", project=PROJECT.get())
        await self._writer.write(
            [PendingRecord(dead_letters(topic), "", partial(_whole, data), headers=headers)]
        )
        self._meter.add(metrics.DEAD_LETTERS, topic=topic, error=type(error).__name__)


def ingest_routes(runtime: Runtime, writer: Writer) -> APIRouter:
    """Build the routes under ``/v1`` that take Davy's own formats."""
    routes, ingest = APIRouter(prefix="/v1", tags=["write"], responses=REFUSALS), Ingest(runtime, writer)
    example = {
        "model": "fraud:3",
        "inputs": {"amount": 12.5, "country": "NZ"},
        "outputs": {"probs": [0.9, 0.1]},
    }
    told = {"id": "0" * 31 + "7", "truth": "cat", "model": "pets:1"}
    envelope, inference = takes({PACKED_ENVELOPE: None}), takes({JSON: bodies.INFERENCES}, example=example)
    feedback = takes({JSON: bodies.FEEDBACK, PACKED_FEEDBACK: None}, example=told)
    routes.post("/envelopes", status_code=202, **envelope)(ingest.envelopes)
    routes.post("/inferences", status_code=202, **inference)(ingest.inferences)
    routes.post("/feedback", status_code=202, **feedback)(ingest.feedback)
    return routes


def _part(data: bytes, count: int, rows: Sequence[int]) -> bytes:
    return data if len(rows) == count else select(data, rows, report=True)


def _whole(data: bytes, _: Sequence[int]) -> bytes:
    return data
