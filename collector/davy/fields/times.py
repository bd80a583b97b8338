"""Moments and spans: dates and times travel as ISO 8601 text, spans as seconds."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Final

import numpy as np

from davy.event import Array

_SECONDS: Final = {
    "Y": 365.2425 * 86_400, "M": 365.2425 * 86_400 / 12, "W": 604_800.0, "D": 86_400.0, "h": 3_600.0, "m": 60.0,
    "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12, "fs": 1e-15, "as": 1e-18, "generic": 1.0,
}  # fmt: skip
"""Of the units of NumPy, how long they are; years and months by their mean length."""


def moment_text(value: datetime | date | time | np.datetime64) -> str:
    """Return a moment as ISO 8601 text, with its zone where it has one.

    Examples
    --------
    >>> moment_text(datetime(2026, 1, 2, 3, 4, 5)), moment_text(np.datetime64("2026-01-02"))
    ('2026-01-02T03:04:05', '2026-01-02')
    """
    if isinstance(value, np.datetime64):
        return str(np.datetime_as_string(value, unit="auto"))
    return value.isoformat()


def moment_texts(values: Array, *, zone: str = "") -> Array:
    """Return a column of NumPy moments as ISO 8601 texts in an object array, ``None`` where there is no time."""
    found = np.datetime_as_string(values, unit="auto").astype(object)
    if zone:
        found += zone
    found[np.isnat(values)] = None
    return found


def seconds(value: timedelta | np.timedelta64) -> float:
    """Return a span in seconds; NumPy's years and months, which have no fixed length, by their mean length.

    Examples
    --------
    >>> seconds(timedelta(minutes=2)), seconds(np.timedelta64(1500, "ms"))
    (120.0, 1.5)
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    return float(spans(np.array([value]))[0])


def spans(values: Array) -> Array:
    """Return a column of NumPy spans in seconds, float64, NaN where there is none."""
    return _counted(values)


def since_epoch(values: Array) -> Array:
    """Return a column of NumPy moments in seconds since the epoch, float64, NaN where there is none."""
    calendar = np.datetime_data(values.dtype)[0] in {"Y", "M"}
    return _counted(values.astype("M8[D]") if calendar else values)


def _counted(values: Array) -> Array:
    unit, number = np.datetime_data(values.dtype)
    # By whole numbers of the unit: a change of unit overflows for spans that fit their own.
    counts = np.where(np.isnat(values), np.nan, values.astype(np.int64))
    found: Array = counts * (number * _SECONDS[unit])
    return found
