"""The one place where exceptions end: nothing Davy does wrong reaches the serving app, and nothing goes unsaid."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final

from davy.errors import DavyError, InvalidInference

_LOGGER: Final = logging.getLogger("davy")
_QUIET_SECONDS: Final = 60.0
_last_said: dict[str, float] = {}
observers: Final[list[Callable[[str, BaseException], None]]] = []
"""Called with the reason and the exception of everything swallowed; the tests fail on what they did not expect."""


class Guard:
    """Swallows what is raised inside it, after saying so; re-usable, and shared by threads.

    ``KeyboardInterrupt``, ``SystemExit`` and others that are no ``Exception`` pass: they are the app's.

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
        if error is None:
            return False
        if not isinstance(error, Exception):
            return False
        swallowed(self._reason, error)
        return True


def swallowed(reason: str, error: Exception) -> None:
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


def warn(reason: str, text: str) -> None:
    """Log one line for a reason, at most once in a minute."""
    if sys.is_finalizing():
        return  # nobody reads it any more, and half of the modules are gone
    now = time.monotonic()
    if now - _last_said.get(reason, -_QUIET_SECONDS) < _QUIET_SECONDS:
        return
    _last_said[reason] = now
    with suppress(Exception):  # a filter or handler of the app may raise
        _LOGGER.warning("%s: %s (said once a minute; davy.stats() counts)", reason, text)
