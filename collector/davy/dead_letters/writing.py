"""How a dead letter is written: the message it stands for, and in its headers why it is one."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Final

from davy.event import dead_letters
from davy.log import Message

OWN: Final = "davy."
ATTEMPTS: Final = "davy.attempts"
LEFT_OUT: Final = "davy.left_out"
"""How many bytes the log refused to keep of a letter."""
PROJECT: Final = "davy.project"
"""Whose a letter of the gateway is: its model is called after this project once it is put back."""


def explain(
    error: Exception, *, topic: str, component: str, attempts: int = 1, project: str = ""
) -> dict[str, str]:
    """Return the headers of a dead letter that say why it is one.

    Examples
    --------
    >>> explain(ValueError("too deep"), topic="davy.flags", component="mine")["davy.error"]
    'ValueError'
    """
    return {
        "davy.error": type(error).__name__,
        "davy.message": str(error)[:1000],
        "davy.component": component,
        "davy.version": version("davy"),
        "davy.topic": topic,
        ATTEMPTS: str(attempts),
        **({PROJECT: project} if project else {}),
    }


def attempts(headers: Mapping[str, str]) -> int:
    """Return how often the record with these headers failed before it was put back; 0 for any other record."""
    counted = headers.get(ATTEMPTS, "")
    return int(counted) if counted.isdecimal() else 0


def letter_of(message: Message, error: Exception, *, component: str, failed: int = 1) -> Message:
    """Return the dead letter of a message: its bytes unchanged, with the reason, after it has `failed` so often."""
    total = attempts(message.headers) + failed
    reason = explain(error, topic=message.topic, component=component, attempts=total)
    return Message(dead_letters(message.topic), message.key, message.value, {**message.headers, **reason})


def is_letter(message: Message) -> bool:
    """Whether a message is a dead letter."""
    return message.topic.endswith(dead_letters(""))


def without_bytes(letter: Message) -> Message | None:
    """Return what is left of a dead letter whose bytes the log refuses: the reason. None when that is all it has."""
    if LEFT_OUT in letter.headers:
        return None
    reason = {name: text for name, text in letter.headers.items() if name.startswith(OWN)}
    return Message(letter.topic, letter.key, b"", {**reason, LEFT_OUT: str(len(letter.value))})
