"""Every class that holds; several may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np

from davy.outputs.base import Answer, Unknown
from davy.outputs.fields import Fields
from davy.outputs.labels import abstains, indicated, marks_one, resolve, several_labels, single_label
from davy.outputs.probabilities import Weights, parallel_names, weights
from davy.outputs.truths import lone_truth
from davy.outputs.values import items, key, scalar, text

THRESHOLD: Final = 0.5
"""From which probability a class holds, where the outputs do not list the classes themselves."""


@dataclass(frozen=True, slots=True)
class MultiLabel(Answer):
    """The classes that hold; `value` is the sorted list of their names, and may be empty."""

    task: ClassVar[str] = "multi-label"
    form: ClassVar[str] = "choices"

    @classmethod
    def of(cls, fields: Fields) -> Self | Unknown | None:
        """Read a list of labels, a row of zeros and ones, or probabilities that do not exclude one another."""
        found, listed = weights(fields), several_labels(fields)
        if single_label(fields) is not None or lone_truth(fields) is not None:
            return None
        if found is not None and len(found.values) < 2:
            found = None
        if found is not None and not found.names:
            named = parallel_names(fields, len(found.values))
            found = Weights(found.values, named, found.probable, found.exclusive)
            listed = None if named else listed
        names = fields.class_names() or (found.names if found else ())
        one_hot = "label" in fields and found is not None and found.exclusive and listed and marks_one(listed)
        if listed is not None and not one_hot:
            return cls._listed(listed, names, found)
        if found is not None and abstains(fields):
            return None
        if found is None:
            return cls._flags(fields)
        return None if found.exclusive or not found.probable else cls.above(found, names)

    @classmethod
    def above(cls, found: Weights, names: tuple[str, ...]) -> Self | Unknown:
        """Return the classes whose probability is above the threshold."""
        if names and not found.names and len(names) != len(found.values):
            wrong = f"{len(names)} names for {len(found.values)} columns: name them in the order of probs"
            return Unknown.because(f"outputs.class_names has {wrong}")
        columns = found.names or names or tuple(map(str, range(len(found.values))))
        chosen = sorted(name for name, value in zip(columns, found.values, strict=True) if value >= THRESHOLD)
        return cls(chosen, columns, _sureness(found))

    @classmethod
    def _listed(cls, listed: list[Any], names: tuple[str, ...], found: Weights | None) -> Self:
        marked = indicated(listed, names)
        chosen = [resolve(one, names) for one in listed] if marked is None else marked
        if marked is not None and not names:
            names = tuple(map(str, range(len(listed))))
        return cls(sorted(set(chosen)), names, _sureness(found) if found and found.probable else None)

    @classmethod
    def _flags(cls, fields: Fields) -> Self | None:
        """Outputs that are one boolean for each class: ``{"spam": True, "toxic": False}``."""
        found = {name: scalar(value) for name, value in fields.flat.items()}
        if len(found) < 2 or not all(isinstance(value, bool) for value in found.values()):
            return None
        return cls(sorted(name for name, value in found.items() if value), tuple(found))

    def shown(self) -> str:
        """Return the names in a row; ``none`` when no class holds."""
        return ", ".join(map(text, self.value)) or "none"

    @classmethod
    def same(cls, one: Any, other: Any) -> bool | None:
        """Return whether two lists name the same classes, in whatever order; one name counts as a list of one."""
        first, second = _set(one), _set(other)
        return None if first is None or second is None else first == second


def _set(value: Any) -> frozenset[str] | None:
    single = scalar(value) if isinstance(value, (str, bytes, bool, int, float, np.generic)) else None
    found = [single] if single is not None else items(value)
    return None if found is None else frozenset(map(key, found))


def _sureness(found: Weights) -> float:
    """The probability of the least certain of all decisions."""
    return round(float(np.maximum(found.values, 1.0 - found.values).min()), 6)
