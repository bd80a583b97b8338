"""The installed monitors and scorers, each with its share of the budget; one that raises is left out alone.

What a plug-in raises concerns its model alone. It is tried again with the next inferences; after three failures within
an hour, or where it cannot even be made, it is *suspended* for that model: counted, said by `davy doctor`, the status
page, metrics and an alert, and left alone until it is upgraded or the model gets another reference. So is a plug-in
that a process cannot use: that is not installed there, was not fitted, or whose fitted state is lost. That is told
again every minute by each process it concerns, and no longer holds when none has told it for three.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from davy import metrics
from davy.codec import dump_any, load_any
from davy.store import Batch, Store
from davy_detectors.budget import shares, with_share
from davy_detectors.context import called
from davy_detectors.installed import Blind, Installed

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy.runtime import Runtime
    from davy_detectors.base import Monitor
    from davy_detectors.reference import Reference
    from davy_detectors.scorer import Attempt

SUSPENDED: Final = "suspended"
_TRIES: Final = 3
_WITHIN_NS: Final = 3_600 * 10**9
_TELL_EVERY_NS: Final = 60 * 10**9
_TOLD_NS: Final = 3 * _TELL_EVERY_NS
_MEND: Final = (
    "mend and upgrade it, or uninstall it; another version of it, or another reference, is tried anew"
)
_LOOK_EVERY_NS: Final = 1_000_000_000
_logger: Final = logging.getLogger("davy.detectors")
T = TypeVar("T")


class MonitorFactory(Protocol):
    """Makes a monitor: a monitor class, or anything called like one; with a `context` if it has such a parameter."""

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
        Why: how it failed last, or what it lacks.
    remedy
        What to do about it.
    told
        When a process told last that it cannot use it, nanoseconds since the epoch; 0 for one that failed, which holds
        until another version or reference is there.
    """

    kind: str
    name: str
    model: str
    reference: str
    since: int
    version: str
    error: str
    remedy: str = _MEND
    told: int = 0

    @property
    def words(self) -> str:
        """What people read of it."""
        return f"blind for this detector: {self.name}"

    def holds(self, now: int) -> bool:
        """Whether it is so at `now`, nanoseconds since the epoch."""
        return not self.told or abs(now - self.told) < _TOLD_NS


def suspensions(store: Store, now: int) -> list[Suspension]:
    """Return what is left out at `now`, nanoseconds since the epoch."""
    found = (Suspension(**load_any(data)) for _, data in store.items(SUSPENDED))
    return [one for one in found if one.holds(now)]


def blind_for(reference: Reference, installed: Installed) -> list[Blind]:
    """Return the plug-ins that do not work with a reference in this process, though nothing of them has failed."""
    model = reference.model
    monitors = [
        installed.missing("monitor", name, package)
        for name, package in reference.tried["monitor"].items()
        if not installed.has("monitor", name)
    ]
    refit = f"fit the reference again: davy reference fit --model {model}"
    unfitted = [
        Blind("scorer", name, "not fitted: it came after the reference", refit)
        for name in reference.unfitted(installed)
    ]
    return [*reference.blind.values(), *monitors, *unfitted]


def end_suspensions(model: str, store: Store, changes: Batch) -> None:
    """Resume everything that is suspended for `model`."""
    for key, data in store.items(SUSPENDED):
        if load_any(data)["model"] == model:
            changes.delete(SUSPENDED, key)


