"""What an annotation says: the verdict, and what is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from davy_miner.labelstudio.templates.base import (
    ANOTHER,
    CLASS,
    CLASSES,
    CORRECT,
    NONE,
    NOTE,
    NUMBER,
    TEXT,
    UNCLEAR,
    VERDICT,
    WRONG,
)

Verdict = Literal["", "correct", "wrong", "unclear"]
_VERDICTS: dict[str, Verdict] = {CORRECT: "correct", WRONG: "wrong", UNCLEAR: "unclear"}


@dataclass(frozen=True, slots=True)
class Said:
    """What an annotator said.

    Attributes
    ----------
    verdict
        On the model's answer, empty where it was not shown.
    value
        What is right, as the model's own answer would be: the name of a class, a sorted list of names, a number, a
        text; None where the annotator named nothing.
    note
        What is wrong, in words.
    """

    verdict: Verdict
    value: Any
    note: str = ""


def read_annotation(
    result: Sequence[Mapping[str, Any]], model_answer: Any, names: Mapping[str, str] | None = None
) -> Said:
    """Read an annotation.

    Parameters
    ----------
    result
        As Label Studio has it.
    model_answer
        What "model correct" confirms.
    names
        Names of classes by what the form calls them, where that differs.

    Examples
    --------
    >>> from davy_miner.labelstudio.templates.questions import chosen
    >>> read_annotation([chosen("verdict", "model wrong"), chosen("answer", "3")], "7")
    Said(verdict='wrong', value='3', note='')
    """
    said = _by_control(result)
    verdict = _VERDICTS.get(str((said.get(VERDICT) or [""])[0]), "")
    if verdict == "correct":
        return Said(verdict, model_answer)
    if verdict == "unclear":
        return Said(verdict, None)
    return Said(verdict, _right(said, names or {}), " ".join(map(str, said.get(NOTE, ()))))


def read_result(
    result: Sequence[Mapping[str, Any]], model_answer: Any, names: Mapping[str, str] | None = None
) -> Any:
    """Return what is right according to an annotation; None when the annotator could not say.

    Examples
    --------
    >>> from davy_miner.labelstudio.templates.questions import chosen
    >>> read_result([chosen("verdict", "model correct")], "7")
    '7'
    >>> read_result([chosen("verdict", "unclear")], "7") is None
    True
    """
    return read_annotation(result, model_answer, names).value


def picked(result: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what was chosen first, by control.

    Examples
    --------
    >>> from davy_miner.labelstudio.templates.questions import chosen
    >>> picked([chosen("verdict", "unclear")])
    {'verdict': 'unclear'}
    """
    return {control: str(values[0]) for control, values in _by_control(result).items()}


def _right(said: Mapping[str, Sequence[Any]], names: Mapping[str, str]) -> Any:
    typed = [names.get(text, text) for one in said.get(ANOTHER, ()) if (text := str(one).strip())]
    if CLASSES in said or (typed and CLASS not in said and len(typed) > 1):
        there = [names.get(str(one), str(one)) for one in said.get(CLASSES, ()) if one != NONE]
        return sorted({*there, *typed})
    if CLASS in said or typed:
        # Whoever types a class means it, whatever is chosen beside it.
        return typed[-1] if typed else names.get(str(said[CLASS][0]), str(said[CLASS][0]))
    if NUMBER in said:
        return said[NUMBER][0]
    return "\n".join(map(str, said[TEXT])) if TEXT in said else None


def _by_control(result: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return what was given to each control; several regions of one control follow one another."""
    found: dict[str, list[Any]] = {}
    for region in result:
        value = region.get("value")
        if not isinstance(value, Mapping):
            continue
        for kind in ("choices", "text", "number"):
            given = value.get(kind)
            if given is not None and given != []:
                values = given if isinstance(given, list) else [given]
                found.setdefault(str(region.get("from_name")), []).extend(values)
    return found
