"""What every role is given: settings, log, store, blobs, meter, a clock and a stop signal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol

from davy import metrics
from davy._signals import SignalSafeEvent
from davy._urls import without_password
from davy.blobs import Blobs
from davy.config import Settings
from davy.log import Log, Partition
from davy.meter import Meter
from davy.secret import Secret
from davy.store import Store

_ERROR_LETTERS: Final = 300


@dataclass(frozen=True, slots=True)
class Vitals:
    """What is known of a role of this process: seconds since it began, since it last got something done, and so on.

    `holds` are the partitions it handles; `error` is how it failed last, `failed` the seconds since, if it ever did.
    """

    age: float
    silence: float
    holds: tuple[Partition, ...] = ()
    error: str = ""
    failed: float | None = None


class Pulse:
    """What each role of this process reads, and when it last got something done, if only to find that all is done.

    Examples
    --------
    >>> now = 100.0
    >>> pulse = Pulse(clock=lambda: now)
    >>> pulse.begin("detect", ["davy.inferences"])
    >>> now = 170.0
    >>> pulse.silence()
    {'detect': 70.0}
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.reads: dict[str, Sequence[str]] = {}
        """The topics of each role."""
        self._begun: dict[str, float] = {}
        self._beats: dict[str, float] = {}
        self._busy: dict[str, float] = {}
        self._holds: dict[str, tuple[Partition, ...]] = {}
        self._errors: dict[str, tuple[str, float]] = {}
        self._stumbles: dict[str, tuple[int, float, float]] = {}

    def begin(self, role: str, topics: Sequence[str]) -> None:
        """Say that a role is at work in this process, and on which topics."""
        self.reads[role] = topics
        self._begun.setdefault(role, self.clock())
        self.beat(role)

    def beat(self, role: str) -> None:
        """Say that a role did what there was to do, without a failure."""
        self._beats[role] = self.clock()

    def hold(self, role: str, partitions: Iterable[Partition]) -> None:
        """Say which partitions a role handles here from now on; none while another process does its work."""
        self._holds[role] = tuple(partitions)

    def fail(self, role: str, error: BaseException) -> None:
        """Say how a role failed, for whoever asks for its last error."""
        told = without_password(f"{type(error).__name__}: {error}")[:_ERROR_LETTERS]
        self._errors[role] = told, self.clock()

    def stumble(self, role: str) -> None:
        """Say that a role could not do some of its work, and goes on from what is stored."""
        now = self.clock()
        count, first, _ = self._stumbles.get(role, (0, now, now))
        self._stumbles[role] = count + 1, first, now

    def recover(self, role: str, seconds: float) -> tuple[int, float] | None:
        """Return how often a role stumbled, and for how long, when it has not for `seconds`; else, and again, None."""
        count, first, last = self._stumbles.get(role, (0, 0.0, 0.0))
        now = self.clock()
        if not count or now - last < seconds:
            return None
        del self._stumbles[role]
        return count, now - first

    @contextmanager
    def busy(self, role: str, seconds: float) -> Iterator[None]:
        """Count a role as silent only after so many seconds while it is in this block."""
        self._busy[role] = self.clock() + seconds
        try:
            yield
        finally:
            del self._busy[role]

    def silence(self) -> dict[str, float]:
        """Return the seconds for which each role has got nothing done."""
        now = self.clock()
        return {
            role: max(0.0, now - max(beat, self._busy.get(role, beat)))
            for role, beat in list(self._beats.items())
        }

    def vitals(self) -> dict[str, Vitals]:
        """Return what is known of each role."""
        now, found = self.clock(), {}
        for role, silence in self.silence().items():
            error, at = self._errors.get(role, ("", None))
            failed = None if at is None else now - at
            age = now - self._begun[role]
            found[role] = Vitals(age, silence, self._holds.get(role, ()), error, failed)
        return found


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
    key: Secret = field(init=False)
    """The key that opens everything, of the settings or their file."""

    def __post_init__(self) -> None:
        gateway = self.settings.gateway
        object.__setattr__(self, "key", Secret(gateway.api_key, gateway.api_key_file))

    def failed(self, role: str, error: BaseException) -> None:
        """Count a failure that a role recovers from, and remember it as its last."""
        self.meter.add(metrics.ROLE_ERRORS, role=role, error=type(error).__name__)
        self.pulse.fail(role, error)


class Target(Protocol):
    """A role of `davy up` and `davy run`: a subclass, found by the entry point group ``davy.targets``."""

    reads: ClassVar[Sequence[str]] = ()
    """The topics it reads with a position of its own, of which `davy doctor` says how far it is, if any."""

    def __init__(self, runtime: Runtime) -> None: ...

    @staticmethod
    def wanted(settings: Settings) -> bool:
        """Whether `davy up` starts this role; it starts every role that does not say otherwise."""
        del settings
        return True

    def uses(self) -> Sequence[str]:
        """What its start says of it beside the topics it waits for, log, store and blobs: what else it uses."""
        return ()

    def run(self) -> None:
        """Work until `runtime.stop` is set, then finish what is in hand and return.

        It says to `runtime.pulse` that it begins, and beats whenever it did what there was to do: health tells by that.
        """