class Plugins:
    """The plug-ins of this process, each called such that a failure stays its own.

    Parameters
    ----------
    runtime
        Settings, store, meter, clock.

    Raises
    ------
    SettingError
        The settings of a plug-in are wrong.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.installed = Installed(runtime.settings.detect, runtime.clock)
        self.installed.require_settings()
        for error in self.installed.strange_settings():
            _logger.warning("%s", error)
        self._failures: dict[tuple[str, str, str], list[int]] = {}
        self._counting: dict[str, tuple[str, Mapping[str, Monitor]]] = {}
        self._looked: int | None = None
        self._suspended: dict[str, Suspension] = {}
        self._told: dict[str, tuple[int, Reference, list[Blind]]] = {}

    def fresh(self, reference: Reference) -> dict[str, Monitor]:
        """Return monitors that have tested nothing yet, by name, without those that are suspended."""
        self._take_back(reference)
        settings = self._runtime.settings.detect
        here = self.installed.names("monitor")
        found = {}
        for name, share in shares({*here, *reference.tried["monitor"]}).items():
            if name not in here:
                continue  # it keeps its share: where it is installed, and here, all monitors promise the same
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
        self._tell(reference)
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
        """Return what is left out for a model now, in any process."""
        self._tell(reference)
        self._look()
        return [one for key, one in sorted(self._suspended.items()) if self._concerns(key, one, reference)]

    def forget(self, model: str) -> None:
        """Keep nothing of `model` in memory."""
        self._counting.pop(model, None)
        self._told.pop(model, None)
        for key in [key for key in self._failures if key[2] == model]:
            del self._failures[key]

    def _make(self, name: str, reference: Reference, settings: DetectSettings) -> Monitor:
        make: MonitorFactory = self.installed.load("monitor", name)
        context = self.installed.context("monitor", name, reference.model)
        monitor: Monitor = called(make, reference, settings, context=context)
        return monitor

    def _tell(self, reference: Reference) -> None:
        """Tell everybody, once a minute, for which plug-ins this process is blind; nothing that has failed itself."""
        now, model = self._runtime.clock(), reference.model
        at, about, told = self._told.get(model, (0, None, []))
        if about is reference and 0 <= now - at < _TELL_EVERY_NS:
            return
        blind, changes = blind_for(reference, self.installed), Batch()
        for one in told:
            if one not in blind:  # another process that is blind for it too tells again
                changes.delete(SUSPENDED, _key(one.kind, one.name, model))
                self._suspended.pop(_key(one.kind, one.name, model), None)
        for one in blind:
            key = _key(one.kind, one.name, model)
            version = self.installed.version(one.kind, one.name)
            said = Suspension(
                one.kind, one.name, model, reference.version, now, version, one.found[:500], one.remedy, now
            )
            before = self._suspended.get(key)
            if before is not None and before.holds(now):
                if not before.told:
                    continue
                said = replace(said, since=before.since)
            if one not in told:
                _logger.error(
                    "%s is blind for %s %s: %s; %s", model, one.kind, one.name, one.found, one.remedy
                )
            changes.put(SUSPENDED, key, dump_any(asdict(said)))
            self._suspended[key] = said
        if changes.operations:
            self._runtime.store.apply(changes)
        self._told[model] = now, reference, blind

    def _is_suspended(self, key: str, kind: str, name: str, reference: Reference) -> bool:
        self._look()
        found = self._suspended.get(key)
        return (
            found is not None
            and not found.told
            and found.version == self.installed.version(kind, name)
            and found.reference == reference.version
        )

    def _concerns(self, key: str, one: Suspension, reference: Reference) -> bool:
        """Whether a model is blind for this plug-in, with this reference, now."""
        if one.model != reference.model or not one.told:
            return one.model == reference.model and self._is_suspended(key, one.kind, one.name, reference)
        return one.reference == reference.version and one.holds(self._runtime.clock())

    def _take_back(self, reference: Reference) -> None:
        """Forget suspensions of the model by another reference or version, which are tried anew, and what is over."""
        self._look()
        for key, one in list(self._suspended.items()):
            if one.model == reference.model and not self._concerns(key, one, reference):
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
        version = self.installed.version(kind, name)
        found = Suspension(kind, name, model, reference.version, now, version, said[:500])
        key = _key(kind, name, model)
        self._runtime.store.apply(Batch().put(SUSPENDED, key, dump_any(asdict(found))))
        self._suspended[key] = found
        del self._failures[kind, name, model]
        _logger.error("%s %s is suspended for %s: %s", kind, name, model, said)


def _key(kind: str, name: str, model: str) -> str:
    return f"{kind}/{name}/{model}"
