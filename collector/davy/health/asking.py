"""Asks several things, none of which keeps the others from being answered: it may fail, and at once it may hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from davy.errors import DavyError

T = TypeVar("T")


class Late(DavyError):
    """What was asked has not answered; it may hang."""

    def __init__(self, what: str, seconds: float) -> None:
        remedy = "it hangs: is the service within reach, the disk well?"
        super().__init__(what, f"has not answered for {seconds:g} s", remedy)


def in_turn(questions: Mapping[str, Callable[[], T]]) -> dict[str, T | Exception]:
    """Ask one after the other in this thread, whose connections are open; return each answer, or why there is none."""
    return {name: _answer(question) for name, question in questions.items()}


def at_once(questions: Mapping[str, Callable[[], T]], seconds: float) -> dict[str, T | Exception]:
    """Ask in threads of their own; return each answer, or why there is none, in the order of `questions`.

    Parameters
    ----------
    questions
        What to call, by name.
    seconds
        How long to wait in all; whoever has not answered by then is left behind and is `Late`.

    Examples
    --------
    >>> at_once({"two": lambda: 1 + 1, "none": lambda: [].pop()}, 10.0)
    {'two': 2, 'none': IndexError('pop from empty list')}
    """
    found: dict[str, T | Exception] = {}

    def ask(name: str, question: Callable[[], T]) -> None:
        found[name] = _answer(question)

    threads = [
        threading.Thread(target=ask, args=question, name=f"davy-ask-{question[0]}", daemon=True)
        for question in questions.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    answered = dict(found)  # who answers later changes nothing any more
    return {name: answered.get(name, Late(name, seconds)) for name in questions}


def _answer(question: Callable[[], T]) -> T | Exception:
    try:
        return question()
    except Exception as error:  # noqa: BLE001 - whatever it was, whoever asked is told
        return error
