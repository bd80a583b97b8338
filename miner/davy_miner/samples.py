"""What the miner keeps of one inference: its candidates, with the task, the answers and the feedback of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from davy_miner.candidates import CANDIDATES, Candidate, candidate_id
from davy_miner.labels import FEEDBACK_NOTES, answer_of, revisions_of, verdict
from davy_miner.labelstudio.records import TASKS, Sent

if TYPE_CHECKING:
    from davy.event import Feedback
    from davy.runtime import Runtime
    from davy_miner.decision import Decision, Verdict


@dataclass(frozen=True, slots=True)
class Mined:
    """A candidate and what became of it.

    `sent` says where its task is; `decision` is what the answers come to, None before there are any, and `verdict`
    whether they call the model wrong; `feedback` is what the app told last.
    """

    candidate: Candidate
    sent: Sent | None
    decision: Decision | None
    verdict: Verdict
    feedback: Feedback | None


def mined(runtime: Runtime, id: bytes, model: str = "") -> list[Mined]:
    """Return the candidates that an inference became, one a model; only that of `model` if it is given."""
    store = runtime.store
    if model:
        one = CANDIDATES.get(store, candidate_id(model, id))
        found = [] if one is None else [one]
    else:
        found = [one for one in CANDIDATES.values(store) if one.inference_id == id]
    return [_mined(runtime, one) for one in found]


def _mined(runtime: Runtime, candidate: Candidate) -> Mined:
    own = answer_of(candidate)
    decision = revisions_of(runtime.store, candidate.id).decided(runtime.settings.mine.last_word, own)
    return Mined(
        candidate=candidate,
        sent=TASKS.get(runtime.store, candidate.id),
        decision=decision,
        verdict=verdict(decision, own),
        feedback=FEEDBACK_NOTES.get(runtime.store, candidate.id),
    )
