"""Whose a model is: those of a project are called ``project/name:version``, so that no two projects share one."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from davy.codec import decode, dump, load, renamed
from davy.errors import InvalidInference, SettingError
from davy.event import FEEDBACK, UNSEEN, Feedback

_PROJECT: Final = re.compile(rf"[^:/\s{UNSEEN}]{{1,64}}")
_NAME: Final = 200
"""Characters of a model's name before its version, as `davy.event.MODEL_NAME` has it."""


def require_project(name: str) -> None:
    """Raise SettingError unless models can be called after the project `name`."""
    if not _PROJECT.fullmatch(name):
        remedy = (
            "stands before the names of its models: give 1 to 64 characters without spaces, ':', '/' and what cannot"
            " be seen"
        )
        raise SettingError("project", name, remedy)


def owned(model: str, project: str) -> str:
    """Return what a model is called that a project sends: as it is where it is called after the project already.

    Parameters
    ----------
    model
        As it was sent; empty where feedback names none.
    project
        Empty where the sender belongs to none.

    Raises
    ------
    InvalidInference
        There is no room for the project before the name.

    Examples
    --------
    >>> owned("same:1", "fraud"), owned("fraud/same:1", "fraud"), owned("same:1", "")
    ('fraud/same:1', 'fraud/same:1', 'same:1')
    """
    if not model or not project or model.startswith(f"{project}/"):
        return model
    found = f"{project}/{model}"
    if len(found.partition(":")[0]) > _NAME:
        remedy = (
            f"with its project, {project}/, before it a name has at most {_NAME} characters before the colon"
        )
        raise InvalidInference("model", model[:200], remedy)
    return found


def owned_record(topic: str, value: bytes, project: str) -> bytes:
    """Return the bytes of an envelope or of feedback with the model called as `owned` says.

    Raises
    ------
    DecodeError
        They are neither.
    InvalidInference
        There is no room for the project before the name.
    """
    if topic == FEEDBACK:
        event = load(Feedback, value)
        return dump(replace(event, model=owned(event.model, project)))
    return renamed(value, owned(decode(value).model, project))
