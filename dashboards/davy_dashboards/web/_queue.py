"""The queue from candidate to dataset, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

from davy.codec import load, load_any
from davy.store import Store
from davy_miner.candidates import COLLECTION as CANDIDATES
from davy_miner.candidates import Candidate, State
from davy_miner.labels import COLLECTION as LABELS
from davy_miner.labels import Revisions, answer_of, verdict

_STATES: Final[tuple[str, ...]] = get_args(State)


@dataclass(frozen=True, slots=True)
class Queue:
    """Candidates by state in order of work, labels by verdict, dataset versions by model."""

    candidates: Mapping[str, int]
    labels: Mapping[str, int]
    datasets: Mapping[str, int]


def read_queue(store: Store) -> Queue:
    """Count what the miner keeps."""
    states = Counter(str(load_any(data)["state"]) for _, data in store.items(CANDIDATES))
    verdicts = Counter(_verdict(store, key, data) for key, data in store.items(LABELS))
    datasets = Counter(str(load_any(data)["model"]) for _, data in store.items("datasets"))
    return Queue(
        candidates={state: states[state] for state in _STATES if states[state]},
        labels=dict(verdicts.most_common()),
        datasets=dict(sorted(datasets.items())),
    )


def _verdict(store: Store, key: str, data: bytes) -> str:
    label, candidate = Revisions.from_bytes(data).current, store.get(CANDIDATES, key)
    if label is None:
        return "unknown"
    return verdict(label, answer_of(load(Candidate, candidate)) if candidate else None)
