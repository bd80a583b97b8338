"""What is asked about a model's answer: one class for each kind of form, `question_for` chooses.

All ask for a verdict first, so that confirming a failure takes one key and nobody is led by the model's answer when
choosing the right one; only for a wrong answer the right one is asked for. When `blind`, the model's answer is shown
nowhere and the right one is asked for at once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from xml.etree.ElementTree import Element, SubElement

from davy.outputs import Answer
from davy_miner.labelstudio.templates.base import (
    ANOTHER,
    CLASS,
    CLASSES,
    CORRECT,
    NONE,
    NOTE,
    NUMBER,
    SUBJECT,
    TEXT,
    UNCLEAR,
    VERDICT,
    WRONG,
)
from davy_miner.labelstudio.templates.classes import MOST_CLASSES, value_of

SAID: Final = "model_answer"


@dataclass(frozen=True, slots=True)
class Question(ABC):
    """A verdict, then what is right."""

    blind: bool = False
    name: ClassVar[str]

    def view(self) -> list[Element]:
        """The controls, pointing at the subject; lists of classes are empty."""
        if self.blind:
            return self._right()
        follow_up = Element("View", visibleWhen="choice-selected", whenTagName=VERDICT, whenChoiceValue=WRONG)
        follow_up.extend(self._right())
        return [*self._said(), _header("Is the model's answer right?"), _verdict(), follow_up]

    def predictions(self, answer: Answer, model: str) -> list[dict[str, Any]]:
        """The model's answer as a prediction of a task; none when blind, or when the form cannot hold it."""
        result = [] if self.blind else self._predicted(answer)
        if not result:
            return []
        score = {} if answer.confidence is None else {"score": answer.confidence}
        return [{"model_version": model, "result": result, **score}]

    def _said(self) -> list[Element]:
        return [_header(f"The model says: ${SAID}")]

    @abstractmethod
    def _right(self) -> list[Element]:
        """The controls that ask what is right."""

    def _predicted(self, answer: Answer) -> list[dict[str, Any]]:
        del answer
        return []


@dataclass(frozen=True, slots=True)
class Choice(Question):
    """Which class is right, or another that is typed in."""

    name: ClassVar[str] = "classification"

    def _right(self) -> list[Element]:
        return [_header("Which is it?"), _choices(CLASS, "single-radio"), _line(ANOTHER, "another class")]

    def _predicted(self, answer: Answer) -> list[dict[str, Any]]:
        # An abstention is none of the classes: the form does not offer it.
        return [chosen(CLASS, value_of(answer.value))] if answer.value in classes_of(answer) else []


@dataclass(frozen=True, slots=True)
class Choices(Question):
    """Which classes are right, any number of them."""

    name: ClassVar[str] = "multilabel"

    def _right(self) -> list[Element]:
        choices = _choices(CLASSES, "multiple", (NONE,))
        return [_header("Which are right?"), choices, _line(ANOTHER, "another class")]

    def _predicted(self, answer: Answer) -> list[dict[str, Any]]:
        offered = set(classes_of(answer))
        values = [value_of(one) for one in answer.value if one in offered]
        return [chosen(CLASSES, *values)] if values else []


@dataclass(frozen=True, slots=True)
class Number(Question):
    """Which number is right."""

    name: ClassVar[str] = "regression"

    def _right(self) -> list[Element]:
        return [_header("What is right?"), Element("Number", name=NUMBER, toName=SUBJECT, step="any")]

    def _predicted(self, answer: Answer) -> list[dict[str, Any]]:
        value = answer.value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return []
        return [{"from_name": NUMBER, "to_name": SUBJECT, "type": "number", "value": {"number": value}}]


@dataclass(frozen=True, slots=True)
class Written(Question):
    """How the text should read; the model's own stands there to be corrected."""

    name: ClassVar[str] = "text"

    def _said(self) -> list[Element]:
        return _shown()

    def _right(self) -> list[Element]:
        area = _line(TEXT, "the right text")
        area.set("rows", "6")
        if not self.blind:
            area.set("value", f"${SAID}")
        return [_header("How should it read?"), area]


@dataclass(frozen=True, slots=True)
class Review(Question):
    """Whether the answer is right, and in words what is wrong: for answers no other form can hold."""

    name: ClassVar[str] = "review"

    def _said(self) -> list[Element]:
        return _shown()

    def _right(self) -> list[Element]:
        return [_header("What is wrong?"), _line(NOTE, "in a few words")]


_KINDS: Final[dict[str, type[Question]]] = {
    "choice": Choice,
    "choices": Choices,
    "number": Number,
    "text": Written,
}


def question_for(answer: Answer, *, blind: bool = False) -> Question:
    """Choose what to ask about an answer by its kind of form; what has none of its own is reviewed."""
    kind = _KINDS.get(answer.form, Review)
    if kind is Choice and not classes_of(answer):
        kind = Review
    return kind(blind)


def classes_of(answer: Answer) -> list[str]:
    """Return the classes a form should offer for an answer: all of the model's, or those of this answer.

    The latter where the model names none, or more than a form can hold: the list then grows with what is seen.
    """
    names = list(dict.fromkeys(answer.class_names))
    if answer.form not in {"choice", "choices"}:
        return []
    if names and len(names) <= MOST_CLASSES:
        return names
    values = answer.value if answer.form == "choices" else [answer.value]
    return [str(one) for one in values or () if one is not None]


def chosen(control: str, *values: str) -> dict[str, Any]:
    """Return chosen values, as Label Studio writes them in predictions and annotations."""
    return {"from_name": control, "to_name": SUBJECT, "type": "choices", "value": {"choices": list(values)}}


def _header(text: str) -> Element:
    return Element("Header", value=text, size="5")


def _shown() -> list[Element]:
    """Show an answer that may be long, with its lines."""
    return [_header("The model says:"), Element("Text", name="said", value=f"${SAID}")]


def _verdict() -> Element:
    found = _choices(VERDICT, "single", (CORRECT, WRONG, UNCLEAR))
    found.set("required", "true")
    return found


def _choices(name: str, choice: str, values: Sequence[str] = ()) -> Element:
    found = Element("Choices", name=name, toName=SUBJECT, choice=choice, showInLine="true")
    for value in values:
        SubElement(found, "Choice", value=value)
    return found


def _line(name: str, hint: str) -> Element:
    return Element(
        "TextArea", name=name, toName=SUBJECT, placeholder=hint, rows="1", editable="true", maxSubmissions="9"
    )
