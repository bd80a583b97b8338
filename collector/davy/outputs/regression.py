"""A number, or several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np

from davy.outputs.base import Answer, Unknown
from davy.outputs.fields import CLASS_NAMES, Fields
from davy.outputs.labels import LABELS, VALUES
from davy.outputs.probabilities import COORDINATES
from davy.outputs.values import close, elements_of, number, scalar, text, vector

_NUMBERS: Final = (
    *VALUES,
    "values",
    "forecast",
    "estimate",
    "regression",
    "y_hat",
    "y",
    "mean",
    "point",
    "score",
    "output",
    "result",
    "amount",
    "target",
)
_ONE_OF_SEVERAL: Final = frozenset({"y", "mean", "point", "score", "amount", "target", "estimate"})
"""Names that are the answer alone, and one of several beside other numbers."""
_CONFIDENCES: Final = ("confidence", "probability")
_ABOUT_THE_CALL: Final = frozenset({"latency", "latency_ms", "threshold"})
_SPREAD: Final = frozenset(
    {"std", "stddev", "variance", "uncertainty", "median", "min", "max", "margin", "entropy"}
)
_LOW: Final = ("lower", "low", "value_lower", "lower_bound", "ci_low", "y_lower", "p05", "p10")
_HIGH: Final = ("upper", "high", "value_upper", "upper_bound", "ci_high", "y_upper", "p95", "p90")
_INTERVAL: Final = ("interval", "prediction_interval", "confidence_interval", "bounds", "ci", "range")
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Regression(Answer):
    """A number; `value` is a list where the model gives several, a mapping where it names them.

    Attributes
    ----------
    interval
        Where the model expects the truth, lower and upper bound; a truth in there agrees.
    """

    interval: tuple[float, float] | None = None

    task: ClassVar[str] = "regression"
    form: ClassVar[str] = "number"

    @classmethod
    def of(cls, fields: Fields) -> Self | Unknown | None:
        """Read a number or numbers, by the name of the field, else because all the outputs are numbers."""
        interval = _interval(fields)
        for name in _NUMBERS:
            if name not in fields:
                continue
            value = fields[name]
            if (single := number(value)) is not None:
                if name in _ONE_OF_SEVERAL and _has_others(fields, name):
                    return cls._by_name(fields)
                return cls(single, confidence=_confidence(fields), interval=interval)
            if isinstance(value, Mapping):
                continue
            found = vector(value)
            if found is not None and found.size <= _MOST:
                if not np.isfinite(found).all():
                    return Unknown.because(f"outputs.{name} has numbers that are not finite")
                return cls(found.tolist())
            if isinstance(scalar(value), float):
                return Unknown.because(f"outputs.{name} is not finite")
        numbers = fields.numbers()
        nested = any(isinstance(value, Mapping) for value in fields.values())
        if not numbers or nested or len(numbers) != len(fields.flat) or set(CLASS_NAMES) & numbers.keys():
            return None
        return cls._by_name(fields)

    @classmethod
    def _by_name(cls, fields: Fields) -> Self | Unknown:
        """Read all the numbers, without how sure the model is of them; with one missing there is no whole answer."""
        aside = {*_CONFIDENCES, *_ABOUT_THE_CALL}
        if fields.absent - aside:
            gone, left = min(fields.absent - aside), ", ".join(sorted(fields.numbers()))
            return Unknown.because(
                f"outputs.{gone} is missing (None or NaN) beside {left[:100]}: send all of them"
            )
        numbers = fields.numbers()
        kept = {name: value for name, value in numbers.items() if name not in aside} or numbers
        sure = _confidence(fields) if len(kept) < len(numbers) else None
        return cls(kept if len(kept) > 1 else next(iter(kept.values())), confidence=sure)

    def agrees(self, label: Any) -> bool | None:
        """Return whether a person gave the same number, or one inside the model's interval."""
        given = number(_number_of(label))
        if self.interval is not None and given is not None:
            return self.interval[0] <= given <= self.interval[1] or self.same(self.value, given)
        return self.same(self.value, label)

    @classmethod
    def same(cls, one: Any, other: Any) -> bool | None:
        """Return whether two numbers, or all of several, are the same but for rounding."""
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            if {text(name) for name in one} != {text(name) for name in other}:
                return False
            named = {text(name): value for name, value in other.items()}
            found = [cls.same(value, named[text(name)]) for name, value in one.items()]
            return None if None in found else all(found)
        if isinstance(one, Mapping) or isinstance(other, Mapping):
            return None
        first, second = _list_of(one), _list_of(other)
        if first is None or second is None:
            return None
        return len(first) == len(second) and all(map(close, first, second))


def _list_of(value: Any) -> list[float] | None:
    values = elements_of(value)
    found = [number(_number_of(one)) for one in ([value] if values is None else values)]
    return None if any(one is None for one in found) else [float(one) for one in found if one is not None]


def _number_of(value: Any) -> Any:
    """A number that a person typed as text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return value


def _has_others(fields: Fields, name: str) -> bool:
    """Whether there are other numbers that are as much an answer, or coordinates that are missing."""
    aside = {name, *_NUMBERS, *_CONFIDENCES, *_ABOUT_THE_CALL, *_SPREAD, *_LOW, *_HIGH}
    gone = COORDINATES & fields.absent or (name == "score" and fields.absent.intersection(LABELS))
    return bool((fields.numbers().keys() - aside) or gone)


def _confidence(fields: Fields) -> float | None:
    found = number(fields.first(_CONFIDENCES))
    return round(float(found), 6) if found is not None and 0 <= found <= 1 else None


def _interval(fields: Fields) -> tuple[float, float] | None:
    low, high = number(fields.first(_LOW)), number(fields.first(_HIGH))
    pair = vector(fields.first(_INTERVAL))
    if pair is not None and len(pair) == 2 and np.isfinite(pair).all():
        low, high = float(pair[0]), float(pair[1])
    if low is None or high is None or low > high:
        return None
    return float(low), float(high)
