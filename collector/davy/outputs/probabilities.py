"""Probabilities by class: whether classes exclude one another, however the numbers were rounded on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from davy.outputs.fields import Fields, rows_of
from davy.outputs.known import LOGITS, PROBS, find
from davy.outputs.values import Vector, items, number, scalar, text, vector

LOG_PROBS: Final = ("log_probs", "log_probabilities", "log_proba", "logprobs")
SCORES: Final = ("scores", "confidences", "decision_function")
_LISTS: Final = (
    "predictions",
    "prediction",
    "value",
    "values",
    "result",
    "results",
    "output",
    "labels",
    "label",
)
_NAMES: Final = ("label", "class", "class_name", "name", "category", "tag")
_WEIGHTS: Final = ("score", "probability", "confidence", "prob", "p")
COORDINATES: Final = frozenset({"x", "y", "z", "yaw", "pitch", "roll", "lat", "lon", "latitude", "longitude"})
"""Names of numbers that belong together and are no classes."""
_RESERVED: Final = frozenset(
    {"value", "score", "confidence", "latency", "latency_ms", "threshold", "lower", "upper", "low", "high"}
    | {
        "mean",
        "std",
        "min",
        "max",
        "uncertainty",
        "entropy",
        "margin",
        "seconds",
        "duration",
        "cost",
        "temperature",
    }
    | COORDINATES
)
_EXACT: Final = 1e-4
"""How far from one probabilities in single or double precision may sum."""
_HALF: Final = 8e-3
"""And those in half precision, bfloat16 too."""
_STEPS: Final = (0.1, 0.01, 1e-3, 1e-4, 1e-5, 1 / 255, 1 / 256, 1 / 127, 1 / 128)


@dataclass(frozen=True, slots=True)
class Weights:
    """One number for each class.

    Attributes
    ----------
    values
        In the order of the model's columns.
    names
        Of the columns; empty when the outputs do not tell.
    probable
        Whether every number is a probability.
    exclusive
        Whether they are probabilities of classes that exclude one another, so that they sum to one.
    """

    values: Vector
    names: tuple[str, ...]
    probable: bool
    exclusive: bool


def weights(fields: Fields) -> Weights | None:
    """Return what the outputs hold for each class; None when they hold no such thing."""
    names = fields.class_names()
    own = find(fields, "probs"), find(fields, "logits")
    for group in ((*PROBS, own[0]), (*LOGITS, own[1]), LOG_PROBS, SCORES):
        for name in group:
            if (
                name in fields
                and (found := _of(fields[name], names, name, logits=name == own[1])) is not None
            ):
                return found
    return _listed(fields) or _named(fields, names) or _by_class_names(fields, names)


def one_probability(fields: Fields) -> float | None:
    """Return the single number that stands where probabilities could; None without."""
    found = next((one for name in PROBS if (one := number(fields.get(name))) is not None), None)
    return float(found) if found is not None and 0 <= found <= 1 else None


def unreadable(fields: Fields) -> str:
    """Return the name of a field that should hold a number for each class and does not; empty without."""
    return next((name for name in (*PROBS, *LOGITS, *LOG_PROBS) if name in fields), "")


def sums_to_one(values: Vector) -> bool:
    """Return whether probabilities sum to one, as far as they can after rounding or quantising.

    Examples
    --------
    >>> sums_to_one(np.array([0.33, 0.33, 0.33])), sums_to_one(np.array([0.9, 0.8]))
    (True, False)
    """
    off = abs(float(values.sum()) - 1.0)
    if off <= (_HALF if _in_half_precision(values) else _EXACT):
        return True
    if off > 0.5:
        return False
    for step in _STEPS:
        if np.abs(values / step - np.round(values / step)).max() < 1e-3 * min(1.0, 1e-3 / step):
            return off <= min(0.5 * step * len(values), 0.1) + 1e-9
    return False


def _in_half_precision(values: Vector) -> bool:
    """Whether every number could have been one of 16 bits."""
    single = values.astype(np.float32)
    if not (single == values).all():
        return False
    return bool((single.astype(np.float16) == single).all() or not (single.view(np.uint32) & 0xFFFF).any())


def softmax(logits: Vector) -> Vector:
    """Return the probabilities of logits."""
    exponent = np.exp(logits - logits.max())
    found: Vector = exponent / exponent.sum()
    return found


def _of(value: Any, names: tuple[str, ...], name: str, *, logits: bool) -> Weights | None:
    if isinstance(value, Mapping):
        return _mapping(value)
    if (single := number(value)) is not None:
        return _binary(float(single), names) if name in PROBS else None
    found = vector(value)
    if found is None or not np.isfinite(found).all():
        return None
    if logits:
        found = softmax(found)
    elif name in LOG_PROBS:
        found = np.exp(np.minimum(found, 0.0))
    return _weighed(found, names if len(names) == len(found) else ())


def _weighed(values: Vector, names: tuple[str, ...]) -> Weights:
    probable = bool((values >= -1e-6).all() and (values <= 1 + 1e-6).all())
    if probable:
        values = np.clip(values, 0.0, 1.0)
    return Weights(values, names, probable, probable and len(values) > 1 and sums_to_one(values))


def _binary(positive: float, names: tuple[str, ...]) -> Weights | None:
    """One probability of two classes: that of the second."""
    if not 0.0 <= positive <= 1.0 or len(names) not in {0, 2}:
        return None
    return Weights(np.array([1.0 - positive, positive]), names, True, True)


def _mapping(value: Mapping[Any, Any]) -> Weights | None:
    found = {text(name): number(one) for name, one in value.items()}
    if len(found) < 2 or any(one is None for one in found.values()):
        return None
    return _weighed(np.array(list(found.values()), dtype=np.float64), tuple(found))


def _listed(fields: Fields) -> Weights | None:
    """Rows of a name and a number each, as pipelines give them: ``[{"label": "spam", "score": 0.9}, …]``."""
    for name in _LISTS:
        rows = rows_of(fields.get(name))
        if rows is None or len(rows) < 2:
            continue
        pairs = [(scalar(row.first(_NAMES)), number(row.first(_WEIGHTS))) for row in rows]
        if all(one is not None and weight is not None for one, weight in pairs):
            values = np.array([weight for _, weight in pairs], dtype=np.float64)
            return _top(_weighed(values, tuple(text(one) for one, _ in pairs)))
    return None


def _top(found: Weights) -> Weights:
    """The best few of many classes, sorted, sum to less than one and still exclude one another."""
    ordered = bool((np.diff(found.values) <= 0).all())
    exclusive = found.exclusive or (found.probable and ordered and float(found.values.sum()) <= 1.0)
    return Weights(found.values, found.names, found.probable, exclusive)


def _named(fields: Fields, names: tuple[str, ...]) -> Weights | None:
    """Outputs that are themselves one number for each class: ``{"cat": 0.9, "dog": 0.1}``."""
    numbers = fields.numbers()
    if len(names) > 1 and all(name in numbers for name in names):
        return _weighed(np.array([numbers[name] for name in names], dtype=np.float64), names)
    below_one_field = len({name.partition(".")[0] for name in numbers}) == 1
    if len(numbers) < 2 or below_one_field or _RESERVED & {name.lower() for name in numbers}:
        return None
    found = _weighed(np.array(list(numbers.values()), dtype=np.float64), tuple(numbers))
    return found if found.exclusive else None


def _by_class_names(fields: Fields, names: tuple[str, ...]) -> Weights | None:
    """A row under a name that says little, ``prediction``, with a probability for each of the class names."""
    for name in _LISTS if len(names) > 1 else ():
        found = vector(fields.get(name)) if name not in {"label", "labels"} else None
        if found is not None and len(found) == len(names) and np.isfinite(found).all():
            weighed = _weighed(found, names)
            return weighed if weighed.probable else None
    return None


def parallel_names(fields: Fields, length: int) -> tuple[str, ...]:
    """Return the names in ``labels`` when there is one for each number, as zero-shot pipelines give them.

    Beside probabilities, numbers are no names but the classes that were chosen, and so is what stands beside names.
    """
    found = items(fields.get("labels")) or []
    chosen = any(name in fields for name in PROBS) and not all(isinstance(one, str) for one in found)
    if chosen or len(found) != length or len(set(map(text, found))) != length:
        return ()
    known = fields.class_names()
    return tuple(map(text, found)) if not known or set(known) == set(map(text, found)) else ()
