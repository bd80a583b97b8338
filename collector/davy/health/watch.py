"""Checks again and again, beside everything else, so that whoever asks is answered at once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from itertools import chain
from typing import Final

from davy import metrics
from davy.errors import DavyError
from davy.health import places, roles
from davy.health.check import Check, attempt, told_once
from davy.health.progress import Progress
from davy.health.status import told_checks
from davy.runtime import Runtime

_EVERY_SECONDS: Final = 5.0
_BLOBS_EVERY_SECONDS: Final = 10.0
_LATE_SECONDS: Final = 15.0
"""So long after it was due a check is given up on: what it claims is not known then."""
_LOOKED_OVER: Final = 50.0
"""Files are looked over so rarely that it takes a fiftieth of the time, at most every ten seconds."""
_LOOK_OVER_SECONDS: Final = 120.0
_LOOK_OVER_EVERY: Final = 10.0
_LEAVE_SECONDS: Final = 2.0
_RESTS_ON: Final = {"heartbeat": ("store",), "others": ("store", "log"), "progress": ("store", "log")}
"""Checks that fail or hang when others do, which say why."""
_logger = logging.getLogger("davy.health")


@dataclass(slots=True)
class _Watched:
    """One check with what it found last; `action` is called again `every` seconds, in a thread of its own.

    What is found `beside` this process is for others to mend: it is a warning at most.
    """

    what: str
    action: Callable[[], list[Check]]
    every: float = _EVERY_SECONDS
    patience: float = _LATE_SECONDS
    beside: bool = False
    found: list[Check] | None = None
    at: float = field(default_factory=time.monotonic)

    def current(self) -> list[Check]:
        """Return what was found last, or for how long nothing was."""
        found = self._current()
        return [check.softened() for check in found] if self.beside else found

    def _current(self) -> list[Check]:
        late = time.monotonic() - self.at - self.every
        if late > self.patience:
            remedy = "it hangs: is the service within reach, the disk well?"
            return [Check(self.what, "wrong", f"has not answered for {late + self.every:.0f} s", remedy)]
        return self.found or []


class Health:
    """What is known of whether this process works, at most some seconds old.

    Checks run in threads of their own from `start` on; asking costs nothing and waits for nothing, so that a flood of
    questions is no load.

    Parameters
    ----------
    runtime
        What is checked.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._followed: dict[str, Progress] = {}
        self._heart = roles.Heart(runtime)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()
        self._shown: set[str] = set()
        self._files = _Watched(
            "files", self._look_over, every=_LOOK_OVER_EVERY, patience=3 * _LOOK_OVER_SECONDS
        )
        self._open_files = _Watched("open files", places.files_check)
        self._watched = [
            self._open_files,
            _Watched("log", partial(places.log_check, runtime)),
            _Watched("store", partial(places.store_check, runtime)),
            _Watched("blobs", partial(places.blobs_check, runtime), every=_BLOBS_EVERY_SECONDS),
            _Watched("disk", partial(places.disk_check, runtime)),
            self._files,
            _Watched("progress", self._look),
            _Watched("heartbeat", self._beat),
            _Watched("others", self._ask_others, beside=True),
            *(self._room(point) for point in entry_points(group="davy.health")),
        ]
        runtime.meter.before_exposition(self._show)

    def start(self) -> None:
        """Begin to check; again, it is harmless."""
        with self._lock:
            if self._threads:
                return
            self._over = threading.Event()
            for one in self._watched:
                one.at = time.monotonic()
                name, given = f"davy-health-{one.what}", (one, self._over)
                self._threads.append(threading.Thread(target=self._watch, args=given, name=name, daemon=True))
            for thread in self._threads:
                thread.start()

    def stop(self) -> None:
        """End the checks, and tell in the store that this process is gone."""
        self._over.set()
        deadline = time.monotonic() + _LEAVE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Check as long as the block lasts."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    @property
    def known(self) -> bool:
        """Whether every check has been made once, or given up on."""
        return all(one.found is not None or one.current() for one in self._watched)

    def findings(self) -> list[Check]:
        """Return everything that is known, ok or not."""
        checks = chain.from_iterable(one.current() for one in self._watched)
        return [*roles.own_checks(self._runtime, self._follow()), *checks]

    def troubles(self) -> list[Check]:
        """Return what is not well, the worst first and each cause once: what every place shows of this process."""
        found = [check for check in self.findings() if check.state != "ok"]
        wrong = {check.what for check in found if check.state == "wrong"}
        found = [check for check in found if wrong.isdisjoint(_RESTS_ON.get(check.what, ()))]
        return told_once(sorted(found, key=lambda check: check.state != "wrong"))

    def _watch(self, one: _Watched, over: threading.Event) -> None:
        while not over.is_set() and not self._runtime.stop.is_set():
            one.found = attempt(one.what, one.action)
            one.at = time.monotonic()
            over.wait(one.every)
        if one.action == self._beat:
            with suppress(DavyError):
                self._heart.stop()

    def _look(self) -> list[Check]:
        for progress in self._follow().values():
            progress.look()
        return []

    def _beat(self) -> list[Check]:
        followed = self._follow()
        if followed:
            troubles = [check for check in self._open_files.current() if check.state == "wrong"]
            self._heart.beat(followed, troubles)
        return []

    def _follow(self) -> dict[str, Progress]:
        """Return the progress of every role that is at work here, also of those that have just begun."""
        with self._lock:
            for role, topics in list(self._runtime.pulse.reads.items()):
                if role not in self._followed:
                    self._followed[role] = Progress(self._runtime, role, tuple(topics))
            return dict(self._followed)

    def _look_over(self) -> list[Check]:
        begun = time.monotonic()
        found = places.integrity_checks(self._runtime, _LOOK_OVER_SECONDS)
        self._files.every = max(_LOOK_OVER_EVERY, _LOOKED_OVER * (time.monotonic() - begun))
        return found

    def _ask_others(self) -> list[Check]:
        """Ask for the roles of other processes, also for those that never ran."""
        own, expected = self._runtime.pulse.reads, roles.expected_roles(self._runtime.settings)
        return told_checks(self._runtime, expected, but=own)

    def _room(self, point: EntryPoint) -> _Watched:
        """Return what asks a room while its role is at work here."""
        role, _, service = point.name.partition(".")

        def ask() -> list[Check]:
            found: list[Check] = point.load()(self._runtime) if role in self._runtime.pulse.reads else []
            return found

        return _Watched(service or role, ask, beside=bool(service))

    def _show(self) -> None:
        """Set the metrics that are worked out when they are read."""
        meter = self._runtime.meter
        for role, seconds in self._runtime.pulse.silence().items():
            meter.set(metrics.ROLE_SILENT, seconds, role=role)
        for progress in self._follow().values():
            progress.show()
        found = {check.what: check.state == "wrong" for check in self.findings()}
        for what in self._shown - found.keys():
            meter.forget(metrics.CHECK_FAILING, check=what)
        for what, wrong in found.items():
            meter.set(metrics.CHECK_FAILING, wrong, check=what)
        self._shown = set(found)
