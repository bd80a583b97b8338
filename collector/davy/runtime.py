"""What every role is given: settings, log, store, blobs, meter, a clock and a stop signal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from davy._signals import SignalSafeEvent
from davy.blobs import Blobs
from davy.config import Settings
from davy.log import Log
from davy.meter import Meter
from davy.store import Store


class Pulse:
    """When each role of this process last did something, if only to look for work.

    Examples
    --------
    >>> now = 100.0
    >>> pulse = Pulse(clock=lambda: now)
    >>> pulse.beat("detect")
    >>> now = 170.0
    >>> pulse.silent(60.0)
    {'detect': 70.0}
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beats: dict[str, float] = {}

    def beat(self, role: str) -> None:
        """Say that a role did something."""
        self._beats[role] = self._clock()

    def silent(self, seconds: float) -> dict[str, float]:
        """Give the roles that did nothing for more than `seconds`, and for how long."""
        now = self._clock()
        return {role: now - beat for role, beat in list(self._beats.items()) if now - beat > seconds}


@dataclass(frozen=True, slots=True)
class Runtime:
    """The things roles share in one process; made by the runner, or by a test with adapters of its choice."""

    settings: Settings
    log: Log
    store: Store
    blobs: Blobs
    meter: Meter
    stop: threading.Event = field(default_factory=SignalSafeEvent)
    clock: Callable[[], int] = time.time_ns
    pulse: Pulse = field(default_factory=Pulse)


class Target(Protocol):
    """A role of `davy up` and `davy run`: a subclass, found by the entry point group ``davy.targets``."""

    def __init__(self, runtime: Runtime) -> None: ...

    @staticmethod
    def wanted(settings: Settings) -> bool:
        """Whether `davy up` starts this role; it starts every role that does not say otherwise."""
        del settings
        return True

    def run(self) -> None:
        """Work until `runtime.stop` is set, then finish what is in hand and return."""
