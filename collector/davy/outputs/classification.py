"""One class of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from davy.outputs.base import Answer, Unknown
from davy.outputs.fields import Fields
from davy.outputs.known import CONFIDENCES, find
from davy.outputs.labels import abstains, column_of, resolve, single_label
from davy.outputs.probabilities import Weights, one_probability, parallel_names, unreadable, weights
from davy.outputs.truths import lone_truth
from davy.outputs.values import Scalar, key, number, scalar, text, whole

_ABSTAINED = ("abstained", "(abstained)")
"""What an empty label beside probabilities is called: the first that is no class."""
_NAME_THEM = "name the classes, in the order of probs, in outputs.class_names"


@dataclass(frozen=True, slots=True)
class Classification(Answer):
    """One class; `value` is its name. A class that is not among `class_names` is an abstention ("unsure")."""

    task: ClassVar[str] = "classification"
    form: ClassVar[str] = "choice"

    @property
    def abstained(self) -> bool:
        """Whether the model gave an answer that is none of its classes."""
        return bool(self.class_names) and key(self.value) not in set(map(key, self.class_names))

    @classmethod
    def of(cls, fields: Fields) -> Self | Unknown | None:
        """Read a label, or the likeliest class of probabilities, logits or scores."""
        label, found = single_label(fields), weights(fields)
        if found is not None and not found.names:
            found = _with_names(found, parallel_names(fields, len(found.values)))
        if label is None:
            label = lone_truth(fields)
        if label is not None:
            return cls._labelled(fields, label, found)
        if found is None and (wrong := unreadable(fields)):
            return Unknown.because(f"outputs.{wrong} is not one row of finite numbers, one for each class")
        if found is not None and abstains(fields):
            offered = found.names or fields.class_names() or tuple(map(str, range(len(found.values))))
            known = set(map(key, offered))
            return cls(next(one for one in (*_ABSTAINED, "") if key(one) not in known), offered)
        if found is None or not (found.exclusive or (found.names and not found.probable)):
            return None
        names = fields.class_names()
        if not found.names and names:
            wrong = f"{len(names)} names for {len(found.values)} columns: {_NAME_THEM}"
            return Unknown.because(f"outputs.class_names has {wrong}")
        best = int(found.values.argmax())
        columns = found.names or tuple(map(str, range(len(found.values))))
        return cls(columns[best], columns, _probability(found, best))

    @classmethod
    def _labelled(cls, fields: Fields, label: Scalar, found: Weights | None) -> Self:
        names = fields.class_names() or (found.names if found else ())
        if (single := one_probability(fields)) is not None:
            return cls._beside_one(label, names, single)
        if names:
            column = column_of(label, names)
            own = _probability(found, column) if found and found.names == names else None
            return cls(resolve(label, names), names, own if own is not None else _stated(fields))
        if isinstance(label, bool):
            column = int(label)
            own = _probability(found, column) if found and len(found.values) == 2 else None
            return cls(text(label), ("False", "True"), own if own is not None else _stated(fields))
        if found is None:
            return cls(text(label), (), _stated(fields))
        return cls._by_number(fields, label, found)

    @classmethod
    def _beside_one(cls, label: Scalar, names: tuple[str, ...], single: float) -> Self:
        """A label beside one probability: its own, or, where the label is the negative of two, that of the other."""
        if not names and (isinstance(label, bool) or whole(label) in (0, 1)):
            names = ("False", "True") if isinstance(label, bool) else ("0", "1")
        negative = len(names) == 2 and column_of(label, names) == 0
        sure = 1.0 - single if negative and single < 0.5 else single
        return cls(resolve(label, names), names, round(sure, 6))

    @classmethod
    def _by_number(cls, fields: Fields, label: Scalar, found: Weights) -> Self:
        """A label beside columns without names: it is the number of its column when that column is the likeliest."""
        columns = tuple(map(str, range(len(found.values))))
        column = column_of(label, columns)
        if column is not None and found.values[column] == found.values.max():
            return cls(columns[column], columns, _probability(found, column))
        doubt = f"{text(label)!r} is not the number of the likeliest of {len(columns)} columns"
        return cls(text(label), (), _stated(fields), f"outputs.label {doubt}: {_NAME_THEM}")

    @classmethod
    def same(cls, one: Any, other: Any) -> bool | None:
        """Return whether two names, or numbers, are those of one class."""
        first, second = scalar(one), scalar(other)
        return None if first is None or second is None else key(first) == key(second)


def _with_names(found: Weights, names: tuple[str, ...]) -> Weights:
    return Weights(found.values, names, found.probable, found.exclusive)


def _probability(found: Weights | None, column: int | None) -> float | None:
    if found is None or column is None or not found.probable:
        return None
    return round(float(found.values[column]), 6)


def _stated(fields: Fields) -> float | None:
    """The confidence that the outputs give beside the label."""
    for name in ("confidence", *CONFIDENCES, find(fields, "confidence")):
        found = number(fields.get(name))
        if found is not None and 0 <= found <= 1:
            return round(float(found), 6)
    return None
