"""Plug-ins that fail alone: what one raises concerns its model, is counted, and after a bounded number of times said.

A plug-in that raises is left out of what was at hand and tried again with the next; after three failures within an
hour, or where it cannot even be made, it is *suspended* for that model: counted, said by `davy doctor`, metrics and an
alert, and left alone until it is upgraded or the model gets another reference. Every room has its own kinds of plug-ins
and calls them through this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint
from typing import Any, Final, Protocol, TypeVar

from davy import metrics
from davy.codec import dump_any, load_any
from davy.errors import PluginFailed
from davy.runtime import Runtime
from davy.store import Batch, Store

SUSPENDED: Final = "suspended"
TRIES: Final = 3
_WITHIN_NS: Final = 3_600 * 10**9
_LOOK_EVERY_NS: Final = 1_000_000_000
_logger: Final = logging.getLogger("davy.plugins")
T = TypeVar("T")


class Subject(Protocol):
    """Whose inferences a plug-in is called on: a model and the version of its reference, empty without one.

    A `Reference` is one, and so is `OfModel`.
    """

    @property
    def model(self) -> str:
        """The model, ``name:version``."""

    @property
    def version(self) -> str:
        """The version of its reference."""


@dataclass(frozen=True, slots=True)
class OfModel:
    """A model whose reference has no say."""

    model: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Suspension:
    """A plug-in that is left out for a model.

    Attributes
    ----------
    kind, name
        ``monitor``, ``scorer``, ``arm``, ``form`` or ``exporter``, and which.
    model, reference
        Whose inferences it failed on, and the version of the reference in force; empty without one.
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


def own_settings(tables: Iterable[tuple[str, str, Any]], plugin: str) -> dict[str, Any]:
    """Return the settings of one plug-in by name, as they are written.

    Examples
    --------
    >>> own_settings((("mine", "share", 0.1), ("other", "share", 0.2)), "mine")
    {'share': 0.1}
    """
    return {name: value for of, name, value in tables if of == plugin}


def by_name(kind: str, points: Iterable[EntryPoint]) -> dict[tuple[str, str], EntryPoint]:
    """Return the plug-ins of a kind by kind and name; of several with one name ours, else the first by its value."""
    found: dict[tuple[str, str], EntryPoint] = {}
    for point in sorted(points, key=lambda one: (one.name, not _is_ours(one), one.value)):
        if (kind, point.name) in found:
            text = "%s %s of %s is left out: there is one of that name; give it another"
            _logger.error(text, kind, point.name, point.value)
            continue
        found[kind, point.name] = point
    return found


def _is_ours(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == "davy"


class FailingAlone:
    """The plug-ins of some kinds in this process, each called such that a failure stays its own.

    Parameters
    ----------
    runtime
        Settings, store, meter, clock.
    points
        What is installed, by kind and name.
    kinds
        The kinds this answers for; suspensions of others are left to their room.

    Notes
    -----
    Several threads may call it: what it knows is replaced, never changed in place.
    """

    def __init__(
        self, runtime: Runtime, points: Mapping[tuple[str, str], EntryPoint], kinds: Iterable[str]
    ) -> None:
        self._runtime = runtime
        self._points = points
        self._kinds = frozenset(kinds)
        self._failures: dict[tuple[str, str, str], list[int]] = {}
        self._looked: int | None = None
        self._suspended: dict[str, Suspension] = {}

    def names(self, kind: str) -> list[str]:
        """Return the names of the installed plug-ins of a kind, sorted."""
        return sorted(name for of, name in self._points if of == kind)

    def load(self, kind: str, name: str) -> Any:
        """Return what an entry point names; raises whatever its import raises, PluginFailed where there is none."""
        point = self._points.get((kind, name))
        if point is None:
            raise PluginFailed(kind, name, "is not installed here: install the package that has it")
        return point.load()

    def attempt(
        self, kind: str, subject: Subject, name: str, work: Callable[[], T], tries: int = TRIES
    ) -> T | None:
        """Return what `work` gives; None where it raised, which is counted, and where the plug-in is suspended."""
        if self.is_suspended(kind, subject, name):
            return None
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - whatever a plug-in raises is its own affair, and counted
            self._failed(kind, name, subject, error, tries)
            return None

    def is_suspended(self, kind: str, subject: Subject, name: str) -> bool:
        """Return whether a plug-in is left out for a model now; a suspension that no longer holds is forgotten."""
        self._look()
        key = _key(kind, name, subject.model)
        found = self._suspended.get(key)
        if found is not None and not self._holds(found, subject):
            self._forget(key)
            return False
        return found is not None

    def suspended(self, subject: Subject) -> list[Suspension]:
        """Return what is left out for a model now, of the kinds this answers for."""
        self._look()
        return [one for one in self._of(subject.model).values() if self._holds(one, subject)]

    def take_back(self, subject: Subject) -> None:
        """Forget suspensions of a model by another reference or version: these are tried anew."""
        self._look()
        for key, one in self._of(subject.model).items():
            if not self._holds(one, subject):
                self._forget(key)

    def forget(self, model: str) -> None:
        """Keep nothing of `model` in memory."""
        self._failures = {key: at for key, at in self._failures.items() if key[2] != model}

    def _of(self, model: str) -> dict[str, Suspension]:
        return {
            key: one
            for key, one in sorted(self._suspended.items())
            if one.model == model and one.kind in self._kinds
        }

    def _holds(self, one: Suspension, subject: Subject) -> bool:
        version = _version(self._points.get((one.kind, one.name)))
        return one.version == version and one.reference == subject.version

    def _forget(self, key: str) -> None:
        self._runtime.store.apply(Batch().delete(SUSPENDED, key))
        self._suspended = {name: one for name, one in self._suspended.items() if name != key}

    def _look(self) -> None:
        now = self._runtime.clock()
        if self._looked is None or not 0 <= now - self._looked < _LOOK_EVERY_NS:
            stored = self._runtime.store.items(SUSPENDED)
            self._suspended = {key: Suspension(**load_any(data)) for key, data in stored}
            self._looked = now

    def _failed(self, kind: str, name: str, subject: Subject, error: Exception, tries: int) -> None:
        model, now = subject.model, self._runtime.clock()
        self._runtime.meter.add(metrics.PLUGIN_FAILURES, kind=kind, plugin=name)
        before = self._failures.get((kind, name, model), [])
        failures = [*(at for at in before if abs(now - at) < _WITHIN_NS), now]
        self._failures[kind, name, model] = failures
        said = f"{type(error).__name__}: {error}"
        if len(failures) < tries:
            text = "%s %s failed on inferences of %s and is left out of these: %s"
            _logger.warning(text, kind, name, model, said)
            return
        version = _version(self._points.get((kind, name)))
        found = Suspension(kind, name, model, subject.version, now, version, said[:500])
        key = _key(kind, name, model)
        self._runtime.store.apply(Batch().put(SUSPENDED, key, dump_any(asdict(found))))
        self._suspended = {**self._suspended, key: found}
        self._failures.pop((kind, name, model), None)
        _logger.error("%s %s is suspended for %s: %s", kind, name, model, said)


def _key(kind: str, name: str, model: str) -> str:
    return f"{kind}/{name}/{model}"


def _version(point: EntryPoint | None) -> str:
    return point.dist.version if point is not None and point.dist is not None else ""
