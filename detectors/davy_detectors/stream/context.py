"""What detection shares in one process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from davy.runtime import Runtime
    from davy_detectors.incidents.matcher import SampleMatchers
    from davy_detectors.models.roster import Roster
    from davy_detectors.plugins import Plugins
    from davy_detectors.reference.active import References

SECOND: Final = 1_000_000_000
"""Nanoseconds."""


@dataclass(frozen=True, slots=True)
class DetectContext:
    """What both halves of detection need; outlives a restore."""

    runtime: Runtime
    references: References
    matchers: SampleMatchers
    plugins: Plugins
    roster: Roster

    def forget(self, model: str) -> None:
        """Keep nothing of a model in memory, and show nothing of it."""
        self.references.forget(model)
        self.plugins.forget(model)
        self.runtime.meter.forget_model(model)
