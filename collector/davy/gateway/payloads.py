"""Routes for what serving platforms log: CloudEvents of KServe and Seldon, and Open Inference Protocol pairs."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.convertors import PathConvertor, register_url_convertor

from davy.codec import Encoder
from davy.gateway import bodies, oip
from davy.gateway.cloudevents import SIDES, STRUCTURED, read_event
from davy.gateway.columns import model_name, rows
from davy.gateway.describe import BYTES, JSON, REFUSALS, STREAM, takes
from davy.gateway.halves import Half, inferences
from davy.gateway.ingest import AcceptedIds
from davy.gateway.joining import Joiner
from davy.gateway.messages import ANSWER, QUESTION, ProtocolMessage
from davy.gateway.names import called
from davy.gateway.writer import PendingRecord, Writer
from davy.runtime import Runtime

_FIELD: Final = 200


class _ModelName(PathConvertor):
    """A name may have slashes: that of a project, or of a team, before it. One with a line break is refused by name."""

    regex = r"[\s\S]*"


register_url_convertor("model_name", _ModelName())
_MODEL: Final = "{model:model_name}"
Named = Annotated[str, Query(min_length=1, max_length=_FIELD)]


class Joined(BaseModel):
    """What became of an event: rows written now, or a half that waits for the other."""

    accepted: int = Field(examples=[1])
    repeated: int = Field(default=0, examples=[0])
    waiting: bool = Field(default=False, description="the other half has not come yet")


class OipMessage(BaseModel):
    """A request or a response of the Open Inference Protocol."""

    model_config = ConfigDict(extra="allow")

    id: str | None = Field(default=None, max_length=1024)


class OipBody(BaseModel):
    """A request of the Open Inference Protocol and the response to it."""

    model_config = ConfigDict(extra="forbid")

    request: OipMessage
    response: OipMessage


_OIP: Final = TypeAdapter(OipBody)
_TENSOR: Final = {"shape": [2, 1], "datatype": "FP32"}
_OIP_EXAMPLE: Final = {
    "request": {"id": "call-7", "inputs": [{"name": "amount", **_TENSOR, "data": [12.5, 8]}]},
    "response": {"model_version": "3", "outputs": [{"name": "score", **_TENSOR, "data": [0.1, 0.7]}]},
}
_EVENT_EXAMPLE: Final = {
    "specversion": "1.0",
    "id": "call-7",
    "source": "http://localhost:9081/",
    "type": "org.kubeflow.serving.inference.request",
    "inferenceservicename": "fraud",
    "data": {"instances": [[12.5, 1.0]]},
}
_HI: Final = [{"role": "user", "content": "hi"}]
_BODIES: Final = {
    "KServe V1 (TensorFlow Serving, rows)": {"instances": [[12.5, 1.0]]},
    "TensorFlow Serving, columns": {"inputs": {"amount": [12.5], "country": ["NZ"]}},
    "Open Inference Protocol": {"inputs": [{"name": "amount", **_TENSOR, "data": [12.5, 8]}]},
    "Open Inference Protocol, generate": {"text_input": "hi", "parameters": {"temperature": 0.2}},
    "Seldon V1": {"data": {"names": ["amount", "age"], "ndarray": [[12.5, 40]]}},
    "OpenAI, chat": {"model": "llm", "messages": _HI, "temperature": 0.2},
    "OpenAI, completion": {"model": "llm", "prompt": "Once upon", "max_tokens": 16},
    "OpenAI, embeddings": {"model": "e", "input": ["hi", "hello"]},
}
"""A request in every protocol, as the description shows them."""
_ATTRIBUTES: Final = {
    "parameters": [
        {
            "name": f"ce-{name}",
            "in": "header",
            "required": False,
            "description": f"CloudEvents attribute, in binary mode: {what}",
            "schema": {"type": "string"},
            "example": example,
        }
        for name, what, example in (
            ("id", "the same for a request and its response", "call-7"),
            ("requestid", "Seldon's name of the call, in place of the id", "call-7"),
            (
                "time",
                "when it happened, ISO 8601; if it is missing or impossible: when it came",
                "2026-01-01T00:00:00Z",
            ),
            ("type", " or ".join(SIDES), "org.kubeflow.serving.inference.request"),
            ("inferenceservicename", "the model's name", "fraud"),
            ("endpoint", "its version, where nothing better says it", "default"),
        )
    ]
}


class Payloads:
    """Turns what serving platforms log into inferences."""

    def __init__(self, runtime: Runtime, writer: Writer, joiner: Joiner) -> None:
        self._limit, self._clock = runtime.settings.gateway.request_rows, runtime.clock
        self._writer, self._joiner = writer, joiner
        self._encoder = Encoder()

    async def event(self, request: Request, input: Named = QUESTION, output: Named = ANSWER) -> Joined:
        """Take one event of a payload logger; the model's name is in its attributes.

        Bodies are KServe V1, TensorFlow Serving, Open Inference Protocol (binary tensors after the JSON too), Seldon
        V1, or OpenAI's routes; an answer that was streamed is sent as it was streamed. `input` and `output` name
        instances and predictions that are no objects.
        """
        return await self._event(request, "", input, output)

    async def event_of(
        self, request: Request, model: str, input: Named = QUESTION, output: Named = ANSWER
    ) -> Joined:
        """Take one event of a payload logger; the path says which model, as name:version.

        Bodies are as at `/v1/cloudevents`. `input` and `output` name instances and predictions that are no objects.
        """
        return await self._event(request, model, input, output)

    async def _event(self, request: Request, model: str, input: str, output: str) -> Joined:
        event, now = read_event(request.headers, await request.body()), self._clock()
        name, version = model or event.service, event.attributes.get("endpoint", "")
        name = called(name)
        model_name(name, version)
        half = Half(
            side=event.side,
            call=event.call,
            model=name,
            version=version,
            namespace=event.attributes.get("namespace", ""),
            at=now if event.at is None else event.at,
            held_at=now,
            field=input if event.side == "request" else output,
            data=event.data,
            head=event.head,
        )
        taken = await self._joiner.take(half)
        return (
            Joined(accepted=0, waiting=True)
            if taken is None
            else Joined(accepted=taken[0], repeated=taken[1])
        )

    async def pair(self, request: Request, model: str) -> AcceptedIds:
        """Take a request of the Open Inference Protocol with its response; return the ids of its rows."""
        data = await request.body()
        ids, found = await bodies.aside(len(data), lambda: self._pair(data, model))
        repeated = await self._writer.write(found)
        return AcceptedIds(ids=ids, repeated=repeated)

    def _pair(self, data: bytes, model: str) -> tuple[list[str], list[PendingRecord]]:
        body = bodies.parse(data, _OIP)
        asked, answered = (
            oip.read(ProtocolMessage(side, "", message.model_dump()))
            for side, message in (("request", body.request), ("response", body.response))
        )
        call = body.response.id or body.request.id or bodies.new_id().hex()
        name = called(model_name(model, answered.version))
        found = inferences(self._encoder, name, call, self._clock(), rows(asked, answered, self._limit), {})
        return [id.hex() for parcel in found for id in parcel.ids], found


def payload_routes(runtime: Runtime, writer: Writer, joiner: Joiner) -> APIRouter:
    """Build the routes under ``/v1`` that take what serving platforms log."""
    routes, payloads = (
        APIRouter(prefix="/v1", tags=["write"], responses=REFUSALS),
        Payloads(runtime, writer, joiner),
    )
    event = takes(
        {
            STRUCTURED: TypeAdapter(dict[str, Any]),
            JSON: TypeAdapter(dict[str, Any]),
            BYTES: None,
            STREAM: None,
        },
        unless="ce-id",
    )
    described = event["openapi_extra"]["requestBody"]["content"]
    described[STRUCTURED]["example"] = _EVENT_EXAMPLE
    described[JSON]["examples"] = {name: {"value": body} for name, body in _BODIES.items()}
    event["openapi_extra"] |= _ATTRIBUTES
    routes.post("/cloudevents", **event)(payloads.event)
    routes.post(f"/cloudevents/{_MODEL}", **event)(payloads.event_of)
    pair = takes({JSON: _OIP}, example=_OIP_EXAMPLE)
    routes.post(f"/oip/{_MODEL}", status_code=202, **pair)(payloads.pair)
    return routes
