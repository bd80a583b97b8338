"""The installed monitors and scorers, each with its share of the budget; one that raises is left out alone.

What a plug-in raises concerns its model alone. It is tried again with the next inferences; after three failures within
an hour, or where it cannot even be made, it is *suspended* for that model: counted, said by `davy doctor`, metrics and
an alert, and left alone until it is upgraded or the model gets another reference.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from davy import metrics
from davy.codec import dump_any, load_any
from davy.errors import PluginFailed
from davy.store import Batch, Store
from davy_detectors.base import watches
from davy_detectors.budget import shares, with_share

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy.runtime import Runtime
    from davy_detectors.base import Attempt, Monitor
    from davy_detectors.reference import Reference

SUSPENDED: Final = "suspended"
_TRIES: Final = 3
_WITHIN_NS: Final = 3_600 * 10**9
_LOOK_EVERY_NS: Final = 1_000_000_000
_logger: Final = logging.getLogger("davy.detectors")
T = TypeVar("T")


class MonitorFactory(Protocol):
    """Makes a monitor: a monitor class, or anything called like one."""

    def __call__(self, reference: Reference, settings: DetectSettings) -> Monitor:
        """Make a fresh monitor."""


@dataclass(frozen=True, slots=True)
class Suspension:
    """A plug-in that is left out for a model.

    Attributes
    ----------
    kind, name
        ``monitor`` or ``scorer``, and which.
    model, reference
        Whose inferences it failed on, and the version of the reference in force.
    since
        Nanoseconds since the epoch.
    version
        Of the distribution that has it: another one is tried again.
    error
        How it failed last.
    """

    kind: str
    name: str
    model: str
    reference: str
    since: int
    version: str
    error: str


def suspensions(store: Store) -> list[Suspension]:
    """Return what is suspended."""
    return [Suspension(**load_any(data)) for _, data in store.items(SUSPENDED)]


def end_suspensions(model: str, store: Store, changes: Batch) -> None:
    """Resume everything that is suspended for `model`."""
    for one in suspensions(store):
        if one.model == model:
            changes.delete(SUSPENDED, _key(one.kind, one.name, model))


class Plugins:
    """The plug-ins of this process, each called such that a failure stays its own.

    Parameters
    ----------
    runtime
        Settings, store, meter, clock.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._points = {
            (kind, point.name): point
            for kind in ("monitor", "scorer")
            for point in sorted(entry_points(group=f"davy.{kind}s"))
        }
        self._failures: dict[tuple[str, str, str], list[int]] = {}
        self._counting: dict[str, tuple[str, Mapping[str, Monitor]]] = {}
        self._looked: int | None = None
        self._suspended: dict[str, Suspension] = {}

    @cached_property
    def labelled(self) -> bool:
        """Whether an installed monitor watches labelled inferences; one that cannot be loaded watches nothing."""
        found = False
        for (kind, _), point in self._points.items():
            if kind == "monitor":
                with suppress(Exception):  # said where the monitor is made
                    found = found or watches(point.load()) == "labelled"
        return found

    def fresh(self, reference: Reference) -> dict[str, Monitor]:
        """Return monitors that have tested nothing yet, by name, without those that are suspended."""
        self._take_back(reference)
        settings = self._runtime.settings.detect
        names = [name for kind, name in self._points if kind == "monitor"]
        found = {}
        for name, share in shares(names).items():
            make = partial(self._make, name, reference, with_share(settings, share))
            monitor = self._attempt("monitor", reference, name, make, tries=1)
            if monitor is not None:
                found[name] = monitor
        return found

    def counting(self, reference: Reference) -> Mapping[str, Monitor]:
        """Return monitors to aggregate with; all partitions of this process share them, because that keeps no state."""
        version, monitors = self._counting.get(reference.model, ("", {}))
        if version != reference.version:
            version, monitors = reference.version, self.fresh(reference)
            self._counting[reference.model] = version, monitors
        return monitors

    def calls(self, kind: str, reference: Reference) -> Attempt:
        """Return what calls the plug-ins of a kind on inferences of a reference's model."""
        attempt: Attempt = partial(self._attempt, kind, reference)
        return attempt

    def _attempt(
        self, kind: str, reference: Reference, name: str, work: Callable[[], T], tries: int = _TRIES
    ) -> T | None:
        key = _key(kind, name, reference.model)
        if self._is_suspended(key, kind, name, reference):
            return None
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - whatever a plug-in raises is its own affair, and counted
            self._failed(kind, name, reference, error, tries)
            return None

    def suspended(self, reference: Reference) -> list[Suspension]:
        """Return what is left out for a model now."""
        self._look()
        return [
            one
            for key, one in sorted(self._suspended.items())
            if one.model == reference.model and self._is_suspended(key, one.kind, one.name, reference)
        ]

    def forget(self, model: str) -> None:
        """Keep nothing of `model` in memory."""
        self._counting.pop(model, None)
        for key in [key for key in self._failures if key[2] == model]:
            del self._failures[key]

    def _make(self, name: str, reference: Reference, settings: DetectSettings) -> Monitor:
        make: MonitorFactory = self._points["monitor", name].load()
        monitor = make(reference, settings)
        if watches(monitor) != watches(make):
            raise PluginFailed("watches", watches(monitor), "say so on what makes the monitor, too")
        return monitor

    def _is_suspended(self, key: str, kind: str, name: str, reference: Reference) -> bool:
        self._look()
        found = self._suspended.get(key)
        return (
            found is not None
            and found.version == _version(self._points.get((kind, name)))
            and found.reference == reference.version
        )

    def _take_back(self, reference: Reference) -> None:
        """Forget suspensions of the model by another reference or version: these are tried anew."""
        self._look()
        for key, one in list(self._suspended.items()):
            if one.model == reference.model and not self._is_suspended(key, one.kind, one.name, reference):
                self._runtime.store.apply(Batch().delete(SUSPENDED, key))
                del self._suspended[key]

    def _look(self) -> None:
        now = self._runtime.clock()
        if self._looked is None or not 0 <= now - self._looked < _LOOK_EVERY_NS:
            stored = self._runtime.store.items(SUSPENDED)
            self._suspended = {key: Suspension(**load_any(data)) for key, data in stored}
            self._looked = now

    def _failed(self, kind: str, name: str, reference: Reference, error: Exception, tries: int) -> None:
        model, now = reference.model, self._runtime.clock()
        self._runtime.meter.add(metrics.PLUGIN_FAILURES, kind=kind, plugin=name)
        failures = self._failures.setdefault((kind, name, model), [])
        failures[:] = [*(at for at in failures if abs(now - at) < _WITHIN_NS), now]
        said = f"{type(error).__name__}: {error}"
        if len(failures) < tries:
            _logger.warning(
                "%s %s failed on inferences of %s and is left out of these: %s", kind, name, model, said
            )
            return
        version = _version(self._points.get((kind, name)))
        found = Suspension(kind, name, model, reference.version, now, version, said[:500])
        key = _key(kind, name, model)
        self._runtime.store.apply(Batch().put(SUSPENDED, key, dump_any(asdict(found))))
        self._suspended[key] = found
        del self._failures[kind, name, model]
        _logger.error("%s %s is suspended for %s: %s", kind, name, model, said)


def _key(kind: str, name: str, model: str) -> str:
    return f"{kind}/{name}/{model}"


def _version(point: EntryPoint | None) -> str:
    return point.dist.version if point is not None and point.dist is not None else ""
