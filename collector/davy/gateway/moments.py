"""When something happened, as clients say it: nanoseconds since the epoch, or ISO 8601."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from davy.errors import InvalidInference

_EARLIEST: Final = 10**17
"""March 1973. Seconds, milliseconds and microseconds of today all lie below, as do counters that are no time."""
_AHEAD: Final = 24 * 3600 * 10**9
"""How far a clock may be ahead of this one: the widest error of a time zone, and some."""
_UNITS: Final = (
    ("seconds", 10**9, 10**11),
    ("milliseconds", 10**6, 10**14),
    ("microseconds", 10**3, _EARLIEST),
)
_LEAST: Final = 10**8
"""Below it a number is no time of the last fifty years in any unit."""
_WHOLE: Final = re.compile(r"[+-]?\d{1,30}", re.ASCII)
_FRACTION: Final = re.compile(r"(?<=\d)[.,](\d+)", re.ASCII)
_GIVE: Final = (
    "give nanoseconds since 1970, such as 1767225600000000000, or ISO 8601, such as 2026-01-01T00:00:00Z"
)


def nanoseconds(value: Any, field: str = "at", now: Callable[[], int] = time.time_ns) -> int:
    """Return nanoseconds since the epoch of a whole number of them, of its digits as text, or of ISO 8601.

    A time without a zone is UTC.

    Raises
    ------
    InvalidInference
        That is no time, it is in another unit, or it lies more than a day ahead.

    Examples
    --------
    >>> nanoseconds("2026-01-01T02:00:00.000000001+02:00")
    1767225600000000001
    >>> nanoseconds(1767225600)
    Traceback (most recent call last):
    ...
    davy.errors.InvalidInference: at: 1767225600: looks like seconds (2026-01-01T00:00:00Z): multiply by 1000000000
    """
    found = _number(value)
    if found is None:
        found = _iso(value) if isinstance(value, str) else None
        if found is None:
            raise InvalidInference(field, value, _GIVE)
        if found < _EARLIEST:
            raise InvalidInference(field, value, f"lies before {_shown(_EARLIEST)}; {_GIVE}")
    elif found < _EARLIEST:
        raise InvalidInference(field, value, _other_unit(found))
    if found > now() + _AHEAD:
        raise InvalidInference(
            field, value, f"lies in the future: {_shown(int(found))}, by this machine's clock"
        )
    if found != int(found):
        raise InvalidInference(field, value, f"is no whole number; {_GIVE}")
    return int(found)


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        return int(value) if _WHOLE.fullmatch(value.strip()) else None
    known = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return value if known else None


def _iso(text: str) -> int | None:
    fraction = _FRACTION.search(text)
    digits = fraction[1][:9].ljust(9, "0") if fraction else "0"
    try:
        moment = datetime.fromisoformat(_FRACTION.sub("", text.strip().upper(), count=1))
        whole = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        since = whole - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000 + int(digits)


def _other_unit(found: float) -> str:
    if found >= _LEAST:
        for unit, factor, limit in _UNITS:
            if found < limit:
                return f"looks like {unit} ({_shown(int(found * factor))}): multiply by {factor}"
    return f"as nanoseconds lies before {_shown(_EARLIEST)}; {_GIVE}"


def _shown(at: int) -> str:
    try:
        return datetime.fromtimestamp(at // 10**9, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return "beyond the year 9999"
