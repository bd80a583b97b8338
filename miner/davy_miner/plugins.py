"""The miner's plug-ins: forms and exporters, each called such that a failure stays its own (`davy.plugins`)."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Final

from davy.plugins import FailingAlone, by_name
from davy.runtime import Runtime

KINDS: Final = ("exporter", "form")
"""What the miner calls plug-ins."""


class Plugins(FailingAlone):
    """The forms and exporters that are installed, by the entry point groups ``davy.forms`` and ``davy.exporters``.

    Parameters
    ----------
    runtime
        Store, meter, clock.
    """

    def __init__(self, runtime: Runtime) -> None:
        points = {
            key: point
            for kind in KINDS
            for key, point in by_name(kind, entry_points(group=f"davy.{kind}s")).items()
        }
        super().__init__(runtime, points, KINDS)
