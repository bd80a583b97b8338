"""The Open Inference Protocol (KServe's V2): named tensors with shape, datatype and data.

Source: github.com/kserve/open-inference-protocol, "Inference Request/Response JSON Object". Tensors whose data is
in a binary part after the JSON are not read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from davy.errors import InvalidInference
from davy.event import Array
from davy.gateway import bodies
from davy.gateway.columns import Columns

_TYPES: Final = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8", "INT8": "i1", "INT16": "i2",
    "INT32": "i4", "INT64": "i8", "FP16": "f2", "BF16": "f4", "FP32": "f4", "FP64": "f8", "BYTES": "O",
}  # fmt: skip
_DEPTH: Final = 32


def speaks(body: Mapping[str, Any]) -> bool:
    """Whether a body is of this protocol."""
    return "inputs" in body or "outputs" in body


def read_request(body: Mapping[str, Any]) -> Columns:
    """Read the input tensors; their first axis is the rows, if it is the same in all.

    Raises
    ------
    InvalidInference
        Names the tensor that cannot be read.
    """
    return _columns(body, "inputs")


def read_response(body: Mapping[str, Any]) -> Columns:
    """Read the output tensors and the model's version.

    Raises
    ------
    InvalidInference
        Names the tensor that cannot be read.
    """
    return _columns(body, "outputs")


def _columns(body: Mapping[str, Any], part: str) -> Columns:
    tensors = body.get(part)
    if not isinstance(tensors, list) or len(tensors) > bodies.FIELDS:
        raise InvalidInference(
            part, type(tensors).__name__, f"give a list of at most {bodies.FIELDS} tensors"
        )
    found = dict(_tensor(tensor, f"{part}.{place}") for place, tensor in enumerate(tensors))
    counts = {len(array) if array.ndim else None for array in found.values()}
    (count,) = counts if len(counts) == 1 else (None,)
    return Columns(found, count, str(body.get("model_version") or ""))


def _tensor(tensor: Any, where: str) -> tuple[str, Array]:
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise InvalidInference(
            where, type(tensor).__name__, "give an object with name, shape, datatype and data"
        )
    name, shape, code = tensor["name"], tensor.get("shape"), _TYPES.get(str(tensor.get("datatype")))
    if code is None:
        raise InvalidInference(
            f"{where}.datatype", tensor.get("datatype"), f"give one of {', '.join(_TYPES)}"
        )
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise InvalidInference(f"{where}.shape", shape, "give a list of sizes")
    if not isinstance(tensor.get("data"), list):
        raise InvalidInference(f"{where}.data", type(tensor.get("data")).__name__, "give a JSON list")
    flat = list(_flat(tensor["data"], 0))
    if len(flat) != math.prod(shape):
        remedy = f"the shape {shape} holds {math.prod(shape)}"
        raise InvalidInference(f"{where}.data", f"{len(flat)} values", remedy)
    return name, _array(flat, code, shape, where)


def _array(flat: list[Any], code: str, shape: list[int], where: str) -> Array:
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            array: Array = np.array(flat, code) if code != "O" else _objects(flat)
        if array.dtype.kind in "iu" and not np.array_equal(array, np.array(flat)):
            raise ValueError("not all are whole numbers")
        return array.reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInference(f"{where}.data", f"{len(flat)} values", f"do not fit: {error}") from error


def _objects(flat: list[Any]) -> Array:
    array = np.empty(len(flat), object)
    array[:] = flat
    return array


def _flat(data: list[Any], depth: int) -> Iterator[Any]:
    for item in data:
        if isinstance(item, list) and depth < _DEPTH:
            yield from _flat(item, depth + 1)
        else:
            yield item
