"""What the detectors know of one inference: its scores and ranks, its flags, the incidents it is a sample of."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from davy.errors import DavyError
from davy_detectors.batch import Batch
from davy_detectors.incidents.incident import INCIDENTS, Incident
from davy_detectors.reference.active import REFERENCES
from davy_detectors.reference.reference import Reference

if TYPE_CHECKING:
    from davy.event import Envelope
    from davy.store import Store

T = TypeVar("T")
_logger: Final = logging.getLogger("davy.detectors")


@dataclass(frozen=True, slots=True)
class Score:
    """What a scorer says of an inference; `rank` is the share of the reference that scores as high, in (0, 1]."""

    score: float
    rank: float


def scores_of(store: Store, envelope: Envelope, row: int) -> Mapping[str, Score]:
    """Return the scores of an inference by scorer, by the reference in force; none without one.

    A scorer that fails is left out and said in the log; NaN is a scorer's word for nothing to say.
    """
    data = REFERENCES.get(store, envelope.model)
    if data is None:
        return {}
    try:
        reference = Reference.from_bytes(data)
    except DavyError as error:
        _logger.warning("the reference of %s cannot be read: %s", envelope.model, error)
        return {}
    scored = reference.scored(Batch.of(envelope).take([row]), _attempt)
    ranks = scored.ranks
    return {name: Score(float(found[0]), float(ranks[name][0])) for name, found in scored.scores.items()}


def incidents_of(store: Store, id: bytes) -> list[Incident]:
    """Return the incidents that have an inference among their samples, oldest first."""
    found = [one for one in INCIDENTS.values(store) if id in one.samples]
    return sorted(found, key=lambda one: one.raised_at)


def _attempt(name: str, work: Callable[[], T], /) -> T | None:
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - a plug-in's, which may raise whatever it likes
        _logger.warning("scorer %s failed on this inference: %s: %s", name, type(error).__name__, error)
        return None
