"""The one place where exceptions end: nothing Davy does wrong reaches the serving app, and nothing goes unsaid."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from inspect import CO_VARARGS
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final

from davy.errors import DavyError, InvalidInference

_LOGGER: Final = logging.getLogger("davy")
_QUIET_SECONDS: Final = 60.0
_DAVY: Final = f"{Path(__file__).parents[1]}{os.sep}"
_WAITING: Final = frozenset({"threading", "queue", "selectors", "asyncio", "gevent", "greenlet", "eventlet"})
"""Where threads wait for one another: limits of time are thrown in there."""
_REASONS: Final = 4_096
_last_said: dict[tuple[str, str], float] = {}
observers: Final[list[Callable[[str, BaseException], None]]] = []
"""Called with the reason and the exception of everything swallowed; the tests fail on what they did not expect."""


class Guard:
    """Swallows what is raised inside it, after saying so; re-usable, and shared by threads.

    What is no ``Exception`` passes where it is meant for the app, as `goes_on` tells.

    Examples
    --------
    >>> with Guard("example"):
    ...     pass
    """

    __slots__ = ("_reason",)

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return error is not None and not goes_on(self._reason, error)


def goes_on(reason: str, error: BaseException) -> bool:
    """Return whether an exception goes on to the app; of any other it is said that it was swallowed.

    ``KeyboardInterrupt`` does, what a signal handler raised, and what was thrown into Davy's own code or into what
    waits, as limits of time are. ``SystemExit`` that a property or ``__getattr__`` raised while a value was looked at
    does not: nobody would look at it but for Davy.
    """
    if not isinstance(error, Exception) and not _is_of_a_value(error):
        return True
    swallowed(reason, error)
    return False


def _is_of_a_value(error: BaseException) -> bool:
    """Whether code of the app that Davy called raised it, and no signal handler below."""
    if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
        return False
    frame, trace = None, error.__traceback__
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        if _handles_signal(frame):
            return False
    if frame is None or frame.f_code.co_filename.startswith(_DAVY):
        return False
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] not in _WAITING


def _handles_signal(frame: FrameType) -> bool:
    """Whether a function was called as a signal handler is: with the number and the frame that was interrupted."""
    code, values = frame.f_code, frame.f_locals
    given = [values.get(name) for name in code.co_varnames[: code.co_argcount]]
    if code.co_flags & CO_VARARGS:
        more = values.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount])
        given += more if isinstance(more, tuple) else ()
    kinds = [
        *map(type, given[-2:])
    ]  # not `isinstance`: it asks a value of the app for its `__class__`, which may raise
    return len(kinds) == 2 and issubclass(kinds[0], int) and issubclass(kinds[1], FrameType)


def swallowed(reason: str, error: BaseException) -> None:
    """Say that an exception went no further."""
    with suppress(Exception):
        warn(reason, describe(error))
    for observer in observers:
        observer(reason, error)


def describe(error: BaseException) -> str:
    """Name what went wrong without anything of a payload: a message of a stranger may hold one."""
    kind = type(error).__name__
    if isinstance(error, InvalidInference):
        return f"{kind} in {error.field}: {error.remedy}"
    return f"{kind}: {error}" if isinstance(error, DavyError) else kind


def warn(reason: str, text: str, model: str = "") -> None:
    """Log one line for a reason, and a model where it is about one, at most once in a minute."""
    if sys.is_finalizing():
        return  # nobody reads it any more, and half of the modules are gone
    now = time.monotonic()
    if now - _last_said.get((model, reason), -_QUIET_SECONDS) < _QUIET_SECONDS:
        return
    if len(_last_said) >= _REASONS:
        _last_said.clear()
    _last_said[model, reason] = now
    with suppress(Exception):  # a filter or handler of the app may raise
        _LOGGER.warning("%s: %s (said once a minute; davy.stats() counts)", reason, text)
