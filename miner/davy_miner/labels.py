"""Answers: their revisions, whether they call the model wrong, and the error rate they give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from davy.codec import decode, dump, dump_any, load, load_any
from davy.event import Inference, Label
from davy.store import Store
from davy_miner.candidates import COLLECTION as CANDIDATES
from davy_miner.candidates import Candidate, State
from davy_miner.select import Estimate, error_rate

COLLECTION: Final = "labels"
FEEDBACK_NOTES: Final = "feedback"
Verdict = Literal["failure", "correct", "unknown", "skipped", "deleted"]
_WRONG: Final = frozenset({"failure", "wrong", "model-wrong"})
_RIGHT: Final = frozenset({"correct", "right", "model-correct"})


@dataclass(frozen=True, slots=True)
class Revisions:
    """Every answer to one candidate, oldest first; a value that only grows."""

    labels: Sequence[Label] = ()

    @property
    def current(self) -> Label | None:
        """The answer that counts: the latest revision, of two with one number the later."""
        return self.labels[-1] if self.labels else None

    def with_label(self, label: Label) -> Revisions:
        """Take in an answer: in any order, any number of times, the result is the same."""
        found = {dump(one): one for one in (*self.labels, label)}
        order = sorted(found, key=lambda data: (found[data].revision, found[data].at, data))
        return Revisions([found[data] for data in order])

    def to_bytes(self) -> bytes:
        """Give what the store keeps."""
        return dump_any({"v": 1, "revisions": [load_any(dump(label)) for label in self.labels]})

    @classmethod
    def from_bytes(cls, data: bytes | None) -> Revisions:
        """Read what the store keeps."""
        found = load_any(data)["revisions"] if data is not None else []
        return cls([load(Label, dump_any(one)) for one in found])


def state_after(label: Label) -> State:
    """Name the state a candidate is in after an answer.

    Examples
    --------
    >>> state_after(Label("c", bytes(16), "m:1", None, 1, 0))
    'skipped'
    """
    if label.state == "deleted":
        return "deleted"
    return "skipped" if label.state == "skipped" or label.answer is None else "labelled"


def own_answer(inference: Inference) -> Any:
    """Give what the model itself answered: its label, else its most probable class, else its value; None without.

    Examples
    --------
    >>> own_answer(Inference(bytes(16), 0, "m:1", {}, {"probs": np.array([0.1, 0.9]), "classes": ["a", "b"]}))
    'b'
    """
    outputs = inference.outputs
    if outputs.get("label") is not None:
        return _class_name(outputs, outputs["label"])
    for name in ("probs", "logits"):
        found = outputs.get(name)
        if found is not None and np.ndim(found) == 1 and np.size(found):
            return _class_name(outputs, int(np.argmax(found)))
    value = outputs.get("value")
    return value if isinstance(value, (int, float)) else None


def answer_of(candidate: Candidate) -> Any:
    """Give the model's own answer to a candidate, None when its payload has gone or holds none."""
    return own_answer(decode(candidate.inference).inference(0)) if candidate.inference else None


def verdict(label: Label, own: Any) -> Verdict:
    """Say whether an answer calls the model wrong.

    An answer may be a value, or a mapping that says so itself (``verdict``) or carries the value (``label``).

    Parameters
    ----------
    label
        The answer.
    own
        The model's own answer; with None the verdict is "unknown" unless the answer states one.

    Examples
    --------
    >>> verdict(Label("c", bytes(16), "m:1", "3", 1, 0), 3), verdict(Label("c", bytes(16), "m:1", "5", 1, 0), 3)
    ('correct', 'failure')
    """
    state = state_after(label)
    if state == "deleted" or state == "skipped":
        return state
    answer = label.answer
    if isinstance(answer, Mapping):
        stated = answer.get("verdict")
        if stated in _WRONG or stated in _RIGHT:
            return "failure" if stated in _WRONG else "correct"
        answer = answer.get("label")
    if own is None or answer is None:
        return "unknown"
    return "correct" if _same(answer, own) else "failure"


def quality(store: Store, model: str) -> Estimate | None:
    """Estimate a model's error rate from its random arm; None before the first answer.

    A near-duplicate of an answered candidate is judged by that answer against the model's own answer to it.
    """
    failed, probability, groups = [], [], []
    for _, data in store.items(CANDIDATES):
        candidate = load(Candidate, data)
        if candidate.model != model or candidate.arm != "random":
            continue
        representative = candidate.duplicate_of or candidate.id
        label = Revisions.from_bytes(store.get(COLLECTION, representative)).current
        found = verdict(label, answer_of(candidate)) if label else "unknown"
        if found in {"failure", "correct"}:
            failed.append(found == "failure")
            probability.append(candidate.probability)
            groups.append(representative)
    return error_rate(np.array(failed, dtype=bool), np.array(probability, dtype=np.float64), groups)


def _class_name(outputs: Mapping[str, Any], label: Any) -> Any:
    found = outputs.get("classes")
    names = [] if found is None else [str(name) for name in np.atleast_1d(found)]
    if isinstance(label, int) and str(label) not in names and 0 <= label < len(names):
        return names[label]
    return label


def _same(one: Any, other: Any) -> bool:
    try:
        return math.isclose(float(one), float(other), rel_tol=1e-9)
    except (TypeError, ValueError):
        return str(one).strip() == str(other).strip()
