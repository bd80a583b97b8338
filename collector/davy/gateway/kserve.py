"""KServe's V1 protocol, which is TensorFlow Serving's row format.

``{"instances": […]}`` asks, ``{"predictions": […]}`` answers. An object ``{"b64": "…"}`` stands for bytes.
"""

from __future__ import annotations

from typing import Final

from davy.errors import InvalidInference
from davy.gateway.columns import TensorColumns, by_field, columns
from davy.gateway.messages import ProtocolMessage, with_bytes

EXPECTS: Final = {"request": "instances", "response": "predictions"}


def speaks(message: ProtocolMessage) -> bool:
    """Whether a message is of this protocol."""
    return "instances" in message.body or "predictions" in message.body


def read(message: ProtocolMessage) -> TensorColumns:
    """Read instances or predictions, one item a row; those that are no objects become one field.

    Predictions that are one object hold a column a field.

    Raises
    ------
    InvalidInference
        There are none, or they are no list.
    """
    part = EXPECTS[message.side]
    items = with_bytes(message.body.get(part), part)
    if isinstance(items, dict) and items and not message.asks:
        return columns(items)
    if not isinstance(items, list):
        raise InvalidInference(part, type(items).__name__, "give a list, one item a row")
    return TensorColumns(by_field(items, message.field), len(items))
