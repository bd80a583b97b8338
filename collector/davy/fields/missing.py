"""One notion of missing: ``None``, NaN, pandas' ``NA`` and ``NaT``, NumPy's ``NaT``, decimal NaN are one hole."""

from __future__ import annotations

import sys
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import numpy as np

_NEVER: Final = frozenset({str, bytes, bool, int, dict, list, tuple, np.ndarray})


def is_missing(value: Any) -> bool:
    """Whether a value stands for "there is none".

    Infinity is a value, though not a finite one; empty text is a value too.

    Examples
    --------
    >>> [is_missing(value) for value in (None, float("nan"), np.datetime64("NaT", "D"), 0.0, "", float("inf"))]
    [True, True, True, False, False, False]
    """
    kind = type(value)
    if value is None:
        return True
    if kind in _NEVER:
        return False
    if isinstance(value, (float, np.floating)):
        return bool(value != value)
    if isinstance(value, Decimal):
        return value.is_nan()  # a signalling one raises when it is compared
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    return is_marker(value)


def is_marker(value: Any) -> bool:
    """Whether a value is one of the marks that libraries put where a value is missing: pandas' ``NA`` and ``NaT``."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return False
    return value is getattr(pandas, "NA", None) or (isinstance(value, datetime) and value is pandas.NaT)
