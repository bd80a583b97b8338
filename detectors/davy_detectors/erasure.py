"""What the detectors keep of inferences: their ids, among the samples of incidents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from davy.event import INFERENCES
from davy.forgetting import Ids, Trace, model_lease, role_lease
from davy.models import MODELS
from davy.runtime import Runtime
from davy.store import Batch
from davy_detectors.incidents.incident import INCIDENTS
from davy_detectors.stream.partition_counter import PartitionCounter


class IncidentKeeper:
    """Implements `davy.forgetting.Keeper`. Counts, bins and references are sums over many inferences and stay."""

    def __init__(self, runtime: Runtime) -> None:
        self._log = runtime.log
        self._store = runtime.store

    def leases(self) -> Sequence[str]:
        """Name the leases of those who count, whole or by partition, and of those who test and write incidents."""
        return [
            role_lease(PartitionCounter.name),
            *(role_lease(PartitionCounter.name, place) for place in self._log.end(INFERENCES)),
            *map(model_lease, MODELS.keys(self._store)),
        ]

    def tagged(self, name: str, text: str) -> Iterator[bytes]:
        """Return nothing: no inference is kept here."""
        del name, text
        return iter(())

    def traces(self, ids: Ids) -> Iterator[Trace]:
        """Return the incidents that name one of `ids` among their samples."""
        for key, incident in INCIDENTS.items(self._store):
            if not ids.isdisjoint(incident.samples):
                yield Trace({"flags": frozenset({key})}, partial(self._remove, key, ids))

    def payloads(self, ids: Ids) -> Iterator[str]:
        """Return nothing: an id refers to no payload."""
        del ids
        return iter(())

    def _remove(self, key: str, ids: Ids) -> None:
        incident = INCIDENTS.get(self._store, key)
        if incident is not None:
            samples = [sample for sample in incident.samples if sample not in ids]
            self._store.apply(INCIDENTS.put(Batch(), key, replace(incident, samples=samples)))
