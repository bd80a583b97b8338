"""Whether a person called the model right."""

from __future__ import annotations

from typing import Any, Final

from davy.outputs.base import Answer

CORRECT: Final = "correct"
WRONG: Final = "wrong"
UNCLEAR: Final = "unclear"


def verdict(stated: str, label: Any, own: Answer | None) -> str:
    """Return the verdict of a label: ``correct``, ``wrong``, ``unclear``, or empty when nothing tells.

    What a person stated stands, and is never worked out anew.

    Parameters
    ----------
    stated
        The verdict a person gave; empty when they only gave an answer.
    label
        The person's answer.
    own
        The model's answer.

    Examples
    --------
    >>> from davy.outputs import read
    >>> verdict("", "cat", read({"label": "dog"})), verdict("correct", "cat", read({"label": "dog"}))
    ('wrong', 'correct')
    """
    if stated:
        return stated
    agreed = own.agrees(label) if own is not None else None
    return "" if agreed is None else CORRECT if agreed else WRONG
