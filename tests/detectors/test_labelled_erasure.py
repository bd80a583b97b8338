"""What is forgotten is gone from the join: its index, its labels, and what nobody has taken in yet."""

from __future__ import annotations

import numpy as np
import pytest
from support.labelled import Joining, inferences, labels, packed
from support.streams import BEGIN, MODEL

from davy.store import Batch
from davy.store.memory import MemoryStore
from davy_detectors.labelled.columns import joined_halves, take
from davy_detectors.labelled.erasure import held, remove
from davy_detectors.stream import partial_aggregate
from davy_detectors.stream.partial_aggregate import PartialAggregate

pytestmark = pytest.mark.fast


def test_what_is_forgotten_is_found_and_removed_from_every_record() -> None:
    rows, store = inferences(1_000, BEGIN), MemoryStore()
    joining, said = Joining(store, 5_000), labels(rows, 500)
    joining.turn([packed(rows)], [packed(said)])
    waiting = PartialAggregate(inferences=packed(rows), labels=packed(said)).to_bytes()
    store.apply(Batch().put(partial_aggregate.collection(MODEL), "0/x/1", waiting))
    which = said["low"][:3]
    mine = take(rows, np.flatnonzero(np.isin(rows["low"], which)))
    ids = frozenset(one.tobytes() for one in joined_halves(mine["high"], mine["low"]))
    found = list(held(store, MODEL, ids))
    assert {collection for collection, _, _ in found} == {
        f"join/{MODEL}/inferences", f"join/{MODEL}/labels", f"partials/{MODEL}",
    }  # fmt: skip
    assert frozenset().union(*(names for _, _, names in found)) == {one.hex() for one in ids}
    sizes = {
        key: len(store.get(collection, key) or b"") for collection, key, _ in found if "join" in collection
    }
    for collection, key, _ in found:
        remove(store, MODEL, collection, key, ids)
    assert not list(held(store, MODEL, ids))
    after = {
        key: len(store.get(collection, key) or b"") for collection, key, _ in found if "join" in collection
    }
    assert after == sizes
    again = Joining(store, 5_000)
    pairs, _ = again.join.pairs(np.array(sorted(joining.aggregates), np.int64))
    assert len(pairs) == 500 - 3
    assert not np.isin(pairs.columns["low"], which).any()
