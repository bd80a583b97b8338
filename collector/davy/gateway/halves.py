"""The halves of a logged call, a request or a response, and how one or two of them become inferences."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from davy.codec import Encoder
from davy.errors import InvalidInference
from davy.event import Array
from davy.gateway import kserve, mlflow, oip, seldon, tfserving
from davy.gateway.columns import TensorColumns, model_name, row_ids, rows
from davy.gateway.messages import ProtocolMessage, open_message
from davy.gateway.rows import parcels
from davy.gateway.writer import PendingRecord
from davy.protocols import generate, openai


class _Protocol(Protocol):
    """How a protocol's module reads messages; `EXPECTS` says what it looks for in a request and a response."""

    @property
    def EXPECTS(self) -> Mapping[str, str]: ...  # noqa: N802 - a constant of the module

    def speaks(self, message: ProtocolMessage) -> bool: ...

    def read(self, message: ProtocolMessage) -> TensorColumns: ...


_PROTOCOLS: Final[tuple[_Protocol, ...]] = (seldon, kserve, mlflow, generate, tfserving, oip, openai)
"""The first that speaks a message reads it."""
_TENSORS_ONLY: Final = "only tensors of the Open Inference Protocol may follow it, with binary_data_size"
_DAMAGED: Final = "cannot be read; the gateway's log has where"
_log = logging.getLogger("davy.gateway")
_EMBEDDING: Final = "embedding"


@dataclass(frozen=True, slots=True)
class Half:
    """A request or a response that was logged.

    `call` is the name both halves share, `model` a name with or without a version, `version` what stands for the
    version if neither the name nor the response has one; `held_at` is when it came, `at` when it happened, both in
    nanoseconds since the epoch. `field` names values that have no name of their own; `head` is
    the length of the JSON where a header says that bytes follow it.
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
    head: int | None = None

    @property
    def key(self) -> str:
        """What the other half has in common with this one."""
        return f"{self.namespace}\n{self.model}\n{self.version}\n{self.call}"


def read(half: Half) -> TensorColumns:
    """Read the payload of a half, in whichever protocol it is.

    Raises
    ------
    InvalidInference
        It is in none, or damaged.
    """
    message = open_message(half.side, half.field, half.data, half.head)
    for protocol in _PROTOCOLS:
        if protocol.speaks(message):
            if protocol is not oip and message.tail.strip():
                raise InvalidInference("body", f"{len(message.tail)} bytes after the JSON", _TENSORS_ONLY)
            return _understood(protocol, message)
    expected = "; ".join(protocol.EXPECTS[half.side] for protocol in _PROTOCOLS)
    raise InvalidInference(half.side, ", ".join(list(message.body)[:5]), f"give an object with {expected}")


def _understood(protocol: _Protocol, message: ProtocolMessage) -> TensorColumns:
    """Read a message; one that a reader stumbles over is refused like any damaged one, and told to the log."""
    try:
        return protocol.read(message)
    except InvalidInference:
        raise
    except Exception as error:
        _log.exception("a logged %s cannot be read", message.side)
        raise InvalidInference(message.side, type(error).__name__, _DAMAGED) from error


def join(encoder: Encoder, first: Half, second: Half | None, limit: int) -> list[PendingRecord]:
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
    for half in columns.values():
        tags |= half.tags
    return inferences(encoder, model, first.call, at, rows(request, response, limit), tags)


def inferences(
    encoder: Encoder,
    model: str,
    call: str,
    at: int,
    found: list[tuple[dict[str, Any], dict[str, Any]]],
    tags: Mapping[str, str],
) -> list[PendingRecord]:
    """Turn the rows of a call into parcels; their ids follow from its name.

    An output called `embedding` that is a vector is the inference's embedding.
    """
    ids = row_ids(call, len(found))
    chunks = [
        encoder.encode(model, id, at, inputs, outputs, embedding=_taken_embedding(outputs), tags=tags)
        for id, (inputs, outputs) in zip(ids, found, strict=True)
    ]
    return parcels(zip(ids, chunks, strict=True), source="gateway")


def _taken_embedding(outputs: dict[str, Any]) -> Array | None:
    """Take the embedding out of outputs that have one."""
    value = outputs.get(_EMBEDDING)
    if not isinstance(value, (list, np.ndarray)):
        return None
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            vector: Array = np.asarray(value, np.float32)
    except (ValueError, TypeError, OverflowError):
        return None  # it stays an output like any other
    if vector.ndim != 1 or not vector.size:
        return None
    del outputs[_EMBEDDING]
    return vector
