"""The forms people fill in: how a modality is shown, what is asked, and our own validation.

A modality is one small class in a file of its own that has `Template`'s four members, and a line in `TEMPLATES`.
"""

from typing import Final

from davy.errors import LabelError
from davy.event import Inference
from davy_miner.labelstudio.answers import classification
from davy_miner.labelstudio.templates.base import (
    UNCLEAR,
    VERDICT,
    Form,
    Question,
    Template,
    check_classes,
    chosen,
    picked,
    read_result,
)
from davy_miner.labelstudio.templates.check import check_config, check_prediction, check_task
from davy_miner.labelstudio.templates.image import Image
from davy_miner.labelstudio.templates.table import Table
from davy_miner.labelstudio.templates.text import Text

TEMPLATES: Final[tuple[Template, ...]] = (Image(), Text(), Table())
"""In the order they are tried."""


def form_for(inference: Inference, *, picture: bool, blind: bool = False) -> Form:
    """Choose the form for an inference.

    Raises
    ------
    LabelError
        There is nothing a person could look at, or the model is no classifier.
    """
    classes = classification(inference.outputs).classes
    check_classes(classes)
    for template in TEMPLATES:
        if template.suits(inference, picture=picture):
            form = Form(template, Question(classes, blind))
            check_config(form.tree())
            return form
    raise LabelError(
        "inputs", sorted(inference.inputs), "nothing a person can look at: send a picture, text or scalars"
    )


__all__ = [
    "TEMPLATES",
    "UNCLEAR",
    "VERDICT",
    "Form",
    "Question",
    "Template",
    "check_config",
    "check_prediction",
    "check_task",
    "chosen",
    "form_for",
    "picked",
    "read_result",
]
