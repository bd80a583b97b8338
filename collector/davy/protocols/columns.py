"""The two halves of a call, by column, to inferences: the fields of every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from davy.errors import InvalidInference

FIELDS: Final = 4096
"""The most that an inference may have."""


@dataclass(frozen=True, slots=True)
class TensorColumns:
    """What a request or a response holds: a value a row and field, or whole tensors when `count` is None.

    `version` is the model's version and `tags` are segments, where the protocol has them. `choices` names the field
    that collects the further answers where one row of the request may have several, one after the other. `call` has
    what is known of the whole call alone: it is told where there is one row.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    count: int | None = None
    version: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    choices: str = ""
    call: Mapping[str, Any] = field(default_factory=dict)


def rows(
    request: TensorColumns | None, response: TensorColumns | None, limit: int
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return inputs and outputs of every inference; halves that do not have as many rows make one inference.

    A request of one row is that row whatever answers it, so that its fields have the same shape every time.

    Raises
    ------
    InvalidInference
        There are more than `limit` rows or 4 096 fields.
    """
    halves = [half for half in (request, response) if half is not None]
    fields = sum(len(half.values) for half in halves)
    if fields > FIELDS:
        raise InvalidInference("body", f"{fields} fields", f"at most {FIELDS}")
    if request and response and response.choices and request.count and response.count:
        response = _first_of_each(response, response.count // request.count)
    counts = {half.count for half in (request, response) if half is not None}
    inputs, outputs = (dict(half.values) if half else {} for half in (request, response))
    (count,) = counts if len(counts) == 1 else (None,)
    if count is not None:
        few_enough(count, limit)
        called = dict(response.call) if response and count == 1 else {}
        return [(_row(inputs, row), _row(outputs, row) | called) for row in range(count)]
    return [(_row(inputs, 0) if request and request.count == 1 else inputs, outputs)]


def few_enough(rows: int, limit: int) -> None:
    """Refuse a request with more rows than the gateway takes.

    Raises
    ------
    InvalidInference
        Says how many it takes.
    """
    if rows > limit:
        raise InvalidInference("body", f"{rows} inferences", f"at most {limit} a request")


def _first_of_each(response: TensorColumns, each: int) -> TensorColumns:
    """Return the first of every `each` answers as the answer, the texts and whatever else of the others beside it."""
    if each < 2 or response.count is None or response.count % each:
        return response
    values = {name: column[::each] for name, column in response.values.items()}
    texts = response.values.get("text", [None] * response.count)
    values[response.choices] = [
        list(texts[start + 1 : start + each]) for start in range(0, response.count, each)
    ]
    for name, column in response.values.items():
        others = [list(column[start + 1 : start + each]) for start in range(0, response.count, each)]
        if name != "text" and any(one is not None for found in others for one in found):
            values[f"other_{name}"] = others
    return replace(response, values=values, count=response.count // each)


def _row(columns: Mapping[str, Any], row: int) -> dict[str, Any]:
    return {name: _cell(column[row]) for name, column in columns.items()}


def _cell(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.shape == (1,):
        return value[0]
    return value
