"""What a person orders of candidates: to send them again, or to ask nobody about them.

An order waits in the store until the miner, which alone changes candidates, carries it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from davy.codec import dump, load
from davy.errors import LabelError
from davy.existing import unknown
from davy.runtime import Runtime
from davy.store import Batch, Store
from davy_miner.candidates import COLLECTION as CANDIDATES
from davy_miner.candidates import Candidate, State
from davy_miner.pool import Pool

COLLECTION: Final = "orders"
Action = Literal["retry", "reject"]
FROM: Final[dict[Action, tuple[State, ...]]] = {
    "retry": ("unlabellable",),
    "reject": ("waiting", "selected", "unlabellable"),
}
"""The states out of which each order leads."""
_INSTEAD: Final[dict[Action, str]] = {
    "retry": "only what is unlabellable can be sent again",
    "reject": "only what waits, is selected or unlabellable can be rejected; delete a task in the labelling tool",
}


@dataclass(frozen=True, slots=True)
class Order:
    """One candidate and what to do with it."""

    candidate: str
    action: Action
    at: int


def order(runtime: Runtime, action: Action, candidates: Sequence[str]) -> list[str]:
    """Ask the miner to do something with candidates; return their ids.

    Raises
    ------
    SettingError
        One of them does not exist; nothing was ordered.
    LabelError
        One of them is in a state the order does not lead out of; nothing was ordered.
    """
    batch, now = Batch(), runtime.clock()
    for key in candidates:
        data = runtime.store.get(CANDIDATES, key)
        if data is None:
            known = (name for name, _ in runtime.store.items(CANDIDATES))
            raise unknown("candidate", key, known, what="candidate", remedy="`davy candidates` lists them")
        found = load(Candidate, data)
        if found.state not in FROM[action]:
            raise LabelError("candidate", key, f"is {found.state}: {_INSTEAD[action]}")
        batch.put(COLLECTION, key, dump(Order(key, action, now)))
    runtime.store.apply(batch)
    return list(candidates)


def open_orders(store: Store, candidates: Sequence[str]) -> list[str]:
    """Return the candidates whose orders were not carried out yet."""
    return sorted(store.get_many(COLLECTION, list(candidates)))


class Orders:
    """Carries orders out, in the transaction at hand."""

    def __init__(self, store: Store, pool: Pool) -> None:
        self._store = store
        self._pool = pool

    def carry_out(self, batch: Batch) -> None:
        """Change the candidates of every order; call it while nothing is being pushed.

        A candidate that went on since the order was given stays as it is.
        """
        if not self._store.count(COLLECTION):
            return
        for key, data in self._store.items(COLLECTION):
            given, candidate = load(Order, data), self._pool.get(key)
            batch.delete(COLLECTION, key)
            if candidate is None or candidate.state not in FROM[given.action]:
                continue
            if given.action == "reject":
                owed = candidate.owed or candidate.state == "selected"
                self._pool.put(replace(candidate, state="rejected", inference=b"", owed=owed), batch)
            else:
                # Its budget was given back when it was set aside: this label is spent on top.
                self._pool.put(replace(candidate, state="selected", reason="", owed=False), batch)
