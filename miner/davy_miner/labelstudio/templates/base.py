"""What every labelling form has: a way to show one inference, and a question about the model's answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from xml.etree.ElementTree import Element, SubElement, tostring

from davy.errors import LabelError
from davy.event import Inference
from davy_miner.labelstudio.answers import Answer

SUBJECT: Final = "subject"
VERDICT: Final = "verdict"
CLASS: Final = "answer"
CORRECT: Final = "model correct"
WRONG: Final = "model wrong"
UNCLEAR: Final = "unclear"
_BUTTONS: Final = 12


class Template(Protocol):
    """How one modality is shown; one class a file, listed in `davy_miner.labelstudio.templates`."""

    name: str

    def suits(self, inference: Inference, *, picture: bool) -> bool:
        """Whether this template can show the inference; `picture` says whether there is one to show."""

    def view(self) -> Element:
        """The object tag, named ``subject``, whose value is a key of `data`."""

    def data(self, inference: Inference, link: str | None) -> dict[str, Any]:
        """What the object tag shows; `link` is the address of the picture."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which class is right, verdict first.

    The annotator first says whether the model's answer is right; only for a wrong one the classes appear. This
    confirms a failure with one key. When `blind`, the model's answer is shown nowhere and the classes are asked
    for at once.
    """

    classes: tuple[str, ...]
    blind: bool = False

    def view(self) -> list[Element]:
        """The controls, pointing at the subject."""
        if self.blind:
            return [_header("Which is it?"), self._choices(CLASS, self.classes)]
        follow_up = Element("View", visibleWhen="choice-selected", whenTagName=VERDICT, whenChoiceValue=WRONG)
        follow_up.extend([_header("Which is it?"), self._choices(CLASS, self.classes)])
        return [
            _header("The model says: $model_answer"),
            _header("Is the model's answer right?"),
            self._choices(VERDICT, (CORRECT, WRONG, UNCLEAR)),
            follow_up,
        ]

    def predictions(self, answer: Answer, model: str) -> list[dict[str, Any]]:
        """The model's answer as a prediction of a task; none when blind."""
        if self.blind:
            return []
        return [{"model_version": model, "score": answer.confidence, "result": [chosen(CLASS, answer.name)]}]

    @staticmethod
    def _choices(name: str, values: Sequence[str]) -> Element:
        found = Element("Choices", name=name, toName=SUBJECT, choice="single-radio", required="true")
        found.set("showInLine", "true")
        if len(values) > _BUTTONS:
            found.set("layout", "select")
        for value in values:
            SubElement(found, "Choice", value=value)
        return found


@dataclass(frozen=True, slots=True)
class Form:
    """A template with a question: everything a project of Label Studio asks.

    Examples
    --------
    >>> from davy_miner.labelstudio.templates.text import Text
    >>> form = Form(Text(), Question(("spam", "ham")))
    >>> form.name, len(form.version)
    ('text-classification', 12)
    """

    template: Template
    question: Question

    @property
    def name(self) -> str:
        """The task, as projects are titled: ``image-classification``."""
        return f"{self.template.name}-classification"

    @property
    def config(self) -> str:
        """The labelling configuration, as Label Studio reads it."""
        return tostring(self.tree(), encoding="unicode")

    @property
    def version(self) -> str:
        """A hash of the configuration: another configuration is another project."""
        return hashlib.blake2b(self.config.encode(), digest_size=6).hexdigest()

    def tree(self) -> Element:
        """The labelling configuration as a tree."""
        view = Element("View")
        view.append(self.template.view())
        view.extend(self.question.view())
        return view


def chosen(control: str, value: str) -> dict[str, Any]:
    """One chosen value, as Label Studio writes it in predictions and annotations."""
    return {"from_name": control, "to_name": SUBJECT, "type": "choices", "value": {"choices": [value]}}


def read_result(result: Sequence[Mapping[str, Any]], model_answer: str) -> str | None:
    """Give the class an annotation stands for; None when the annotator could not say.

    Examples
    --------
    >>> read_result([chosen("verdict", "model correct")], "7")
    '7'
    >>> read_result([chosen("verdict", "model wrong"), chosen("answer", "3")], "7")
    '3'
    >>> read_result([chosen("verdict", "unclear")], "7") is None
    True
    """
    chosen_by = picked(result)
    verdict = chosen_by.get(VERDICT)
    if verdict == CORRECT:
        return model_answer
    return None if verdict == UNCLEAR else chosen_by.get(CLASS)


def picked(result: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Give what was chosen, by control.

    Examples
    --------
    >>> picked([chosen("verdict", "unclear")])
    {'verdict': 'unclear'}
    """
    found = ((region.get("from_name"), (region.get("value") or {}).get("choices")) for region in result)
    return {str(control): str(choices[0]) for control, choices in found if choices}


def check_classes(classes: Sequence[str]) -> None:
    """Refuse class names that Label Studio would alter or confuse.

    Raises
    ------
    LabelError
        A name is empty, doubled, starts with ``$`` (a variable there) or has space that XML does not keep.
    """
    for name in classes:
        if not name or name.startswith("$") or " ".join(name.split()) != name:
            raise LabelError(
                "outputs.class_names", name, "name classes without leading $ and with single inner spaces"
            )
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise LabelError(
            "outputs.class_names", list(classes), "give at least two class names, each of them once"
        )


def _header(text: str) -> Element:
    return Element("Header", value=text, size="5")
