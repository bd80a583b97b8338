"""Forms: what is shown, what is asked, and what we refuse because Label Studio would not."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest

from davy.errors import LabelError
from davy.event import Inference
from davy_miner.labelstudio.answers import classification
from davy_miner.labelstudio.templates import (
    TEMPLATES,
    Form,
    check_config,
    check_prediction,
    check_task,
    chosen,
    form_for,
)

pytestmark = pytest.mark.fast

PROBS = np.array([0.2, 0.5, 0.3])


def inference(inputs: dict[str, Any], **outputs: Any) -> Inference:
    return Inference(bytes(16), 0, "m:1", inputs, {"probs": PROBS, **outputs})


def image_form(**outputs: Any) -> Form:
    return form_for(inference({}, **outputs), picture=True)


@pytest.mark.parametrize(
    ("inputs", "picture", "name"),
    [
        ({"pixels": np.zeros((8, 8))}, True, "image-classification"),
        ({"text": "a letter"}, False, "text-classification"),
        ({"age": 31, "city": "Camborne", "score": 0.5}, False, "tabular-classification"),
        ({"row": np.zeros(4)}, False, "tabular-classification"),
    ],
)
def test_the_inputs_choose_the_form(inputs: dict[str, Any], picture: bool, name: str) -> None:
    assert form_for(inference(inputs), picture=picture).name == name


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
@pytest.mark.parametrize("blind", [False, True])
def test_every_template_gives_a_form_and_a_task_that_fit_together(template: Any, blind: bool) -> None:
    found = inference({"text": "a letter", "age": 31, "city": None, "far": float("inf")})
    question = form_for(found, picture=True, blind=blind).question
    form = Form(template, question)
    check_config(form.tree())
    answer = classification(found.outputs)
    check_task(
        form.tree(),
        {"data": template.data(found, "http://x"), "predictions": question.predictions(answer, "m")},
    )
    assert fromstring(form.config).find(f".//*[@name='{'answer'}']") is not None


def test_another_configuration_is_another_version_and_the_same_is_the_same() -> None:
    assert image_form().version == image_form().version
    assert image_form().version != image_form(class_names=["a", "b", "c"]).version


def test_names_of_classes_travel_through_xml_unharmed() -> None:
    names = ['<b>"x" & y', "größe", "c'"]
    config = fromstring(image_form(class_names=names).config)
    shown = [choice.get("value") for choice in config.findall(".//Choices[@name='answer']/Choice")]
    assert shown == names


@pytest.mark.parametrize("name", ["", "$image", " padded", "two  spaces", "new\nline"])
def test_names_label_studio_would_alter_are_refused(name: str) -> None:
    with pytest.raises(LabelError, match=r"outputs\.class_names"):
        image_form(class_names=["a", "b", name])


@pytest.mark.parametrize(
    ("outputs", "name", "confidence"),
    [
        ({"probs": PROBS}, "1", 0.5),
        ({"probs": PROBS, "label": 2}, "2", 0.3),
        ({"probs": PROBS, "label": np.int64(0), "class_names": ["a", "b", "c"]}, "a", 0.2),
        ({"probs": PROBS, "label": "c", "classes": np.array(["a", "b", "c"])}, "c", 0.3),
        ({"logits": np.array([0.0, np.log(3.0)])}, "1", 0.75),
    ],
)
def test_the_models_answer_has_a_name_and_a_confidence(
    outputs: dict[str, Any], name: str, confidence: float
) -> None:
    found = classification(outputs)
    assert (found.name, found.confidence) == (name, confidence)


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ({"probs": np.array([np.nan, 1.0])}, "finite"),
        ({"probs": np.array([1.0])}, "at least two"),
        ({"probs": PROBS, "class_names": ["a"]}, "one name for each of 3"),
        ({"probs": PROBS, "label": 3}, "name the classes"),
        ({"boxes": []}, "only classifications"),
    ],
)
def test_outputs_that_are_no_classification_are_refused(outputs: dict[str, Any], told: str) -> None:
    with pytest.raises(LabelError, match=told):
        classification(outputs)


@pytest.mark.parametrize(
    "prediction",
    [
        {"score": 0.5, "result": [chosen("answer", "purple")]},
        {"score": 0.5, "result": [chosen("nothing", "1")]},
        {"score": 0.5, "result": [chosen("answer", "1") | {"to_name": "elsewhere"}]},
        {"score": 0.5, "result": [chosen("answer", "1") | {"type": "labels"}]},
        {"score": 1.5, "result": [chosen("answer", "1")]},
        {"score": float("nan"), "result": [chosen("answer", "1")]},
        {"score": None, "result": []},
    ],
)
def test_a_prediction_that_does_not_fit_is_refused(prediction: dict[str, Any]) -> None:
    with pytest.raises(LabelError):
        check_prediction(image_form().tree(), prediction)


@pytest.mark.parametrize("data", [{}, {"image": None}, {"image": "http://x", "score": float("nan")}])
def test_a_task_without_what_is_shown_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(LabelError):
        check_task(image_form().tree(), {"data": data})


CHOICES = "<Choice value='x'/><Choice value='y'/>"
IMAGE = "<Image name='subject' value='$image'/>"


@pytest.mark.parametrize(
    "config",
    [
        f"{IMAGE}<Choices name='a' toName='other'>{CHOICES}</Choices>",
        f"{IMAGE}<Choices name='subject' toName='subject'>{CHOICES}</Choices>",
        f"{IMAGE}<Choices name='a' toName='subject'><Choice value='x'/></Choices>",
        f"{IMAGE}<View whenTagName='a' whenChoiceValue='z'/><Choices name='a' toName='subject'>{CHOICES}</Choices>",
        "<Image value='$image'/>",
    ],
)
def test_a_configuration_that_does_not_fit_together_is_refused(config: str) -> None:
    with pytest.raises(LabelError):
        check_config(fromstring(f"<View>{config}</View>"))
