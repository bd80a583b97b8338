"""What every answer has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from davy.outputs.fields import Fields
from davy.outputs.values import equal, text


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered to one input; each task type is a subclass.

    Attributes
    ----------
    value
        The answer itself, as JSON can hold it: a class name, names, a number, a text, boxes.
    class_names
        The names of all classes, in the order of the model's columns; empty when the outputs do not tell.
    confidence
        The probability the model gave to its answer, in [0, 1]; None when the outputs do not tell.
    note
        What is doubtful about the reading and how to end the doubt, for people; usually empty.
    """

    value: Any
    class_names: tuple[str, ...] = ()
    confidence: float | None = None
    note: str = ""

    task: ClassVar[str]
    """The task type: ``classification``, ``multi-label``, ``regression`` …"""
    form: ClassVar[str]
    """The kind of form in which a person answers: ``choice``, ``choices``, ``number`` …; empty when there is none."""

    @classmethod
    def of(cls, fields: Fields) -> Self | Unknown | None:
        """Read the outputs as an answer of this task; None when they are of another, Unknown when they are damaged."""
        raise NotImplementedError

    def shown(self) -> str:
        """Return the answer as a person reads it."""
        return text(self.value)

    def agrees(self, label: Any) -> bool | None:
        """Return whether a person's answer is the model's; None when the two cannot be compared."""
        return None if label is None else self.same(self.value, label)

    @classmethod
    def same(cls, one: Any, other: Any) -> bool | None:
        """Return whether two answers to this task are the same; None when they cannot be compared."""
        return equal(one, other)


@dataclass(frozen=True, slots=True)
class Unknown(Answer):
    """Outputs in which no answer was found; `note` says why."""

    task: ClassVar[str] = "unknown"
    form: ClassVar[str] = ""

    @classmethod
    def because(cls, reason: str) -> Unknown:
        """Return an unknown answer for a reason."""
        return cls(None, note=reason)

    @property
    def reason(self) -> str:
        """Why there is no answer."""
        return self.note

    def shown(self) -> str:
        """Return nothing: there is no answer to show."""
        return ""

    def agrees(self, label: Any) -> bool | None:
        """Return None: there is nothing to agree with."""
        del label
        return None
