"""What is known of a model altogether, over all partitions and since its first inference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from davy.fields.losses import INCOMPLETE, REMEDIES, loss, read_loss
from davy_detectors.stream.partial_aggregate import PartialAggregate

_LOSSES: Final = 256
_REASONS: Final = 32
"""So many fields and reasons are counted apart; a sender may name any number, of any length."""
_LENGTH: Final = 200
_OTHER: Final = "other"


@dataclass(slots=True)
class Totals:
    """Sums of partial aggregates, of incidents opened, and of what came late.

    `left_out` counts values that could not travel, by field and reason as the client report calls them; their
    inferences arrived, so they are no part of `dropped`; nor are calls that arrived `incomplete` or not understood.
    """

    events: int = 0
    repeated: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    incomplete: Counter[str] = field(default_factory=Counter)
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
        for name in ("dropped", "left_out", "incomplete", "flags", "incidents"):
            found[name] = Counter(found.get(name, {}))
        return cls(**found)

    def dump(self) -> dict[str, Any]:
        """Return the state."""
        return {name: getattr(self, name) for name in self.__slots__}

    def bring_back(self, now: int) -> None:
        """Forget what was heard after `now`."""
        self.last_at, self.heard_at = min(self.last_at, now), min(self.heard_at, now)

    def add(self, partial: PartialAggregate) -> None:
        """Add what one transaction counted."""
        self.events += partial.events
        self.repeated += partial.repeated
        for reason, count in partial.dropped.items():
            lost = read_loss(reason)
            if reason in INCOMPLETE:
                self.incomplete[reason] += count
            elif lost is None:
                self.dropped[_bounded(reason, self.dropped, _REASONS, _OTHER)] += count
            else:
                rest = loss("*", lost[1] if lost[1] in REMEDIES else _OTHER)
                self.left_out[_bounded(reason, self.left_out, _LOSSES, rest)] += count
        self.flags.update(partial.flags)
        if partial.events:
            self.first_seen = min(self.first_seen or partial.first_seen, partial.first_seen)
        self.last_at = max(self.last_at, partial.last_at)
        self.heard_at = max(self.heard_at, partial.heard_at)


def _bounded(name: str, known: Counter[str], most: int, rest: str) -> str:
    """Return the name something is counted by: its own as long as there are few and it is short, else `rest`."""
    return name if name in known or (len(known) < most and len(name) <= _LENGTH) else rest
