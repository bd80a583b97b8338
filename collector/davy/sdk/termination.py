"""SIGTERM where the app leaves it to its default action: what waits is sent, and then that action ends the process.

The default action ends a process at once, and Python's exit does not run. Servers choose it too: uvicorn handles the
signal itself, puts the default back when the last request is answered, and sends itself the signal again. So Davy takes
the place of the default action, when that is in force and whenever the app puts it back, and of nothing else: handlers
of the app are never touched, and what it asks about the signal it is answered as if Davy were not there. The process
still ends by the signal, with the same exit code, at most ``exit_seconds`` later.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

from davy.sdk.guard import Guard

_GUARD: Final = Guard("exit")
_RAW: Final[Any] = sys.modules.get("_signal", signal)
"""What `signal.signal` and whoever imported it by name call in the end."""
_DAVY: Final = f"{Path(__file__).parents[1]}{os.sep}"
_AGAIN_SECONDS: Final = 0.001
_TIMES: Final = 50
"""So often the signal is put off until Davy is no longer interrupted: a call of it may wait for long."""
_INIT: Final = 1
"""The process the kernel does not let the default action of a signal end: the first one of a container."""


class Termination:
    """Stands in for the default action of SIGTERM.

    Parameters
    ----------
    leave
        Sends what waits, in bounded time; told whether the process ends for certain.
    """

    def __init__(self, leave: Callable[[bool], None]) -> None:
        self._leave = leave
        self._attending = self._leaving = False
        self._put_off = 0
        self._handler = self._end  # one object, to know it again
        self._set: Callable[[Any, Any], Any] = _RAW.signal
        self._get: Callable[[Any], Any] = _RAW.getsignal

    def attend(self) -> None:
        """Begin to stand in for the default action; never raises, and is free when that was done before.

        Only the main thread can do so at once. Elsewhere it is done when the app puts the default action back.
        """
        if self._attending or os.name != "posix":
            return
        self._attending = True
        _RAW.signal, _RAW.getsignal = self._set_for_app, self._get_for_app
        if _is_default(self._get(signal.SIGTERM)) and _in_main_thread():
            with suppress(ValueError):  # another interpreter of this process has the signals
                self._set(signal.SIGTERM, self._handler)

    def _set_for_app(self, number: Any, handler: Any, /) -> Any:
        default = number == signal.SIGTERM and _is_default(handler)
        found = self._set(number, self._handler if default else handler)
        return _RAW.SIG_DFL if found is self._handler else found

    def _get_for_app(self, number: Any, /) -> Any:
        found = self._get(number)
        return _RAW.SIG_DFL if found is self._handler else found

    def _end(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal: in the main thread, between any two of its instructions."""
        if not self._leaving and self._put_off < _TIMES and _inside_davy(frame):
            self._put_off += 1
            _thread.start_new_thread(_send_again, (number,))  # it may hold what the sender needs to send
            return
        if not self._leaving:  # whoever sends it twice is in a hurry
            self._leaving = True
            with _GUARD:
                self._leave(os.getpid() != _INIT)
        self._set(number, _RAW.SIG_DFL)
        signal.raise_signal(number)
        self._leaving, self._put_off = False, 0  # the process is still there, and so is what it captures
        self._set(number, self._handler)


def _inside_davy(frame: FrameType | None) -> bool:
    """Whether Davy was interrupted, or a lock that it was about to take or to release."""
    while frame is not None and frame.f_code.co_filename == threading.__file__:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(_DAVY)


def _send_again(number: int) -> None:
    time.sleep(_AGAIN_SECONDS)
    os.kill(os.getpid(), number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread() and not sys.is_finalizing()


def _is_default(handler: Any) -> bool:
    return type(handler) is int and handler == _RAW.SIG_DFL
