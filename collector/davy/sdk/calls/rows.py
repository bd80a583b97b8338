"""How the fields of a record, or of a frame of one row, are taken out of it again, as `davy.sdk.calls.taking` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from davy.fields import column
from davy.fields.tables import arrays_of
from davy.sdk.calls.taking import Taken, taken
from davy.sdk.calls.tensors import is_array
from davy.sdk.fields import record_fields

_AS_THEY_ARE: Final = frozenset(map(np.dtype, ("f8", "i8", "?")))
"""What a column holds of these is what travels."""


def row_taken(value: Any, read: Mapping[str, Any], *, ragged: bool = False) -> Taken | None:
    """Return how the fields `read` of a call are taken out of a record or a frame; None where a value is neither."""
    if type(value) is dict or is_array(value):
        return None
    if str(type(value).__module__).partition(".")[0] == "pandas" and getattr(value, "ndim", 0) == 2:
        return _of_frame(value, read)
    parts = record_fields(value)
    found = None if parts is None else taken(parts, "", read, ragged=ragged)
    inner = None if found is None else found.take
    if found is None or inner is None:
        return None

    def take(other: Any) -> list[Any] | None:
        parts = record_fields(other)
        return None if parts is None else inner(parts)

    return found._replace(take=take)


def _of_frame(frame: Any, read: Mapping[str, Any]) -> Taken | None:
    names = frame.columns.tolist()
    if {*map(type, names)} != {str} or len({*names}) < len(names):
        return None

    def take(other: Any) -> list[Any] | None:
        if len(other) != 1 or other.columns.tolist() != names:
            return None
        try:
            return [_cell(values) for values in arrays_of(other)]
        except Exception:  # noqa: BLE001 - the long way tells which column cannot be read, and leaves it out
            return None

    found = take(frame)
    if found is None:
        return None
    # a moment becomes a text anew each time it is read
    told = [
        read[name] if type(cell) is str and read.get(name) == cell else cell
        for name, cell in zip(names, found, strict=True)
    ]
    return Taken(names, told, take)


def _cell(values: Any) -> Any:
    """Return the only value of a column, as `davy.fields.column` does."""
    plain = type(values) is np.ndarray and (
        values.dtype in _AS_THEY_ARE or (values.dtype == object and type(values[0]) is str)
    )
    return values[0] if plain else column(values)[0]
