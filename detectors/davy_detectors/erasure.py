"""What the detectors keep of inferences: their ids, among the samples of incidents and in the join with labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from davy.codec import dump, load
from davy.forgetting import Ids, Trace
from davy.runtime import Runtime
from davy.store import Batch
from davy_detectors.incidents.incident import INCIDENTS, Incident
from davy_detectors.labelled import erasure as labelled
from davy_detectors.stream.label_counter import LabelCounter
from davy_detectors.stream.partial_aggregate import MODELS
from davy_detectors.stream.partition_counter import PartitionCounter


class IncidentKeeper:
    """Implements `davy.forgetting.Keeper`. Counts, bins and references are sums over many inferences and stay."""

    def __init__(self, runtime: Runtime) -> None:
        self._log = runtime.log
        self._store = runtime.store

    def leases(self) -> Sequence[str]:
        """Name the leases of those who count, whole or by partition, and of those who test and write incidents."""
        roles = (PartitionCounter, LabelCounter)
        partitions = [
            f"role/{role.name}/{topic}/{number}"
            for role in roles
            for each in role.topics
            for topic, number in self._log.end(each)
        ]
        return [
            *(f"role/{role.name}" for role in roles),
            *partitions,
            *(f"model/{model}" for model, _ in self._store.items(MODELS)),
        ]

    def tagged(self, name: str, text: str) -> Iterator[bytes]:
        """Return nothing: no inference is kept here."""
        del name, text
        return iter(())

    def traces(self, ids: Ids) -> Iterator[Trace]:
        """Return the incidents that name one of `ids` among their samples, and what waits for labels of these."""
        for model, _ in self._store.items(MODELS):
            for collection, key, found in labelled.held(self._store, model, ids):
                remove = partial(labelled.remove, self._store, model, collection, key, ids)
                yield Trace({"inferences": found}, remove)
        for key, data in self._store.items(INCIDENTS):
            if not ids.isdisjoint(load(Incident, data).samples):
                yield Trace({"flags": frozenset({key})}, partial(self._remove, key, ids))

    def payloads(self, ids: Ids) -> Iterator[str]:
        """Return nothing: an id refers to no payload."""
        del ids
        return iter(())

    def _remove(self, key: str, ids: Ids) -> None:
        data = self._store.get(INCIDENTS, key)
        if data is not None:
            incident = load(Incident, data)
            samples = [sample for sample in incident.samples if sample not in ids]
            self._store.apply(Batch().put(INCIDENTS, key, dump(replace(incident, samples=samples))))
