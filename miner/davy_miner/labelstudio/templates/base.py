"""What every labelling form has: a way to show one inference, and a question about the model's answer."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from xml.etree.ElementTree import Element, tostring

from davy.event import Inference
from davy.outputs import Answer

SUBJECT: Final = "subject"
VERDICT: Final = "verdict"
CLASS: Final = "answer"
CLASSES: Final = "answers"
ANOTHER: Final = "another"
NUMBER: Final = "number"
TEXT: Final = "text"
NOTE: Final = "note"
CHOICE_CONTROLS: Final = frozenset({CLASS, CLASSES})
"""Controls whose choices are classes."""
CORRECT: Final = "model correct"
WRONG: Final = "model wrong"
UNCLEAR: Final = "unclear"
NONE: Final = "none of these"
"""Where several classes may hold: that none does."""


@dataclass(frozen=True, slots=True)
class Item:
    """One inference as a form sees it.

    Attributes
    ----------
    inference
        With its inputs and outputs; large values are `davy.event.BlobRef`.
    answer
        The model's answer (`davy.outputs`): value, class names, confidence.
    link
        Address of its picture, which a browser can open; None without one.
    blind
        Whether the model's answer is to be shown nowhere.
    names
        Where an annotation is read: the names of classes by what the form calls them, where that differs.
    """

    inference: Inference
    answer: Answer
    link: str | None = None
    blind: bool = False
    names: Mapping[str, str] = field(default_factory=dict)


class Template(Protocol):
    """How one modality is shown; one class a file, listed in `davy_miner.labelstudio.templates`."""

    name: str

    def suits(self, inference: Inference, *, picture: bool) -> bool:
        """Whether this template can show the inference; `picture` says whether there is one to show."""

    def view(self) -> Sequence[Element]:
        """The object tags, the first named ``subject``, whose values are keys of `data`."""

    def data(self, inference: Inference, link: str | None) -> dict[str, Any]:
        """What the object tags show; `link` is the address of the picture."""


class Asked(Protocol):
    """What is asked about an answer; one class a kind of form, in `davy_miner.labelstudio.templates.questions`."""

    @property
    def name(self) -> str:
        """What kind of answer it asks for, as projects are titled."""

    @property
    def blind(self) -> bool:
        """Whether the model's answer is shown nowhere."""

    def view(self) -> Sequence[Element]:
        """The controls, pointing at the subject; lists of classes are empty."""

    def predictions(self, answer: Any, model: str) -> list[dict[str, Any]]:
        """The model's answer as predictions of a task; none when blind."""


class Form(ABC):
    """Everything a project of Label Studio asks, but for the names of classes.

    Those are collected in the project, so that a new one makes no new project. Equal forms are one project.
    """

    __slots__ = ()

    @property
    def plugin(self) -> str:
        """The plug-in it is of; empty for ours."""
        return ""

    @property
    @abstractmethod
    def name(self) -> str:
        """The task, as projects are titled: ``image-classification``."""

    @abstractmethod
    def view(self) -> Sequence[Element]:
        """Return the tags: what is shown, then what is asked; lists of classes are empty."""

    @abstractmethod
    def classes(self, item: Item) -> Sequence[str]:
        """Return the classes it should offer for an inference."""

    @abstractmethod
    def data(self, item: Item) -> Mapping[str, Any]:
        """Return what its tags show of an inference."""

    @abstractmethod
    def predictions(self, item: Item, model: str) -> list[dict[str, Any]]:
        """Return the model's answer as predictions of a task; none when blind."""

    @property
    def version(self) -> str:
        """A hash of what is asked and shown: other controls are another project, other classes are not."""
        skeleton = tostring(self._tree(), encoding="unicode")
        return hashlib.blake2b(skeleton.encode(), digest_size=6).hexdigest()

    def tree(self, names: Sequence[str] = ()) -> Element:
        """The labelling configuration as a tree, offering these classes."""
        from davy_miner.labelstudio.templates.classes import fill

        view = self._tree()
        fill(view, names)
        return view

    def config(self, names: Sequence[str] = ()) -> str:
        """The labelling configuration, as Label Studio reads it."""
        return tostring(self.tree(names), encoding="unicode")

    def _tree(self) -> Element:
        view = Element("View")
        view.extend(self.view())
        return view


@dataclass(frozen=True, slots=True)
class TemplateForm(Form):
    """A template with a question: the forms that Davy has.

    Examples
    --------
    >>> from davy_miner.labelstudio.templates.questions import Choice
    >>> from davy_miner.labelstudio.templates.text import Text
    >>> form = TemplateForm(Text(), Choice())
    >>> form.name, len(form.version)
    ('text-classification', 12)
    """

    template: Template
    question: Asked

    @property
    def name(self) -> str:
        """The task, as projects are titled: ``image-classification``."""
        return f"{self.template.name}-{self.question.name}"

    def view(self) -> Sequence[Element]:
        """Return the tags of both."""
        return [*self.template.view(), *self.question.view()]

    def classes(self, item: Item) -> Sequence[str]:
        """Return the classes of the model, or those of this answer."""
        from davy_miner.labelstudio.templates.questions import classes_of

        return classes_of(item.answer)

    def data(self, item: Item) -> Mapping[str, Any]:
        """Return what the template shows."""
        return self.template.data(item.inference, item.link)

    def predictions(self, item: Item, model: str) -> list[dict[str, Any]]:
        """Return the model's answer as the question holds it."""
        return self.question.predictions(item.answer, model)
