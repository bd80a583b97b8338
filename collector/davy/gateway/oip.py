"""The Open Inference Protocol (KServe's V2): named tensors with shape, datatype and data.

Sources: github.com/kserve/open-inference-protocol, "Inference Request/Response JSON Object", and the messages of its
gRPC service in protobuf's JSON; Triton's binary tensor extension, where a tensor's data follows the JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from davy.errors import InvalidInference
from davy.event import Array
from davy.gateway.columns import TensorColumns
from davy.gateway.messages import ProtocolMessage, decoded
from davy.gateway.tensors import TYPES, from_bytes, objects, text_or_bytes
from davy.protocols.columns import FIELDS

EXPECTS: Final = {"request": "inputs", "response": "outputs"}
_RAW: Final = {
    "request": ("raw_input_contents", "rawInputContents"),
    "response": ("raw_output_contents", "rawOutputContents"),
}
_SIZE: Final = "binary_data_size"
_ELSEWHERE: Final = "shared_memory_region"
_UNSEEN: Final = object()
"""Stands for data in a memory that only client and server share: as it is no value, it is left out and counted."""
_BLANK: Final = b" \t\r\n"
_DEPTH: Final = 32
_LARGEST: Final = 2**40
_MOST: Final = 2**16
_DIGITS: Final = 20


@dataclass(frozen=True, slots=True)
class _Head:
    """What a tensor says of itself, and where in the message it stands."""

    where: str
    name: str
    datatype: str
    shape: list[int]


def speaks(message: ProtocolMessage) -> bool:
    """Whether a message is of this protocol."""
    return EXPECTS[message.side] in message.body


def read(message: ProtocolMessage) -> TensorColumns:
    """Read the tensors and the model's version; the tensors' first axis is the rows, if it is the same in all.

    Raises
    ------
    InvalidInference
        Names the tensor that cannot be read.
    """
    part, body = EXPECTS[message.side], message.body
    tensors = body.get(part)
    if not isinstance(tensors, list) or len(tensors) > FIELDS:
        raise InvalidInference(part, type(tensors).__name__, f"give a list of at most {FIELDS} tensors")
    raws = _raws(message, tensors, part)
    found = {}
    for place, tensor in enumerate(tensors):
        head = _head(tensor, f"{part}.{place}")
        found[head.name] = _tensor(tensor, head, raws.get(place))
    counts = {len(array) if array.ndim else None for array in found.values()}
    (count,) = counts if len(counts) == 1 else (None,)
    return TensorColumns(found, count, str(_either(body, "model_version", "modelVersion") or ""))


def _raws(message: ProtocolMessage, tensors: list[Any], part: str) -> dict[int, bytes]:
    """Return the bytes of every tensor, by place, whose data is not in its JSON."""
    contents = _either(message.body, *_RAW[message.side])
    if contents:
        if not isinstance(contents, list) or len(contents) != len(tensors):
            raise InvalidInference(_RAW[message.side][0], contents, f"give one a tensor of {part}")
        return {place: decoded(data, f"{part}.{place}.data") for place, data in enumerate(contents)}
    sizes = {
        place: tensor["parameters"][_SIZE]
        for place, tensor in enumerate(tensors)
        if isinstance(tensor, dict)
        and isinstance(tensor.get("parameters"), dict)
        and _SIZE in tensor["parameters"]
    }
    return _split(message.tail, sizes, part)


def _split(tail: bytes, sizes: Mapping[int, Any], part: str) -> dict[int, bytes]:
    for place, size in sizes.items():
        if type(size) is not int or size < 0:
            raise InvalidInference(f"{part}.{place}.parameters.{_SIZE}", size, "give a number of bytes")
    whole = sum(sizes.values())
    start = len(tail) - whole
    if start < 0 or tail[:start].strip(_BLANK):
        raise InvalidInference(
            "body", f"{len(tail)} bytes after the JSON", f"{_SIZE} of the tensors of {part} add up to {whole}"
        )
    found = {}
    for place, size in sizes.items():
        found[place] = tail[start : start + size]
        start += size
    return found


def _head(tensor: Any, where: str) -> _Head:
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise InvalidInference(
            where, type(tensor).__name__, "give an object with name, shape, datatype and data"
        )
    datatype, shape = tensor.get("datatype"), tensor.get("shape")
    if not isinstance(datatype, str) or datatype not in TYPES:
        raise InvalidInference(f"{where}.datatype", datatype, f"give one of {', '.join(TYPES)}")
    # protobuf's JSON writes 64-bit numbers as text, and leaves an empty list out
    sizes = [_whole(size) for size in shape] if isinstance(shape, list) else None
    if sizes is None or not all(type(size) is int and 0 <= size < _LARGEST for size in sizes):
        raise InvalidInference(f"{where}.shape", shape, "give a list of sizes")
    return _Head(where, tensor["name"], datatype, sizes)


def _tensor(tensor: Mapping[str, Any], head: _Head, raw: bytes | None) -> Array:
    if raw is not None:
        return from_bytes(raw, head.datatype, head.shape, head.where)
    data = tensor.get("data")
    if data is None and isinstance(tensor.get("contents"), dict):
        data = _contents(tensor["contents"], head)
    parameters = tensor.get("parameters")
    if data is None and isinstance(parameters, dict) and _ELSEWHERE in parameters:
        rows = [size for size in head.shape[:1] if size <= _MOST]
        return np.broadcast_to(np.array(_UNSEEN, object), rows)
    if not isinstance(data, list):
        raise InvalidInference(f"{head.where}.data", type(data).__name__, "give a JSON list")
    flat = list(_flat(data, 0))
    if len(flat) != math.prod(head.shape):
        remedy = f"the shape {head.shape} holds {math.prod(head.shape)}"
        raise InvalidInference(f"{head.where}.data", f"{len(flat)} values", remedy)
    return _array(flat, head)


def _contents(contents: Mapping[str, Any], head: _Head) -> list[Any]:
    """Return the data of a tensor of the gRPC service; the field's name says its type, and bytes are base64."""
    for name, data in contents.items():
        if isinstance(data, list) and data:
            if name.startswith("bytes"):
                return [text_or_bytes(decoded(item, f"{head.where}.contents")) for item in data]
            return [_whole(item) for item in data]
    return []


def _array(flat: list[Any], head: _Head) -> Array:
    code = TYPES[head.datatype]
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            array: Array = np.array(flat, code) if code != "O" else objects(flat)
        if array.dtype.kind in "iu" and not np.array_equal(array, np.array(flat)):
            raise ValueError("not all are whole numbers")
        return array.reshape(head.shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInference(f"{head.where}.data", f"{len(flat)} values", f"do not fit: {error}") from error


def _whole(value: Any) -> Any:
    known = isinstance(value, str) and len(value) <= _DIGITS and value.removeprefix("-").isdecimal()
    return int(value) if known else value


def _either(body: Mapping[str, Any], *names: str) -> Any:
    return next((body[name] for name in names if name in body), None)


def _flat(data: list[Any], depth: int) -> Iterator[Any]:
    for item in data:
        if isinstance(item, list) and depth < _DEPTH:
            yield from _flat(item, depth + 1)
        else:
            yield item
