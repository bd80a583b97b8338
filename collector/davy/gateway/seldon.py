"""Seldon Core's V1 protocol, `SeldonMessage`: ``data`` with names and values, or text, bytes or JSON.

Source: docs.seldon.ai/seldon-core-1, "Prediction API": ``{"meta": {…}, "data": {"names": […], "ndarray": […]}}``, with
``tensor`` or ``tftensor`` in place of ``ndarray``, and ``binData``, ``strData``, ``jsonData`` or ``customData`` in
place of ``data``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from davy.errors import InvalidInference
from davy.event import Array
from davy.gateway.columns import TensorColumns, by_field
from davy.gateway.messages import ANSWER, ProtocolMessage, decoded
from davy.gateway.tensors import TYPES, from_bytes, objects, text_or_bytes

EXPECTS: Final = {"request": "data", "response": "data"}
_DEFAULT_NAME: Final = re.compile(r"t:\d+")
_VALUES: Final = re.compile(r"[a-z0-9]+(_val|Val)")
_TF_TYPES: Final = {
    "DT_BOOL": "BOOL", "DT_UINT8": "UINT8", "DT_UINT16": "UINT16", "DT_UINT32": "UINT32", "DT_UINT64": "UINT64",
    "DT_INT8": "INT8", "DT_INT16": "INT16", "DT_INT32": "INT32", "DT_INT64": "INT64", "DT_HALF": "FP16",
    "DT_BFLOAT16": "BF16", "DT_FLOAT": "FP32", "DT_DOUBLE": "FP64", "DT_STRING": "BYTES",
}  # fmt: skip


def speaks(message: ProtocolMessage) -> bool:
    """Whether a message is of this protocol."""
    body = message.body
    return isinstance(body.get("data"), dict) or any(name in body for name in _OTHERS)


def read(message: ProtocolMessage) -> TensorColumns:
    """Read the values; names of a request's columns become fields, those of a response the names of the classes.

    A response that names its classes holds `probs`, unless the client calls it otherwise. Tags of ``meta`` become
    segments.

    Raises
    ------
    InvalidInference
        There are no values, or they are damaged.
    """
    body, tags = message.body, _tags(message.body.get("meta"))
    for other, convert in _OTHERS.items():
        if other in body:
            return convert(body[other], message.field, tags)
    data = body["data"]
    values = _values(data)
    names = data.get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        names = []
    if len(names) == len(values) > 1 and _flat(values):
        values = [values] if isinstance(values, list) else values[np.newaxis]  # a row by itself
    count = len(values)
    if isinstance(values, list) and isinstance(next(iter(values), None), dict):
        return TensorColumns(by_field(values, message.field), count, tags=tags)
    if not names or len(names) != len(set(names)) or _width(values) != len(names):
        return TensorColumns({message.field: values}, count, tags=tags)
    if message.asks:
        return TensorColumns(
            {name: _column(values, place) for place, name in enumerate(names)}, count, tags=tags
        )
    if len(names) < 2 or all(map(_DEFAULT_NAME.fullmatch, names)):
        return TensorColumns({message.field: values}, count, tags=tags)
    name = "probs" if message.field == ANSWER else message.field
    return TensorColumns({name: values, "class_names": [names] * count}, count, tags=tags)


def _values(data: Mapping[str, Any]) -> Any:
    """Return the values, rows first: a list, or an array."""
    if "ndarray" in data:
        found = data["ndarray"]
        if not isinstance(found, list):
            raise InvalidInference("data.ndarray", type(found).__name__, "give a list, one item a row")
        return found
    for name, convert in _TENSORS.items():
        if name in data:
            if not isinstance(data[name], dict):
                raise InvalidInference(f"data.{name}", type(data[name]).__name__, "give an object")
            array = convert(data[name])
            return array if array.ndim else array.reshape(1)
    raise InvalidInference("data", ", ".join(list(data)[:5]), "give ndarray, tensor or tftensor")


def _tensor(found: Mapping[str, Any]) -> Array:
    values = found.get("values", [])
    shape = _shape(found.get("shape", [len(values) if isinstance(values, list) else 0]), "data.tensor.shape")
    return _array(values, "f8", shape, "data.tensor")


def _tftensor(found: Mapping[str, Any]) -> Array:
    where = "data.tftensor"
    sizes = _either(found, "tensorShape", "tensor_shape")
    sizes = sizes.get("dim", []) if isinstance(sizes, dict) else []
    if not isinstance(sizes, list):
        raise InvalidInference(f"{where}.tensorShape", type(sizes).__name__, "give a list of dim")
    shape = _shape(
        [one.get("size", 0) if isinstance(one, dict) else one for one in sizes], f"{where}.tensorShape"
    )
    datatype = _TF_TYPES.get(str(found.get("dtype")))
    if datatype is None:
        raise InvalidInference(f"{where}.dtype", found.get("dtype"), f"give one of {', '.join(_TF_TYPES)}")
    content = _either(found, "tensorContent", "tensor_content")
    if content and datatype != "BYTES":
        return from_bytes(decoded(content, f"{where}.tensorContent"), datatype, shape, where)
    name, values = next(((name, data) for name, data in found.items() if _VALUES.fullmatch(name)), ("", []))
    if not isinstance(values, list):
        raise InvalidInference(f"{where}.{name}", type(values).__name__, "give a list")
    if name.startswith("half"):  # the bits of each as a whole number
        return from_bytes(_array(values, "<u2", [len(values)], where).tobytes(), datatype, shape, where)
    if datatype == "BYTES":
        values = [text_or_bytes(decoded(item, f"{where}.stringVal")) for item in values]
    return _array(values, TYPES[datatype], shape, where)


def _array(values: Any, code: str, shape: list[int], where: str) -> Array:
    if not isinstance(values, list):
        raise InvalidInference(f"{where}.values", type(values).__name__, "give a flat list")
    try:
        array: Array = objects(values) if code == "O" else np.array(values, code)
        return array.reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInference(where, f"{len(values)} values", f"do not fit: {error}") from error


def _shape(sizes: Any, where: str) -> list[int]:
    try:
        found = [int(size) for size in sizes]
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInference(where, sizes, "give a list of sizes") from error
    if any(size < 0 for size in found):
        raise InvalidInference(where, sizes, "give sizes of zero or more")
    return found


def _flat(values: Any) -> bool:
    if isinstance(values, np.ndarray):
        return values.ndim == 1
    return not any(isinstance(item, (list, dict)) for item in values)


def _width(values: Any) -> int:
    """Return how many values a row has; 0 where rows are no lists of one length."""
    if isinstance(values, np.ndarray):
        return int(values.shape[1]) if values.ndim > 1 else 0
    widths = {len(row) if isinstance(row, list) else 0 for row in values}
    return widths.pop() if len(widths) == 1 else 0


def _column(values: Any, place: int) -> Any:
    return values[:, place] if isinstance(values, np.ndarray) else [row[place] for row in values]


def _tags(meta: Any) -> dict[str, str]:
    tags = meta.get("tags") if isinstance(meta, dict) else None
    if not isinstance(tags, dict):
        return {}
    return {name: str(value) for name, value in tags.items() if isinstance(value, (str, int, float))}


def _text(value: Any, name: str, tags: Mapping[str, str]) -> TensorColumns:
    return TensorColumns({name: [value]}, 1, tags=tags)


def _bytes(value: Any, name: str, tags: Mapping[str, str]) -> TensorColumns:
    return TensorColumns({name: [decoded(value, "binData")]}, 1, tags=tags)


def _json(value: Any, name: str, tags: Mapping[str, str]) -> TensorColumns:
    items = value if isinstance(value, list) else [value]
    return TensorColumns(by_field(items, name), len(items), tags=tags)


def _either(body: Mapping[str, Any], *names: str) -> Any:
    return next((body[name] for name in names if name in body), None)


_TENSORS: Final[Mapping[str, Callable[[Mapping[str, Any]], Array]]] = {
    "tensor": _tensor, "tftensor": _tftensor, "tfTensor": _tftensor,
}  # fmt: skip
_OTHERS: Final[Mapping[str, Callable[[Any, str, Mapping[str, str]], TensorColumns]]] = {
    "strData": _text, "binData": _bytes, "jsonData": _json, "customData": _json,
}  # fmt: skip
