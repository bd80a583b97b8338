"""KServe's V1 protocol: ``{"instances": […]}`` asks, ``{"predictions": […]}`` answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from davy.errors import InvalidInference
from davy.gateway.columns import Columns, by_field


def speaks(body: Mapping[str, Any]) -> bool:
    """Whether a body is of this protocol."""
    return "instances" in body or "predictions" in body


def read_request(body: Mapping[str, Any], name: str) -> Columns:
    """Read the instances; those that are no objects become the field `name`.

    Raises
    ------
    InvalidInference
        There are no instances, or they are no list.
    """
    return _columns(body, "instances", name)


def read_response(body: Mapping[str, Any], name: str) -> Columns:
    """Read the predictions; those that are no objects become the field `name`.

    Raises
    ------
    InvalidInference
        There are no predictions, or they are no list.
    """
    return _columns(body, "predictions", name)


def _columns(body: Mapping[str, Any], part: str, name: str) -> Columns:
    items = body.get(part)
    if not isinstance(items, list):
        raise InvalidInference(part, type(items).__name__, "give a list, one item a row")
    return Columns(by_field(items, name), len(items))
