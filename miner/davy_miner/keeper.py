"""What the miner keeps of inferences: candidates with their answers and notes, tasks, rows of dataset versions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from davy.codec import decode, dump, references
from davy.errors import SettingError
from davy.forgetting import Ids, Trace, role_lease
from davy.forgetting.strip import with_tag
from davy.runtime import Runtime
from davy.store import Batch, Collection
from davy_miner.candidates import CANDIDATES, Candidate
from davy_miner.dataset import removal as datasets
from davy_miner.dataset.versions import directory
from davy_miner.labels import FEEDBACK_NOTES, REVISIONS
from davy_miner.labelstudio.records import SEEN, SWEEPS, TASKS, projects_in, push_lease
from davy_miner.rounds import ROLE

_OF_A_CANDIDATE: Final[tuple[Collection[Any], ...]] = (REVISIONS, FEEDBACK_NOTES, SEEN, SWEEPS, CANDIDATES)


class MinerKeeper:
    """Implements `davy.forgetting.Keeper`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._store = runtime.store

    def leases(self) -> Sequence[str]:
        """Name the leases of the miner, of whoever pushes tasks and of whoever builds a dataset."""
        models = {candidate.model for candidate in self._candidates()}
        models.update(datasets.models(self._root))
        pushes = [push_lease(project) for project in projects_in(self._store)]
        return [role_lease(ROLE), *pushes, *(datasets.lease(model) for model in sorted(models))]

    def tagged(self, name: str, text: str) -> Iterator[bytes]:
        """Return the ids of candidates, and of rows of dataset versions, that carry a tag."""
        for candidate in self._candidates():
            if candidate.inference:
                yield from with_tag(decode(candidate.inference), name, text)
        yield from datasets.tagged(self._root, name, text)

    def traces(self, ids: Ids) -> Iterator[Trace]:
        """Return versions with rows of `ids`, then candidates with all that belongs to them, then their tasks."""
        yield from datasets.traces(self._root, ids, self._runtime)
        held = self._held(ids)
        for key, things in held.items():
            found = CANDIDATES.get(self._store, key)
            yield Trace(things, partial(self._remove, key), _payloads(found) if found else frozenset())
        yield from self._tasks(frozenset(held))

    def payloads(self, ids: Ids) -> Iterator[str]:
        """Return the payloads and pictures of all candidates but `ids`; what datasets refer to is among them."""
        for candidate in self._candidates():
            if candidate.inference_id not in ids:
                yield from _payloads(candidate)

    @property
    def _root(self) -> Path | None:
        """Where dataset versions lie; None where there is no place for one, so there is none."""
        try:
            return directory(self._runtime)
        except SettingError:
            return None

    def _candidates(self) -> Iterator[Candidate]:
        return CANDIDATES.values(self._store)

    def _held(self, ids: Ids) -> dict[str, Mapping[str, frozenset[str]]]:
        """Return what there is by the id of the candidate; an answer may be there without one."""
        found: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for candidate in self._candidates():
            if candidate.inference_id in ids:
                for kind, name in _things(candidate):
                    found[candidate.id][kind].add(name)
        for key, revisions in REVISIONS.items(self._store):
            for label in revisions.labels:
                if label.inference_id in ids:
                    found[key]["labels"].add(f"{key}/{label.revision}")
        for key, note in FEEDBACK_NOTES.items(self._store):
            if note.id in ids:
                found[key]["feedback"].add(f"{note.id.hex()}/{note.at}")
        return {
            key: {kind: frozenset(names) for kind, names in things.items()} for key, things in found.items()
        }

    def _remove(self, key: str) -> None:
        batch = Batch()
        for collection in _OF_A_CANDIDATE:
            collection.delete(batch, key)
        self._store.apply(batch)

    def _tasks(self, removed: frozenset[str]) -> Iterator[Trace]:
        """Return the tasks of candidates that go now, and of those that went without their task."""
        there = {candidate.id for candidate in self._candidates()}
        keys = [key for key in TASKS.keys(self._store) if key in removed or key not in there]
        sent = [one for key in keys if (one := TASKS.get(self._store, key)) is not None]
        if keys:
            from davy_miner.labelstudio.removal import remove_tasks

            tasks = frozenset(f"{one.project}/{one.task}" for one in sent if one.task is not None)
            yield Trace({"tasks": tasks}, partial(remove_tasks, self._runtime, keys))


def _payloads(candidate: Candidate) -> frozenset[str]:
    return references(dump(candidate))


def _things(candidate: Candidate) -> Iterator[tuple[str, str]]:
    yield "candidates", candidate.id
    if candidate.inference:
        yield "inferences", candidate.inference_id.hex()
        if ("embedding",) in decode(candidate.inference):
            yield "vectors", candidate.id
