"""Forms: what is shown, what is asked, and what we refuse because Label Studio would not."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from davy.errors import LabelError
from davy.event import Inference
from davy.outputs import read
from davy_miner.labelstudio.templates import (
    TEMPLATES,
    Form,
    TemplateForm,
    check_config,
    check_prediction,
    check_task,
    chosen,
    classes_of,
    filled,
    form_for,
    names_by_value,
    question_for,
    read_annotation,
    read_result,
    value_of,
)
from davy_miner.labelstudio.templates.shown import rows

pytestmark = pytest.mark.fast

PROBS = np.array([0.2, 0.5, 0.3])
OUTPUTS: dict[str, dict[str, Any]] = {
    "classification": {"probs": PROBS, "class_names": ["a", "b", "c"]},
    "multilabel": {"probs": np.array([0.9, 0.8, 0.1]), "class_names": ["a", "b", "c"]},
    "regression": {"value": 3.5},
    "text": {"text": "an answer"},
    "review": {"boxes": np.array([[1.0, 2, 3, 4]]), "scores": np.array([0.9]), "labels": ["cat"]},
}


def inference(inputs: dict[str, Any], **outputs: Any) -> Inference:
    return Inference(bytes(16), 0, "m:1", inputs, {"probs": PROBS, **outputs})


def form_of(inputs: dict[str, Any], *, picture: bool = False, **outputs: Any) -> Form:
    found = inference(inputs, **outputs)
    return form_for(found, read(found.outputs), picture=picture)


def config_of(*names: str) -> str:
    return form_of({}, picture=True).config(names)


@pytest.mark.parametrize(
    ("inputs", "picture", "name"),
    [
        ({"pixels": np.zeros((8, 8))}, True, "image-classification"),
        ({"pixels": np.zeros((8, 8)), "question": "what is it?"}, True, "image-tabular-classification"),
        ({"text": "a letter"}, False, "text-classification"),
        ({"messages": [{"role": "user", "content": "hello"}]}, False, "text-classification"),
        ({"age": 31, "city": "Camborne", "score": 0.5}, False, "tabular-classification"),
        ({"row": np.zeros(4)}, False, "tabular-classification"),
        ({"series": np.arange(300.0)}, False, "tabular-classification"),
        ({"customer": {"age": 31, "address": {"city": "Camborne"}}}, False, "tabular-classification"),
        ({"age": None, "city": "Camborne", "size": float("nan"), "n": 3}, False, "tabular-classification"),
    ],
)
def test_the_inputs_choose_the_form(inputs: dict[str, Any], picture: bool, name: str) -> None:
    assert form_of(inputs, picture=picture).name == name


@pytest.mark.parametrize("inputs", [{}, {"x": None}, {"x": float("nan")}, {"x": b"\x00\x01"}])
def test_inputs_with_nothing_to_look_at_are_refused(inputs: dict[str, Any]) -> None:
    with pytest.raises(LabelError, match="nothing a person can look at"):
        form_of(inputs)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("blind", [False, True])
def test_every_template_and_question_give_a_form_and_a_task_that_fit_together(
    template: Any, kind: str, blind: bool
) -> None:
    found = Inference(bytes(16), 0, "m", {"text": "a letter", "age": 31, "city": None}, OUTPUTS[kind])
    answer = read(found.outputs)
    form = TemplateForm(template, question_for(answer, blind=blind))
    assert form.name == f"{template.name}-{kind}"
    tree = form.tree(classes_of(answer))
    check_config(tree)
    data = {**template.data(found, "http://x"), "model_answer": answer.shown()}
    check_task(tree, {"data": data, "predictions": form.question.predictions(answer, "m")})
    assert ("verdict" in form.config()) is not blind
    assert ("model_answer" in form.config()) is not blind


def test_other_classes_are_the_same_form_and_another_question_is_another() -> None:
    one = form_of({}, picture=True)
    assert one.version == form_of({}, picture=True, class_names=["a", "b", "c"]).version
    assert one.version != form_of({}, picture=True, probs=None, value=3.0).version


ODD = [
    "",
    "$image",
    " padded",
    "padded",
    "two  spaces",
    "new\nline",
    "\x00",
    "x" * 5000,
    "none of these",
    "\ud800",
]
names = st.lists(st.one_of(st.text(max_size=30), st.sampled_from(ODD)), min_size=1, max_size=12, unique=True)


@given(names)
def test_every_name_of_a_class_travels_through_a_form_unharmed(found: list[str]) -> None:
    tree = fromstring(config_of(*found))
    values = [str(one.get("value")) for one in tree.findall(".//Choices[@name='answer']/Choice")]
    assert values == [value_of(name) for name in found]
    assert all(" ".join(value.split()) == value and not value.startswith("$") for value in values)
    back = [read_result([chosen("answer", value)], "", names_by_value(found)) for value in values]
    assert back == found


@given(names, names)
def test_a_list_of_classes_only_grows_and_growing_twice_changes_nothing(
    some: list[str], others: list[str]
) -> None:
    before = config_of(*some)
    grown = filled(before, others) or before
    assert filled(grown, others) is None
    values = [one.get("value") for one in fromstring(grown).findall(".//Choices[@name='answer']/Choice")]
    expected = list(dict.fromkeys(map(value_of, [*some, *others])))
    assert values == expected


letters = st.sampled_from([*"0123456789abcquw", "C", "10", "1 star", "class 2", "dog", "cat", "10 a"])


@given(st.lists(letters, min_size=1, max_size=20, unique=True), st.lists(letters, max_size=8, unique=True))
def test_a_key_that_is_the_name_of_a_class_stores_that_class(first: list[str], later: list[str]) -> None:
    config = config_of(*first)
    config = filled(config, later) or config
    keys = [(choice.get("hotkey"), str(choice.get("value"))) for choice in fromstring(config).iter("Choice")]
    given_keys = [key for key, _ in keys if key]
    assert len(set(given_keys)) == len(given_keys)
    called = {name.lower() for name in [*first, *later] if len(name) == 1}
    assert {key for key, _ in keys} >= called
    assert all(value.lower() == key for key, value in keys if key in called)
    assert all(key for key, value in keys if value in {"model correct", "model wrong", "unclear"})


def test_a_form_its_owner_built_anew_is_left_alone() -> None:
    assert filled("<View><Text name='subject' value='$text'/></View>", ["a"]) is None
    assert filled("no form at all", ["a"]) is None


def test_a_form_of_thousands_of_classes_is_a_list_to_choose_from() -> None:
    tree = fromstring(config_of(*map(str, range(5000))))
    (control,) = tree.findall(".//Choices[@name='answer']")
    assert (control.get("layout"), len(control)) == ("select", 2000)


@pytest.mark.parametrize(
    ("result", "verdict", "value"),
    [
        ([chosen("verdict", "model correct")], "correct", "7"),
        ([chosen("verdict", "model wrong"), chosen("answer", "3")], "wrong", "3"),
        ([chosen("verdict", "model wrong")], "wrong", None),
        ([chosen("verdict", "unclear"), chosen("answer", "3")], "unclear", None),
        ([chosen("answer", "3")], "", "3"),
        (
            [chosen("answer", "3"), {"from_name": "another", "value": {"text": [" a new one "]}}],
            "",
            "a new one",
        ),
        ([chosen("answers", "b", "a")], "", ["a", "b"]),
        ([chosen("answers", "none of these")], "", []),
        ([chosen("answers", "b"), {"from_name": "another", "value": {"text": "a"}}], "", ["a", "b"]),
        ([{"from_name": "number", "value": {"number": 0}}], "", 0),
        ([{"from_name": "text", "value": {"text": ["one", "two"]}}], "", "one\ntwo"),
        ([{"from_name": "note", "value": {"text": ["too wide"]}}], "", None),
        ([{"value": None}, {}], "", None),
    ],
)
def test_an_annotation_is_read_as_a_verdict_and_a_value(
    result: list[dict[str, Any]], verdict: str, value: Any
) -> None:
    found = read_annotation(result, "7")
    assert (found.verdict, found.value) == (verdict, value)


def test_an_abstention_is_shown_and_offered_to_nobody() -> None:
    answer = read({"probs": PROBS, "class_names": ["a", "b", "c"], "label": "unsure"})
    assert question_for(answer).predictions(answer, "m") == []
    assert classes_of(answer) == ["a", "b", "c"]


def test_long_and_deep_inputs_are_shown_in_short() -> None:
    deep: Any = 1
    for _ in range(50):
        deep = {"x": deep}
    found = rows({"deep": deep, "long": "x" * 10**6, "many": {str(n): n for n in range(1000)}})
    assert len(found) == 201
    assert all(len(str(value)) < 21_000 for value in found.values())


@pytest.mark.parametrize(
    "prediction",
    [
        {"score": 0.5, "result": [chosen("answer", "purple")]},
        {"score": 0.5, "result": [chosen("answer", "1", "2")]},
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
        check_prediction(form_of({}, picture=True).tree(["0", "1", "2"]), prediction)


@pytest.mark.parametrize("data", [{}, {"image": None}, {"image": "http://x", "score": float("nan")}])
def test_a_task_without_what_is_shown_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(LabelError):
        check_task(form_of({}, picture=True).tree(["0", "1"]), {"data": data})


CHOICES = "<Choice value='x'/><Choice value='y'/>"
IMAGE = "<Image name='subject' value='$image'/>"


@pytest.mark.parametrize(
    "config",
    [
        f"{IMAGE}<Choices name='a' toName='other'>{CHOICES}</Choices>",
        f"{IMAGE}<Choices name='subject' toName='subject'>{CHOICES}</Choices>",
        f"{IMAGE}<Choices name='a' toName='subject'></Choices>",
        f"{IMAGE}<View whenTagName='a' whenChoiceValue='z'/><Choices name='a' toName='subject'>{CHOICES}</Choices>",
        "<Image value='$image'/>",
    ],
)
def test_a_configuration_that_does_not_fit_together_is_refused(config: str) -> None:
    with pytest.raises(LabelError):
        check_config(fromstring(f"<View>{config}</View>"))
