"""The two halves of a logged call, by column, to inferences: the fields of every row, and its id."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import numpy as np
from pydantic_core import from_json

from davy.errors import InvalidInference
from davy.gateway import bodies

_MODEL: Final = re.compile(r"[^:\s]{1,200}:[^\s]{1,200}")


@dataclass(frozen=True, slots=True)
class Columns:
    """What a request or a response holds: a value a row and field, or whole tensors when `count` is None.

    `version` is the model's version, where the protocol says it.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    count: int | None = None
    version: str = ""


def rows(
    request: Columns | None, response: Columns | None, limit: int
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Give inputs and outputs of every inference; halves that do not have as many rows make one inference.

    Raises
    ------
    InvalidInference
        There are more than `limit` rows or 4 096 fields.
    """
    halves = [half for half in (request, response) if half is not None]
    fields = sum(len(half.values) for half in halves)
    if fields > bodies.FIELDS:
        raise InvalidInference("body", f"{fields} fields", f"at most {bodies.FIELDS}")
    counts = {half.count for half in halves}
    inputs, outputs = (dict(half.values) if half else {} for half in (request, response))
    (count,) = counts if len(counts) == 1 else (None,)
    if count is None:
        return [(inputs, outputs)]
    bodies.few_enough(count, limit)
    return [(_row(inputs, row), _row(outputs, row)) for row in range(count)]


def row_ids(name: str, count: int) -> list[bytes]:
    """Give the ids of the rows of the call `name`, the same whenever they are made.

    A single row of a call named by a UUID has that id; other rows have the first 16 bytes of the SHA-256 of
    ``name/row``.

    Examples
    --------
    >>> row_ids("c56a4180-65aa-42ec-a945-5fd21dec0538", 1)[0].hex()
    'c56a418065aa42eca9455fd21dec0538'
    >>> row_ids("call-7", 2)[1] == hashlib.sha256(b"call-7/1").digest()[:16]
    True
    """
    if count == 1:
        try:
            return [UUID(name).bytes]
        except ValueError:
            pass  # any other name
    return [hashlib.sha256(f"{name}/{row}".encode()).digest()[:16] for row in range(count)]


def model_name(name: str, version: str) -> str:
    """Give ``name:version``; a name that has a version already keeps it.

    Raises
    ------
    InvalidInference
        That is no model's name.
    """
    model = name if ":" in name else f"{name}:{version or 'live'}"
    if not _MODEL.fullmatch(model):
        raise InvalidInference("model", model[:200], "give name:version, without spaces")
    return model


def json_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    InvalidInference
        These bytes are something else.
    """
    try:
        found = from_json(data)
    except ValueError as error:
        raise InvalidInference("body", f"{len(data)} bytes", f"is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidInference("body", type(found).__name__, "give a JSON object")
    return found


def _row(columns: Mapping[str, Any], row: int) -> dict[str, Any]:
    return {name: _cell(column[row]) for name, column in columns.items()}


def _cell(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.shape == (1,):
        return value[0]
    return value


def by_field(items: Sequence[Any], name: str) -> dict[str, list[Any]]:
    """Give rows by column: rows that are objects by their keys, all others as the column `name`.

    Examples
    --------
    >>> by_field([{"a": 1}, {"a": 2, "b": 3}], "instance")
    {'a': [1, 2], 'b': [None, 3]}
    >>> by_field([[1, 2], [3, 4]], "instance")
    {'instance': [[1, 2], [3, 4]]}
    """
    if not items or not all(isinstance(item, dict) for item in items):
        return {name: list(items)}
    keys = dict.fromkeys(key for item in items for key in item)
    if len(keys) > bodies.FIELDS:
        raise InvalidInference(name, f"{len(keys)} fields", f"at most {bodies.FIELDS}")
    return {key: [item.get(key) for item in items] for key in keys}
