"""The two halves of a logged call, by column, to inferences: the fields of every row, and its id."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from davy.errors import InvalidInference
from davy.event import MODEL_NAME, MODEL_RULE
from davy.protocols.columns import FIELDS, TensorColumns, rows
from davy.sdk import ids

__all__ = ["TensorColumns", "by_field", "columns", "model_name", "row_ids", "rows"]

_MODEL: Final = re.compile(MODEL_NAME)


def columns(values: Mapping[str, Any]) -> TensorColumns:
    """Return columns by name; their first axis is the rows if it is the same in all, else they are whole.

    Raises
    ------
    InvalidInference
        There are too many.

    Examples
    --------
    >>> columns({"a": [1, 2], "b": ["x", "y"]}).count, columns({"label": "cat", "score": 0.9}).count
    (2, None)
    """
    if len(values) > FIELDS:
        raise InvalidInference("body", f"{len(values)} fields", f"at most {FIELDS}")
    counts = {_length(value) for value in values.values()}
    (count,) = counts if len(counts) == 1 else (None,)
    return TensorColumns(values, count)


def _length(value: Any) -> int | None:
    if isinstance(value, np.ndarray):
        return len(value) if value.ndim else None
    return len(value) if isinstance(value, list) else None


def row_ids(name: str, count: int) -> list[bytes]:
    """Return the ids of the rows of the call `name`, the same whenever they are made.

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
            return [ids.parse(name)]
        except InvalidInference:
            pass  # any other name
    return [hashlib.sha256(f"{name}/{row}".encode()).digest()[:16] for row in range(count)]


def model_name(name: str, version: str) -> str:
    """Return ``name:version``; a name that has a version already keeps it.

    Raises
    ------
    InvalidInference
        That is no model's name.
    """
    model = name if ":" in name else f"{name}:{version or 'live'}"
    if not _MODEL.fullmatch(model):
        raise InvalidInference("model", model[:200], MODEL_RULE)
    return model


def by_field(items: Sequence[Any], name: str) -> dict[str, list[Any]]:
    """Return rows by column: rows that are objects (or missing) by their keys, all others as the column `name`.

    Examples
    --------
    >>> by_field([{"a": 1}, {"a": 2, "b": 3}], "instance")
    {'a': [1, 2], 'b': [None, 3]}
    >>> by_field([[1, 2], [3, 4]], "instance")
    {'instance': [[1, 2], [3, 4]]}
    """
    kinds = {type(item) for item in items}
    if dict not in kinds or kinds - {dict, type(None)}:
        return {name: list(items)}
    objects = [item or {} for item in items]
    keys = dict.fromkeys(key for item in objects for key in item)
    if len(keys) > FIELDS:
        raise InvalidInference(name, f"{len(keys)} fields", f"at most {FIELDS}")
    return {key: [item.get(key) for item in objects] for key in keys}
