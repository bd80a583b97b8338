"""A candidate: an inference that may be worth a person's time, from flag to label."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from davy.event import BlobRef, Draw

COLLECTION: Final = "candidates"
State = Literal[
    "waiting",
    "duplicate",
    "selected",
    "pushing",
    "pushed",
    "labelled",
    "disputed",
    "skipped",
    "deleted",
    "unlabellable",
    "rejected",
    "expired",
]
"""waiting → duplicate | selected → pushing → pushed → labelled | disputed | skipped | deleted; waiting → expired when
the pool is full. Without a labelling tool a candidate goes from selected to labelled, disputed or skipped. What cannot
become a task is unlabellable until somebody sends it again (selected); what nobody wants asked is rejected."""


def candidate_id(model: str, inference_id: bytes, question: str = "correct answer") -> str:
    """Name a candidate so that a replay of the log names it the same.

    Examples
    --------
    >>> candidate_id("digits:1", bytes(16)) == candidate_id("digits:1", bytes(16))
    True
    """
    text = b"\x00".join([model.encode(), inference_id, question.encode()])
    return hashlib.blake2b(text, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One inference on its way to a person.

    Attributes
    ----------
    draws
        Every way it came to be chosen by a detector, an incident or the control arm, with the probability of each.
    scores
        Upper-tail rank in the reference by score, in (0, 1]; 0 is most extreme.
    inference
        The whole inference: an envelope of one.
    arm, probability, round
        How a selection round took it ("greedy" or "random"), with which inclusion probability, and which round.
    picture
        What a person looks at, in the blob store.
    duplicates, duplicate_of
        How many near-duplicates it stands for, or which candidate it is a near-duplicate of.
    task
        The task in the labelling tool.
    offered
        The round whose random arm this candidate's control draw took part in. Every control draw takes part once,
        chosen or not: that is what makes its inclusion probability a fixed number.
    logged_at
        When its first flag was appended to the log, nanoseconds since the epoch.
    reason
        Why it is unlabellable.
    owed
        Whether the budget spent on it is still to be given back.
    """

    id: str
    model: str
    inference_id: bytes
    at: int
    state: State
    draws: Sequence[Draw]
    scores: Mapping[str, float]
    inference: bytes
    incident: str | None = None
    arm: str = ""
    probability: float = 0.0
    round: str = ""
    picture: BlobRef | None = None
    duplicates: int = 0
    duplicate_of: str | None = None
    task: int | None = None
    offered: str = ""
    logged_at: int = 0
    reason: str = ""
    owed: bool = False


CONTROL: Final = "control"
"""The arm of draws made by chance alone, from all traffic."""

STATES: Final[tuple[State, ...]] = get_args(State)
"""Every state, in order of work."""

KNOWN: Final[frozenset[State]] = frozenset(
    {"selected", "pushing", "pushed", "labelled", "disputed", "skipped"}
)
"""States of a candidate that a person has seen or is about to see: near-duplicates of it cost no label."""


ASKED: Final[frozenset[State]] = frozenset({"selected", "pushing", "pushed"})
"""States of a candidate that was chosen and has no answer."""


def flagged_at(candidate: Candidate) -> int:
    """Return when a candidate was flagged, nanoseconds since the epoch."""
    return candidate.logged_at or candidate.at


def control_draw(candidate: Candidate) -> Draw | None:
    """Return the draw of the control arm, None when chance alone did not choose this candidate."""
    return next((draw for draw in candidate.draws if draw.kind == CONTROL), None)
