"""The installed monitors and scorers, each with its share of the budget; one that raises is left out alone.

What a plug-in raises concerns its model alone (`davy.plugins`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, Protocol

from davy.plugins import SUSPENDED, FailingAlone, Subject, Suspension, by_name, end_suspensions, suspensions
from davy_detectors.budget import shares, with_share

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy.runtime import Runtime
    from davy_detectors.base import Attempt, Monitor
    from davy_detectors.reference import Reference

__all__ = ["KINDS", "SUSPENDED", "Plugins", "Suspension", "end_suspensions", "suspensions"]

KINDS: Final = ("arm", "monitor", "scorer")
"""What the detectors call plug-ins."""


class MonitorFactory(Protocol):
    """Makes a monitor: a monitor class, or anything called like one."""

    def __call__(self, reference: Reference, settings: DetectSettings) -> Monitor:
        """Make a fresh monitor."""


class Plugins(FailingAlone):
    """The detectors' plug-ins of this process, each called such that a failure stays its own.

    Parameters
    ----------
    runtime
        Settings, store, meter, clock.
    """

    def __init__(self, runtime: Runtime) -> None:
        points = {
            key: point
            for kind in KINDS
            for key, point in by_name(kind, entry_points(group=f"davy.{kind}s")).items()
        }
        super().__init__(runtime, points, KINDS)
        self._counting: dict[str, tuple[str, Mapping[str, Monitor]]] = {}

    def fresh(self, reference: Reference) -> dict[str, Monitor]:
        """Return monitors that have tested nothing yet, by name, without those that are suspended."""
        self.take_back(reference)
        settings = self._runtime.settings.detect
        found = {}
        for name, share in shares(self.names("monitor")).items():
            make = partial(self._make, name, reference, with_share(settings, share))
            monitor = self.attempt("monitor", reference, name, make, tries=1)
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

    def calls(self, kind: str, subject: Subject) -> Attempt:
        """Return what calls the plug-ins of a kind on inferences of a model."""
        attempt: Attempt = partial(self.attempt, kind, subject)
        return attempt

    def forget(self, model: str) -> None:
        """Keep nothing of `model` in memory."""
        self._counting.pop(model, None)
        super().forget(model)

    def _make(self, name: str, reference: Reference, settings: DetectSettings) -> Monitor:
        make: MonitorFactory = self.load("monitor", name)
        return make(reference, settings)
