"""What every labelling form has: a way to show one inference, and a question about the model's answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from xml.etree.ElementTree import Element, tostring

from davy.event import Inference

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


@dataclass(frozen=True, slots=True)
class Form:
    """A template with a question: everything a project of Label Studio asks, but for the names of classes.

    Those are collected in the project, so that a new one makes no new project.

    Examples
    --------
    >>> from davy_miner.labelstudio.templates.questions import Choice
    >>> from davy_miner.labelstudio.templates.text import Text
    >>> form = Form(Text(), Choice())
    >>> form.name, len(form.version)
    ('text-classification', 12)
    """

    template: Template
    question: Asked

    @property
    def name(self) -> str:
        """The task, as projects are titled: ``image-classification``."""
        return f"{self.template.name}-{self.question.name}"

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
        view.extend(self.template.view())
        view.extend(self.question.view())
        return view
