"""Removes inferences from what the join keeps: their rows stay in their place and say nothing any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from davy.store import Batch
from davy_detectors.labelled.columns import Columns, halves, nothing, pack, unpack
from davy_detectors.labelled.join import FINAL, collections
from davy_detectors.labelled.rows import pack_rows, read_rows
from davy_detectors.labelled.values import Vocabulary
from davy_detectors.stream import partial_aggregate
from davy_detectors.stream.partial_aggregate import PartialAggregate

if TYPE_CHECKING:
    from davy.forgetting import Ids
    from davy.store import Store


def held(store: Store, model: str, ids: Ids) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield collection and key of each record with rows of `ids`, and these ids in hexadecimal."""
    for collection in (*collections(model), partial_aggregate.collection(model)):
        for key, data in store.items(collection):
            found: set[str] = set()
            for rows in _rows_of(collection, model, data):
                mine = _which(rows, ids)
                pairs = zip(rows["high"][mine].tolist(), rows["low"][mine].tolist(), strict=True)
                found.update(f"{high:016x}{low:016x}" for high, low in pairs)
            if found:
                yield collection, key, frozenset(found)


def remove(store: Store, model: str, collection: str, key: str, ids: Ids) -> None:
    """Blank the rows of `ids` in a record; one that is gone meanwhile holds nothing.

    What was aggregated of them is a sum over many inferences and stays.
    """
    data = store.get(collection, key)
    if data is None:
        return
    if collection == partial_aggregate.collection(model):
        partial = PartialAggregate.from_bytes(data)
        inferences, labels = _without(partial.inferences, ids), _without(partial.labels, ids)
        written = replace(partial, inferences=inferences, labels=labels).to_bytes()
    else:
        written = pack(_blanked(unpack(data), ids))
    store.apply(Batch().put(collection, key, written))


def _rows_of(collection: str, model: str, data: bytes) -> list[Columns]:
    if collection != partial_aggregate.collection(model):
        return [unpack(data)]
    partial = PartialAggregate.from_bytes(data)
    return [read_rows(rows)[0] for rows in (partial.inferences, partial.labels) if rows]


def _which(rows: Columns, ids: Ids) -> NDArray[np.bool_]:
    high, low = halves(np.frombuffer(b"".join(sorted(ids)), "V16"))
    candidates = np.flatnonzero(np.isin(rows["low"], low))
    wanted = set(zip(high.tolist(), low.tolist(), strict=True))
    found = np.zeros(len(rows["low"]), bool)
    pairs = zip(rows["high"][candidates].tolist(), rows["low"][candidates].tolist(), strict=True)
    found[candidates] = [pair in wanted for pair in pairs]
    return found


def _blanked(rows: Columns, ids: Ids) -> Columns:
    gone = _which(rows, ids)
    blank = {name: nothing(1, column.dtype)[0] for name, column in rows.items()}
    if "window" in rows:
        blank["window"] = np.int64(FINAL)
    kept = {"inference_time", "label_time"}  # by which rows are dropped in time
    return {
        name: column if name in kept else np.where(gone, blank[name], column) for name, column in rows.items()
    }


def _without(data: bytes, ids: Ids) -> bytes:
    if not data:
        return data
    rows, texts = read_rows(data)
    kept = ~_which(rows, ids)
    left = {name: column[kept] for name, column in rows.items()}
    return pack_rows(left, Vocabulary(texts)) if kept.any() else b""
