"""What a person orders of candidates: to send them again, or to ask nobody about them.

An order waits in the store until the miner, which alone changes candidates, carries it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from davy.errors import LabelError
from davy.existing import unknown
from davy.runtime import Runtime
from davy.store import Batch, Collection, Store, events
from davy_miner.candidates import CANDIDATES, State
from davy_miner.pool import Pool

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


ORDERS: Final[Collection[Order]] = events("orders", Order, writer="davy candidates; mine takes them out")
"""What is to be done, by candidate."""


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
        found = CANDIDATES.get(runtime.store, key)
        if found is None:
            known = CANDIDATES.keys(runtime.store)
            raise unknown("candidate", key, known, what="candidate", remedy="`davy candidates` lists them")
        if found.state not in FROM[action]:
            raise LabelError("candidate", key, f"is {found.state}: {_INSTEAD[action]}")
        ORDERS.put(batch, key, Order(key, action, now))
    runtime.store.apply(batch)
    return list(candidates)


def open_orders(store: Store, candidates: Sequence[str]) -> list[str]:
    """Return the candidates whose orders were not carried out yet."""
    return sorted(ORDERS.get_many(store, list(candidates)))


class Orders:
    """Carries orders out, in the transaction at hand."""

    def __init__(self, store: Store, pool: Pool) -> None:
        self._store = store
        self._pool = pool

    def carry_out(self, batch: Batch) -> None:
        """Change the candidates of every order; call it while nothing is being pushed.

        A candidate that went on since the order was given stays as it is.
        """
        if not ORDERS.count(self._store):
            return
        for key, given in ORDERS.items(self._store):
            candidate = self._pool.get(key)
            ORDERS.delete(batch, key)
            if candidate is None or candidate.state not in FROM[given.action]:
                continue
            if given.action == "reject":
                owed = candidate.owed or candidate.state == "selected"
                self._pool.put(replace(candidate, state="rejected", inference=b"", owed=owed), batch)
            else:
                # Its budget was given back when it was set aside: this label is spent on top.
                self._pool.put(replace(candidate, state="selected", reason="", owed=False), batch)
