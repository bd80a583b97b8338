"""The halves of a logged call, a request or a response, and how one or two of them become inferences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from davy.codec import Encoder
from davy.errors import InvalidInference
from davy.gateway import kserve, oip
from davy.gateway.columns import Columns, json_object, model_name, row_ids, rows
from davy.gateway.rows import parcels
from davy.gateway.writer import Parcel


@dataclass(frozen=True, slots=True)
class Half:
    """A request or a response that was logged.

    `call` is the name both halves share, `model` a name with or without a version, `version` what stands for the
    version if neither the name nor the response has one; `held_at` is when it came, `at` when it happened, both in
    nanoseconds since the epoch. `field` names values that have no name of their own.
    """

    side: str
    call: str
    model: str
    version: str
    namespace: str
    at: int
    held_at: int
    field: str
    data: bytes

    @property
    def key(self) -> str:
        """What the other half has in common with this one."""
        return f"{self.namespace}\n{self.model}\n{self.version}\n{self.call}"


def read(half: Half) -> Columns:
    """Read the payload of a half, in whichever protocol it is.

    Raises
    ------
    InvalidInference
        It is in none, or damaged.
    """
    body = json_object(half.data)
    request = half.side == "request"
    if kserve.speaks(body):
        return (kserve.read_request if request else kserve.read_response)(body, half.field)
    if oip.speaks(body):
        return (oip.read_request if request else oip.read_response)(body)
    expected = "instances or inputs" if request else "predictions or outputs"
    raise InvalidInference(half.side, ", ".join(list(body)[:5]), f"give an object with {expected}")


def join(encoder: Encoder, first: Half, second: Half | None, limit: int) -> list[Parcel]:
    """Turn one half, or both in either order, into inferences.

    Raises
    ------
    InvalidInference
        A half cannot be read, or its values cannot travel.
    """
    found: Mapping[str, Half] = {half.side: half for half in (first, second) if half is not None}
    columns = {side: read(half) for side, half in found.items()}
    request, response = columns.get("request"), columns.get("response")
    version = (response.version if response else "") or first.version
    model = model_name(first.model, version)
    at = (found.get("request") or first).at
    tags = {"endpoint": first.version} if first.version else {}
    return inferences(encoder, model, first.call, at, rows(request, response, limit), tags)


def inferences(
    encoder: Encoder,
    model: str,
    call: str,
    at: int,
    found: list[tuple[dict[str, Any], dict[str, Any]]],
    tags: Mapping[str, str],
) -> list[Parcel]:
    """Turn the rows of a call into parcels; their ids follow from its name."""
    ids = row_ids(call, len(found))
    chunks = [
        encoder.encode(model, id, at, inputs, outputs, tags=tags)
        for id, (inputs, outputs) in zip(ids, found, strict=True)
    ]
    return parcels(zip(ids, chunks, strict=True), source="gateway")
