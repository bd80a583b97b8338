"""What one transaction found about one model: the message of those who count to the one who tests.

A partial aggregate is written in the transaction that also moves the position on, so it exists exactly once, and it is
deleted in the transaction that takes it in. Everything in it adds up, so nobody needs to know which process counted
what.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from davy.codec import dump_any, load_any

MODELS: Final = "models"
"""Collection with the place of the newest partial aggregate, by every model that was ever seen."""


def collection(model: str) -> str:
    """Return the collection of a model's partial aggregates."""
    return f"partials/{model}"


def place_of(partition: int, log: str, offset: int) -> str:
    """Name the place of a partial aggregate whose last record lies there, which no other partial aggregate has."""
    return f"{partition}/{log[:8]}/{offset:020}"


@dataclass(slots=True)
class PartialAggregate:
    """What was counted.

    Attributes
    ----------
    events, repeated, dropped, flags
        Inferences, those that arrived a second time, those the sender dropped and those flagged, by reason.
    first_seen, last_at, heard_at
        Oldest and newest event time, newest append time; 0 when there is none.
    reference
        Version of the reference the aggregates were made with, empty without one.
    windows, sizes, tested, latest
        Moments at which the windows start that inferences fell into, how many, how many of them were aggregated, and
        the newest moment in each; shape ``(k,)``.
    aggregates
        By monitor, the bytes of one `Aggregate` a window.
    inferences, labels
        What is kept of the inferences until their labels come, and labels: see `davy_detectors.labelled.rows`. Empty
        where nothing watches labelled inferences.
    """

    events: int = 0
    repeated: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    first_seen: int = 0
    last_at: int = 0
    heard_at: int = 0
    reference: str = ""
    windows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    tested: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    latest: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    aggregates: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    inferences: bytes = b""
    labels: bytes = b""

    def to_bytes(self) -> bytes:
        """Return the partial aggregate as bytes."""
        return dump_any({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` gave."""
        state: dict[str, Any] = load_any(data)
        return cls(**{**state, "dropped": Counter(state["dropped"]), "flags": Counter(state["flags"])})
