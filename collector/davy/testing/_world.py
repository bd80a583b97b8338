"""What roles and plug-ins run in, in memory: log, store, payloads, metrics, and a clock that a test sets."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from davy.runtime import Runtime

_SECOND: Final = 1_000_000_000


class Clock:
    """A clock that stands still until it is told to go on.

    Parameters
    ----------
    now
        Nanoseconds since the epoch; the present by default.

    Examples
    --------
    >>> clock = Clock(0)
    >>> clock.advance(1.5)
    >>> clock()
    1500000000
    """

    def __init__(self, now: int | None = None) -> None:
        self.now = time.time_ns() if now is None else now

    def __call__(self) -> int:
        """Return nanoseconds since the epoch."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Go on by so much, or back where it is negative."""
        self.now += round(seconds * _SECOND)


def runtime(*, clock: Clock | None = None, settings: Mapping[str, Any] | None = None) -> Runtime:
    """Return what a role, a scorer or a monitor is given, all of it in memory and shared with nobody.

    Neither the environment nor a ``davy.toml`` has a say. Needs ``davy[server]``.

    Parameters
    ----------
    clock
        Append times of the log, ages of payloads, leases and whatever else asks for the time follow it; one that
        stands still at the present by default.
    settings
        By dotted key: ``{"detect.false_alarm_every": 1000}``.

    Raises
    ------
    SettingError
        A setting is wrong.

    Examples
    --------
    >>> world = runtime(settings={"detect.false_alarm_every": 1000})
    >>> world.settings.detect.false_alarm_every, list(world.log.read("davy.inferences", 0, 0))
    (1000.0, [])
    """
    # Only roles and their plug-ins need these; `capturing` is for whoever has the SDK alone.
    from davy.blobs.memory import MemoryBlobs
    from davy.config import load
    from davy.log.memory import MemoryLog
    from davy.meter import Meter
    from davy.runtime import Runtime
    from davy.store.memory import MemoryStore

    clock = clock or Clock()
    return Runtime(
        load(env={}, file=Path(os.devnull), overrides=settings),
        MemoryLog(clock=clock),
        MemoryStore(clock=lambda: clock() / _SECOND),
        MemoryBlobs(clock=clock),
        Meter(),
        clock=clock,
    )
