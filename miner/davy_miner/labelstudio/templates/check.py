"""Our own validation of configurations and tasks.

Label Studio answers 201 to a prediction that does not fit its form, and never shows it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element

from davy.errors import LabelError

_OPTIONS: Final = frozenset({"Choice", "Label"})
"""Tags of what may be chosen or drawn."""
_UNNAMED: Final = _OPTIONS | {"View", "Header", "Style", "Shortcut", "Collapse", "Panel", "Relation"}


def check_config(tree: Element) -> None:
    """Refuse a configuration whose tags do not fit together.

    Raises
    ------
    LabelError
        A name is missing or doubled, a control points nowhere, or a condition can never hold.
    """
    named = [tag.get("name", "") for tag in tree.iter() if tag.tag not in _UNNAMED]
    if len(set(named)) != len(named) or "" in named:
        raise LabelError("labelling configuration", named, "give every tag a name of its own")
    controls = _choices(tree)
    for control in tree.iter():
        if control.get("toName", named[0] if named else "") not in named:
            raise LabelError(
                "toName", control.get("toName"), f"point {control.get('name')} at one of {named}"
            )
    for values in controls.values():
        if len(set(values)) != len(values) or not values:
            raise LabelError("Choices", values, "give at least one choice, each of them once")
    for view in tree.iter("View"):
        tag, value = view.get("whenTagName"), view.get("whenChoiceValue")
        if tag is not None and value not in controls.get(tag, ()):
            raise LabelError("whenChoiceValue", value, f"name a choice of {tag}")


def check_task(tree: Element, task: Mapping[str, Any]) -> None:
    """Refuse a task that Label Studio would refuse, or accept and not show.

    Raises
    ------
    LabelError
        Data the configuration shows are missing, a number is not finite, or a prediction does not fit.
    """
    data = task["data"]
    for tag in tree.iter():
        shown = tag.get("value", "")
        if tag.tag not in _OPTIONS and shown.startswith("$") and data.get(shown[1:]) is None:
            raise LabelError(f"data.{shown[1:]}", None, f"the {tag.tag} tag of the form has nothing to show")
    try:
        json.dumps(task, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise LabelError("task", data.get("candidate_id"), f"cannot travel as JSON: {error}") from None
    for prediction in task.get("predictions", ()):
        check_prediction(tree, prediction)


def check_prediction(tree: Element, prediction: Mapping[str, Any]) -> None:
    """Refuse a prediction that does not fit the configuration.

    Raises
    ------
    LabelError
        A control or choice is unknown, several are chosen where one may be, or the score is no probability.
    """
    score = prediction.get("score", 0.0)
    if not isinstance(score, (int, float)) or not math.isfinite(score) or not 0 <= score <= 1:
        raise LabelError("prediction score", score, "must be a number in [0, 1]")
    controls = {one.get("name"): one for one in tree.iter() if one.get("toName")}
    for region in prediction["result"]:
        name = region.get("from_name")
        control = controls.get(name)
        fits = control is not None and region.get("to_name") == control.get("toName")
        if control is None or not fits or region.get("type") != control.tag.lower():
            raise LabelError("prediction", name, f"must be about one of {sorted(map(str, controls))}")
        offered = [one.get("value", "") for one in control.iter() if one.tag in _OPTIONS]
        if control.tag == "Choices" or offered:
            _check_choice(control, offered, region.get("value", {}).get(control.tag.lower(), []))


def _check_choice(control: Element, offered: list[str], picked: list[str]) -> None:
    several = control.get("choice") == "multiple"
    if not picked or not set(picked) <= set(offered) or (len(picked) > 1 and not several):
        raise LabelError(
            "prediction", picked, f"must be {'choices' if several else 'one choice'} of {control.get('name')}"
        )


def _choices(tree: Element) -> dict[str, tuple[str, ...]]:
    return {
        control.get("name", ""): tuple(choice.get("value", "") for choice in control.iter("Choice"))
        for control in tree.iter("Choices")
    }
