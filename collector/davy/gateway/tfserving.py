"""TensorFlow Serving's column format: ``{"inputs": …}`` asks, ``{"outputs": …}`` answers, by name or one bare tensor.

Source: tensorflow.org/tfx/serving/api_rest, "Predict API". The row format is KServe's V1.
"""

from __future__ import annotations

from typing import Any, Final

from davy.gateway.columns import TensorColumns, by_field, columns
from davy.gateway.messages import ProtocolMessage, with_bytes

EXPECTS: Final = {"request": "inputs", "response": "outputs"}


def speaks(message: ProtocolMessage) -> bool:
    """Whether a message is of this protocol; a list of objects that describe tensors is Open Inference Protocol."""
    part = EXPECTS[message.side]
    if part not in message.body:
        return False
    found = message.body[part]
    return found is not None and not (isinstance(found, list) and all(map(_is_tensor, found)))


def read(message: ProtocolMessage) -> TensorColumns:
    """Read the tensors; their first axis is the rows, if it is the same in all."""
    part = EXPECTS[message.side]
    found = with_bytes(message.body[part], part)
    if isinstance(found, list):
        return TensorColumns(by_field(found, message.field), len(found))
    return columns(found if isinstance(found, dict) else {message.field: found})


def _is_tensor(item: Any) -> bool:
    return isinstance(item, dict) and ("datatype" in item or {"name", "shape"} <= item.keys())
