"""The installed monitors, made for a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy_detectors.base import Monitor
    from davy_detectors.reference import Reference

    MakeMonitor = Callable[[Reference, DetectSettings], Monitor]


class Monitors:
    """Makes the monitors of the entry point group ``davy.monitors``.

    Parameters
    ----------
    settings
        What they are made with.
    """

    def __init__(self, settings: DetectSettings) -> None:
        self._settings = settings
        self._makers: dict[str, MakeMonitor] = {
            point.name: point.load() for point in sorted(entry_points(group="davy.monitors"))
        }
        self._counting: dict[str, tuple[str, Mapping[str, Monitor]]] = {}

    def fresh(self, reference: Reference) -> dict[str, Monitor]:
        """Return monitors that have tested nothing yet, by name."""
        return {name: make(reference, self._settings) for name, make in self._makers.items()}

    def forget(self, model: str) -> None:
        """Keep nothing of `model` in memory."""
        self._counting.pop(model, None)

    def counting(self, reference: Reference) -> Mapping[str, Monitor]:
        """Return monitors to count with; all partitions of this process share them, because counting keeps no state."""
        version, monitors = self._counting.get(reference.model, ("", {}))
        if version != reference.version:
            version, monitors = reference.version, self.fresh(reference)
            self._counting[reference.model] = version, monitors
        return monitors
