"""The queue from candidate to dataset, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from davy.store import Store
from davy_miner.candidates import CANDIDATES, State
from davy_miner.dataset.build import DATASETS
from davy_miner.labels import REVISIONS, Revisions, answer_of, verdict
from davy_miner.labelstudio.records import Trouble, troubles_in
from davy_miner.problems import Unlabellable, unlabellable_in

_STATES: Final[tuple[str, ...]] = get_args(State)


@dataclass(frozen=True, slots=True)
class Queue:
    """Candidates by state in order of work, labels by verdict, dataset versions by model.

    `unlabellable` says by model what nobody can be asked about and why, `troubles` whose tasks cannot be sent.
    """

    candidates: Mapping[str, int]
    labels: Mapping[str, int]
    datasets: Mapping[str, int]
    unlabellable: Sequence[Unlabellable] = ()
    troubles: Sequence[Trouble] = ()


class QueueReader:
    """Counts what the miner keeps, and works out anew only what has changed since the last time.

    Parameters
    ----------
    store
        Where it is kept.
    rule
        Whose answer counts where people differ.
    """

    def __init__(self, store: Store, rule: str = "majority") -> None:
        self._store = store
        self._rule = rule
        self._states: dict[str, tuple[int, str]] = {}
        self._verdicts: dict[str, tuple[int, str]] = {}

    def read(self) -> Queue:
        """Count."""
        states: dict[str, tuple[int, str]] = {}
        for key, mark, candidate in CANDIDATES.stamped(self._store):
            before = self._states.get(key)
            if before is None or before[0] != mark:
                before = mark, candidate().state
            states[key] = before
        verdicts: dict[str, tuple[int, str]] = {}
        for key, stamp, revisions in REVISIONS.stamped(self._store):
            before, mark = self._verdicts.get(key), hash((stamp, states.get(key)))
            if before is None or before[0] != mark:
                before = mark, _verdict(self._store, key, revisions(), self._rule)
            verdicts[key] = before
        self._states, self._verdicts = states, verdicts
        return _queue(
            self._store,
            Counter(state for _, state in states.values()),
            Counter(verdict for _, verdict in verdicts.values()),
        )


def _queue(store: Store, states: Counter[str], verdicts: Counter[str]) -> Queue:
    datasets = Counter(version.model for version in DATASETS.values(store))
    return Queue(
        candidates={state: states[state] for state in _STATES if states[state]},
        labels=dict(verdicts.most_common()),
        datasets=dict(sorted(datasets.items())),
        unlabellable=unlabellable_in(store) if states["unlabellable"] else [],
        troubles=troubles_in(store),
    )


def _verdict(store: Store, key: str, revisions: Revisions, rule: str) -> str:
    candidate = CANDIDATES.get(store, key)
    own = answer_of(candidate) if candidate else None
    return verdict(revisions.decided(rule, own), own)
