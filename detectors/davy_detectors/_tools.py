"""What detection shares in one process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from davy.runtime import Runtime
    from davy_detectors._monitors import Monitors
    from davy_detectors._pursuits import Pursuits
    from davy_detectors._references import References

SECOND: Final = 1_000_000_000
"""Nanoseconds."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What both halves of detection need; outlives a restore."""

    runtime: Runtime
    references: References
    pursuits: Pursuits
    monitors: Monitors
