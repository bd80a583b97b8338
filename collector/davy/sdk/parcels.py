"""From what was captured to messages: inferences of one layout share an envelope, feedback travels alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from davy.codec import Layout, pack
from davy.event import FEEDBACK, INFERENCES
from davy.log import Message
from davy.sdk.claims import Claim
from davy.sdk.lane import Item, Lane

ENVELOPE_BYTES: Final = 900_000
"""Where an envelope ends before it has all its rows: brokers usually take records up to 1 MB."""


@dataclass(slots=True, eq=False)
class Parcel:
    """One message on its way, the lane that accounts for it and the payloads that must be stored before it.

    `loads` are the chunks and snapshots of an envelope, or the bytes of one feedback; `claims` are the claims of each
    load by its place, and `payloads` what becomes of them; see `davy.sdk.claims`.
    """

    lane: Lane
    topic: str
    model: str
    loads: list[Any]
    count: int
    size: int
    claims: dict[int, list[Claim]] = field(default_factory=dict)
    payloads: dict[str, Message] = field(default_factory=dict)

    def message(self, source: str, report: dict[str, int]) -> Message:
        """Make the message; an envelope carries the client report."""
        if self.topic == INFERENCES:
            return Message(self.topic, self.model, pack(self.loads, source=source, report=report))
        (value,) = self.loads
        return Message(self.topic, self.model, value)

    def settle(self, reason: str = "") -> None:
        """Account for it as sent or, with a reason, as dropped."""
        self.lane.settle(self.model, self.count, self.size, reason)


def envelopes(lane: Lane, items: Iterable[Item], rows: int) -> list[Parcel]:
    """Group chunks by layout, in order, into parcels of at most `rows` inferences."""
    parcels: list[Parcel] = []
    open_parcels: dict[Layout, tuple[Parcel, int]] = {}
    for load, model, count, size, _, claims in items:
        kind = load.recipe or load  # what all snapshots of a recipe share
        parcel, width = open_parcels.get(kind.layout, (None, 0))
        if parcel is None or parcel.count + count > rows or width + kind.size > ENVELOPE_BYTES:
            parcel, width = Parcel(lane, INFERENCES, model, [], 0, 0), 0
            parcels.append(parcel)
        open_parcels[kind.layout] = parcel, width + kind.size
        if claims:
            parcel.claims[len(parcel.loads)] = list(claims)
        parcel.loads.append(load)
        parcel.count += count
        parcel.size += size
    return parcels


def feedback_parcels(lane: Lane, items: Iterable[Item]) -> list[Parcel]:
    """Make a parcel of each feedback."""
    return [Parcel(lane, FEEDBACK, model, [value], count, size) for value, model, count, size, *_ in items]
