"""Numbers and times as a person reads them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final

from markupsafe import Markup, escape

_SECOND: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LEAST_SHARE: Final = 0.001


def finite(value: float | None) -> float | None:
    """Return a number, None where there is none."""
    return value if value is not None and math.isfinite(value) else None


def breakable(name: str) -> Markup:
    """Write a dotted name so that a narrow screen may break it after a dot; everything else in it is escaped.

    Examples
    --------
    >>> breakable("tags.<b>")
    Markup('tags.<wbr>&lt;b&gt;')
    """
    return Markup(".<wbr>").join(map(escape, name.split(".")))


def amount(value: float | None) -> str:
    """Write a whole number in full, any other with three significant digits.

    Examples
    --------
    >>> amount(1234567), amount(0.12345), amount(12.0), amount(None)
    ('1,234,567', '0.123', '12', '-')
    """
    value = finite(value)
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(value: float | None) -> str:
    """Write a share of one.

    Examples
    --------
    >>> percent(0.0456), percent(0.00003)
    ('4.56 %', '< 0.1 %')
    """
    value = finite(value)
    if value is not None and 0 < value < _LEAST_SHARE:
        return "< 0.1 %"
    return "-" if value is None else f"{amount(value * 100)} %"


def moment(at: int | None) -> str:
    """Write nanoseconds since the epoch as a date and time in UTC.

    Examples
    --------
    >>> moment(1_700_000_000_000_000_000)
    '2023-11-14 22:13:20 UTC'
    """
    if at is None:
        return "-"
    try:
        when = _EPOCH + timedelta(seconds=at // _SECOND)
    except OverflowError:
        return "-"
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"
