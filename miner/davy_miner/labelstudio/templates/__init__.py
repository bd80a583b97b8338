"""The forms people fill in: how a modality is shown, what is asked, and our own validation.

A modality is one small class in a file of its own that has `Template`'s four members, and a line in `TEMPLATES`.
"""

from functools import lru_cache
from typing import Final
from xml.etree.ElementTree import Element

from davy.errors import LabelError
from davy.event import Inference
from davy.outputs import Answer
from davy_miner.labelstudio.templates.base import UNCLEAR, VERDICT, Form, Item, Template, TemplateForm
from davy_miner.labelstudio.templates.check import check_config, check_prediction, check_task
from davy_miner.labelstudio.templates.classes import filled, names_by_value, value_of
from davy_miner.labelstudio.templates.image import Image, ImageWithRow
from davy_miner.labelstudio.templates.questions import (
    Choice,
    Choices,
    Number,
    Review,
    Written,
    chosen,
    classes_of,
    question_for,
)
from davy_miner.labelstudio.templates.reading import Said, picked, read_annotation, read_result
from davy_miner.labelstudio.templates.table import Table
from davy_miner.labelstudio.templates.text import Text

TEMPLATES: Final[tuple[Template, ...]] = (Image(), ImageWithRow(), Text(), Table())
"""In the order they are tried."""


@lru_cache(maxsize=16)
def checked_tree(form: Form, classes: tuple[str, ...]) -> Element:
    """Return the configuration of a form that offers these classes, checked; not to be changed.

    Kept for a while: a form of a thousand classes takes longer to make than the task it is checked against.
    """
    tree = form.tree(classes)
    check_config(tree)
    return tree


def form_for(inference: Inference, answer: Answer, *, picture: bool, blind: bool = False) -> Form:
    """Choose the form for an inference and the model's answer to it.

    Raises
    ------
    LabelError
        There is nothing a person could look at.
    """
    for template in TEMPLATES:
        if template.suits(inference, picture=picture):
            form = TemplateForm(template, question_for(answer, blind=blind))
            checked_tree(form, tuple(classes_of(answer)))
            return form
    remedy = "hold nothing a person can look at: send a picture, text, numbers or times among the inputs"
    raise LabelError("inputs", sorted(inference.inputs), remedy)


__all__ = [
    "TEMPLATES",
    "UNCLEAR",
    "VERDICT",
    "Choice",
    "Choices",
    "Form",
    "Item",
    "Number",
    "Review",
    "Said",
    "Template",
    "TemplateForm",
    "Written",
    "check_config",
    "check_prediction",
    "check_task",
    "checked_tree",
    "chosen",
    "classes_of",
    "filled",
    "form_for",
    "names_by_value",
    "picked",
    "question_for",
    "read_annotation",
    "read_result",
    "value_of",
]
