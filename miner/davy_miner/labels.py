"""Answers: their revisions, whether they call the model wrong, and the error rate they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from davy.codec import decode, dump, dump_any, load, load_any
from davy.event import Feedback, Label
from davy.outputs import Answer, Classification, MultiLabel, read
from davy.store import Collection, Store, declare, events
from davy_miner.candidates import CANDIDATES, Candidate, flagged_at
from davy_miner.decision import Decision, Verdict, called, decide, in_order
from davy_miner.select import Estimate, error_rate


@dataclass(frozen=True, slots=True)
class Revisions:
    """Every answer to one candidate, oldest first; a value that only grows."""

    labels: Sequence[Label] = ()

    def decided(self, rule: str, own: Answer | None) -> Decision | None:
        """Decide what the answers come to (`decide`); None without any."""
        return decide(self.labels, rule, own)

    def with_label(self, label: Label) -> Revisions:
        """Take in an answer: in any order, any number of times, the result is the same."""
        return Revisions(in_order({dump(one): one for one in (*self.labels, label)}.values()))

    def to_bytes(self) -> bytes:
        """Return what the store keeps."""
        return dump_any({"v": 1, "revisions": [load_any(dump(label)) for label in self.labels]})

    @classmethod
    def from_bytes(cls, data: bytes) -> Revisions:
        """Read what the store keeps."""
        return cls([load(Label, dump_any(one)) for one in load_any(data)["revisions"]])


REVISIONS: Final[Collection[Revisions]] = declare(
    Collection("labels", Revisions, "mine", Revisions.to_bytes, Revisions.from_bytes)
)
"""What people answered, by candidate."""

FEEDBACK_NOTES: Final[Collection[Feedback]] = events("feedback", Feedback, writer="mine")
"""What became known of a candidate in the app, the latest, by candidate."""


def revisions_of(store: Store, key: str) -> Revisions:
    """Return the answers to a candidate, none of them when nobody answered."""
    return REVISIONS.get(store, key) or Revisions()


def answer_of(candidate: Candidate) -> Answer | None:
    """Return the model's own answer to a candidate, None when its payload has gone."""
    return read(decode(candidate.inference).inference(0).outputs) if candidate.inference else None


def verdict(decision: Decision | None, own: Answer | None) -> Verdict:
    """Say whether the answers to a candidate call the model wrong: "failure" or "correct".

    "disputed" where people differ, "unknown" where there is no answer of the model to compare with.

    Examples
    --------
    >>> said = decide([Label("c", bytes(16), "m:1", "3", 1, 0)])
    >>> verdict(said, read({"label": 3})), verdict(said, read({"label": 5})), verdict(said, None)
    ('correct', 'failure', 'unknown')
    """
    if decision is None:
        return "unknown"
    if decision.label is not None:
        return called(decision.label, own)
    return (
        "disputed"
        if decision.state == "disputed"
        else "deleted"
        if decision.state == "deleted"
        else "skipped"
    )


def quality(store: Store, model: str, rule: str = "majority", *, since: int = 0) -> Estimate | None:
    """Estimate a model's error rate from its random arm; None before the first answer.

    Only what was flagged `since` then, nanoseconds since the epoch, counts: older near-duplicates are gone. A
    near-duplicate of an answered candidate is judged by that answer against the model's own answer to it. What is
    disputed counts as neither.
    """
    failed, probability, groups = [], [], []
    judge = Judge(store, rule)
    for candidate in CANDIDATES.values(store):
        if candidate.model != model or candidate.arm != "random" or flagged_at(candidate) < since:
            continue
        found = judge.verdict(candidate)
        if found in {"failure", "correct"}:
            failed.append(found == "failure")
            probability.append(candidate.probability)
            groups.append(candidate.duplicate_of or candidate.id)
    return error_rate(np.array(failed, dtype=bool), np.array(probability, dtype=np.float64), groups)


class Judge:
    """Says of candidates what the answers to them, or to those they resemble, come to.

    Parameters
    ----------
    store
        Where candidates and answers are.
    rule
        Whose answer counts where people differ.
    """

    def __init__(self, store: Store, rule: str) -> None:
        self._store = store
        self._rule = rule

    def decided(self, candidate: Candidate) -> Decision | None:
        """Decide what the answers to a candidate come to; None without any."""
        return self._decided(candidate.id, answer_of(candidate))

    def verdict(self, candidate: Candidate) -> Verdict:
        """Say whether the model was wrong on a candidate; a near-duplicate is judged by its representative's answer."""
        own = answer_of(candidate)
        if candidate.duplicate_of is None:
            return verdict(self._decided(candidate.id, own), own)
        found = CANDIDATES.get(self._store, candidate.duplicate_of)
        asked = answer_of(found) if found is not None else None
        decision = self._decided(candidate.duplicate_of, asked)
        if decision is None or decision.label is None or (asked and own and own.agrees(asked.value)):
            return verdict(decision, own)
        # The person judged another answer than this one: only what they called right can be held against it, and only
        # where an answer is the same or another, not a little off.
        if decision.label.answer is None or not isinstance(own, (Classification, MultiLabel)):
            return "unknown"
        return verdict(replace(decision, label=replace(decision.label, verdict="")), own)

    def _decided(self, key: str, own: Answer | None) -> Decision | None:
        return revisions_of(self._store, key).decided(self._rule, own)
