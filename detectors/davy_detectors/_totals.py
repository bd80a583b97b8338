"""What is known of a model altogether, over all partitions and since its first inference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from davy_detectors._tally import Tally


@dataclass(slots=True)
class Totals:
    """Sums of tallies, of incidents opened, and of what came late."""

    events: int = 0
    repeated: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    incidents: Counter[str] = field(default_factory=Counter)
    first_seen: int = 0
    last_at: int = 0
    heard_at: int = 0
    late: int = 0
    restated: int = 0

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Self:
        """Go on from what `dump` gave; what is missing begins at nothing."""
        found: dict[str, Any] = {name: state[name] for name in cls.__slots__ if name in state}
        for name in ("dropped", "flags", "incidents"):
            found[name] = Counter(found.get(name, {}))
        return cls(**found)

    def dump(self) -> dict[str, Any]:
        """Give the state."""
        return {name: getattr(self, name) for name in self.__slots__}

    def add(self, tally: Tally) -> None:
        """Add what one transaction counted."""
        self.events += tally.events
        self.repeated += tally.repeated
        self.dropped.update(tally.dropped)
        self.flags.update(tally.flags)
        if tally.events:
            self.first_seen = min(self.first_seen or tally.first_seen, tally.first_seen)
        self.last_at = max(self.last_at, tally.last_at)
        self.heard_at = max(self.heard_at, tally.heard_at)
