"""The candidates of every model: an index in memory, the records in the store, a bound on how many wait.

When more candidates of a model wait than the pool holds, the one with the least evidence expires. Candidates of the
control arm go last and then by their id, a hash: those that stay are a uniform sample, so probabilities stay known.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from davy import metrics
from davy.codec import dump, load
from davy.event import Draw, Flag
from davy.runtime import Runtime
from davy.store import Batch
from davy_miner.candidates import ASKED, COLLECTION, Candidate, State, candidate_id, control_draw, flagged_at
from davy_miner.labels import FEEDBACK_NOTES
from davy_miner.select import evidence

_COUNTED: Final = (metrics.UNLABELLABLE, metrics.DUPLICATES, metrics.TASKS, metrics.LABELS)
"""What the miner counts of a model."""


@dataclass(frozen=True, slots=True)
class _Entry:
    model: str
    state: State
    control: bool
    """Whether chance chose it and no round has offered it yet."""
    empty: bool
    """Whether nothing comes of it any more, and its payload is gone."""
    order: tuple[int, float, int]
    logged_at: int
    owed: bool
    """Whether the budget spent on it is still to be given back."""
    twin: bool
    """Whether it is a near-duplicate that chance drew, and only counts for the estimate."""


class Pool:
    """Reads and changes candidates for one role; changes go into the batch of the transaction at hand.

    Call `begin` at the start of every transaction: until then the pool shows what the last one put, applied or not.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._entries: dict[str, _Entry] = {}
        self._counts: Counter[tuple[str, State]] = Counter()
        self._waiting: defaultdict[str, list[tuple[tuple[int, float, int], str]]] = defaultdict(list)
        self._changed: dict[str, Candidate] = {}
        self._shown: set[str] = set()
        self._hidden: frozenset[str] = frozenset()

    def restore(self) -> None:
        """Build the index again from the store."""
        for place in self._counts:
            self._counts[place] = 0
        self._entries, self._changed = {}, {}
        self._waiting.clear()
        for _, data in self._runtime.store.items(COLLECTION):
            self._index(load(Candidate, data))
        for model, state in self._counts:
            self._measure(model, state)

    def shows(self, model: str) -> bool:
        """Whether metrics of a model are shown."""
        return model not in self._hidden

    def begin(self) -> None:
        """Forget the changes of the last transaction: the store has them."""
        self._changed = {}

    def get(self, key: str) -> Candidate | None:
        """Return a candidate as this transaction sees it."""
        if key in self._changed:
            return self._changed[key]
        data = self._runtime.store.get(COLLECTION, key) if key in self._entries else None
        return load(Candidate, data) if data is not None else None

    def put(self, candidate: Candidate, batch: Batch) -> None:
        """Change a candidate."""
        new = candidate.id not in self._entries
        (batch.add if new else batch.put)(COLLECTION, candidate.id, dump(candidate))
        self._changed[candidate.id] = candidate
        before = self._entries.get(candidate.id)
        self._index(candidate)
        if before is not None:
            self._measure(before.model, before.state)
        self._measure(candidate.model, candidate.state)

    def take(self, flag: Flag, logged_at: int, batch: Batch) -> None:
        """Make a candidate of a flag appended at `logged_at`, or merge it into the one there is.

        Draws are merged while a candidate waits; the choice was made without what comes later. A flag for a new reason
        brings an expired candidate back.
        """
        key = candidate_id(flag.model, flag.inference_id)
        found = self.get(key)
        candidate = _new(key, flag, logged_at) if found is None else _merged(found, flag)
        if candidate == found:
            return
        self.put(candidate, batch)
        self._shrink(flag.model, batch)

    def models(self) -> list[str]:
        """Name every model that has a candidate waiting."""
        return sorted(
            {model for (model, state), count in self._counts.items() if count and state == "waiting"}
        )

    def has(self, states: Collection[State]) -> bool:
        """Whether any candidate is in one of `states`."""
        return any(count and state in states for (_, state), count in self._counts.items())

    def ids(self, states: Collection[State], model: str | None = None) -> list[str]:
        """Name the candidates in `states`, sorted."""
        return sorted(
            key
            for key, entry in self._entries.items()
            if entry.state in states and model in {None, entry.model}
        )

    def members(self, model: str, states: Collection[State]) -> list[Candidate]:
        """Return the candidates of a model in `states`, sorted by id."""
        return self.several(self.ids(states, model))

    def newest(self, model: str, states: Collection[State], most: int) -> list[Candidate]:
        """Return those candidates of a model in `states` that were flagged last, at most so many, sorted by id."""
        keys = sorted(self.ids(states, model), key=lambda key: self._entries[key].logged_at)
        return self.several(sorted(keys[-most:]))

    def several(self, keys: Sequence[str]) -> list[Candidate]:
        """Return candidates as this transaction sees them, in this order, without those that are gone."""
        stored = self._runtime.store.get_many(COLLECTION, [key for key in keys if key not in self._changed])
        found = {key: load(Candidate, data) for key, data in stored.items()} | self._changed
        return [found[key] for key in keys if key in found]

    def unoffered(self, model: str) -> list[str]:
        """Name the control candidates that never took part in a random arm, waiting or expired, sorted."""
        return sorted(
            key
            for key, entry in self._entries.items()
            if entry.model == model and entry.control and entry.state in {"waiting", "expired"}
        )

    def owed(self, model: str) -> list[str]:
        """Name the candidates of a model whose budget is to be given back, sorted."""
        return sorted(key for key, entry in self._entries.items() if entry.owed and entry.model == model)

    def owing(self) -> list[str]:
        """Name the models with such candidates."""
        return sorted({entry.model for entry in self._entries.values() if entry.owed})

    def refresh(self) -> None:
        """Read again what the exchange with the labelling tool may have changed."""
        stored = self._runtime.store.get_many(COLLECTION, self.ids({"selected", "pushing"}))
        for key, data in stored.items():
            before = self._entries[key]
            self._index(load(Candidate, data))
            self._measure(before.model, before.state)
            self._measure(before.model, self._entries[key].state)

    def expire(self, candidate: Candidate, batch: Batch) -> None:
        """End a candidate's wait; its payload goes, its name stays so that a replay does not bring it back."""
        self.put(replace(candidate, state="expired", inference=b""), batch)

    def retire(self, models: Collection[str], batch: Batch, *, unanswered: int = 0) -> None:
        """Show nothing of retired models, and end the wait of their candidates: nobody is asked about them any more.

        Those that were chosen and flagged before `unanswered`, nanoseconds since the epoch, will have no answer either.
        """
        self._hidden = frozenset(models)
        self._shown -= self._hidden
        for model in sorted(models):
            if self._counts[model, "waiting"]:
                for candidate in self.members(model, {"waiting"}):
                    self.expire(candidate, batch)
            if any(self._counts[model, state] for state in ASKED):
                for candidate in self.members(model, ASKED):
                    if flagged_at(candidate) < unanswered:
                        self.expire(candidate, batch)

    def tidy(self, before: int, batch: Batch, *, estimated: int = 0) -> None:
        """Remove candidates whose payload is gone and those nobody can be asked about.

        So are near-duplicates that chance drew and that were flagged before `estimated`: no estimate reaches so far.

        The last of each model stay, as many as the pool may hold.

        What stays is there for flags that come twice. Control samples that no round has offered yet stay, too: their
        number is part of a probability. Nothing stays whose flags have left the log: appended before `before`.
        """
        for key in [key for key, one in self._entries.items() if one.twin and one.logged_at < estimated]:
            self._remove(key, batch)
        gone: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        self._waiting.clear()
        for key, entry in self._entries.items():
            if entry.state == "waiting":
                self._waiting[entry.model].append((entry.order, key))
            elif (entry.empty or entry.state == "unlabellable") and (
                entry.logged_at < before or not entry.control
            ):
                gone[entry.model].append((entry.logged_at, key))
        for waiting in self._waiting.values():
            heapq.heapify(waiting)
        for names in gone.values():
            names.sort()
            spare = len(names) - self._runtime.settings.mine.pool
            for number, (logged_at, key) in enumerate(names):
                if number < spare or logged_at < before:
                    self._remove(key, batch)

    def _remove(self, key: str, batch: Batch) -> None:
        batch.delete(COLLECTION, key).delete(FEEDBACK_NOTES, key)
        entry = self._entries.pop(key)
        self._counts[entry.model, entry.state] -= 1
        self._measure(entry.model, entry.state)

    def _index(self, candidate: Candidate) -> None:
        before = self._entries.get(candidate.id)
        if before is not None:
            self._counts[before.model, before.state] -= 1
        control = control_draw(candidate) is not None and not candidate.offered
        order = (1, 0.0, -int(candidate.id, 16)) if control else (0, _strength(candidate), 0)
        empty = candidate.state in {"expired", "duplicate", "rejected"} and not candidate.inference
        twin = candidate.state == "duplicate" and bool(candidate.inference)
        at = flagged_at(candidate) if twin else candidate.logged_at
        entry = _Entry(candidate.model, candidate.state, control, empty, order, at, candidate.owed, twin)
        self._entries[candidate.id] = entry
        self._counts[entry.model, entry.state] += 1
        if entry.state == "waiting":
            heapq.heappush(self._waiting[entry.model], (order, candidate.id))

    def _shrink(self, model: str, batch: Batch) -> None:
        waiting = self._waiting[model]
        while self._counts[model, "waiting"] > self._runtime.settings.mine.pool:
            order, key = heapq.heappop(waiting)
            entry = self._entries.get(key)
            if entry is None or entry.state != "waiting" or entry.order != order:
                continue
            weakest = self.get(key)
            if weakest is not None:
                self.expire(weakest, batch)

    def _measure(self, model: str, state: State) -> None:
        if model in self._hidden:
            return
        if model not in self._shown:
            self._shown.add(model)
            for metric in _COUNTED:
                self._runtime.meter.zero(metric, model=model)
        count = self._counts[model, state]
        self._runtime.meter.set(metrics.CANDIDATES, count, model=model, state=state)


def _strength(candidate: Candidate) -> float:
    return evidence(candidate.scores, candidate.draws)


def _new(key: str, flag: Flag, logged_at: int) -> Candidate:
    return Candidate(
        id=key,
        model=flag.model,
        inference_id=flag.inference_id,
        at=flag.at,
        state="waiting",
        draws=_union((), flag.draws),
        scores=dict(sorted(flag.scores.items())),
        inference=flag.inference,
        incident=flag.incident,
        logged_at=logged_at,
    )


def _merged(candidate: Candidate, flag: Flag) -> Candidate:
    draws = _union(candidate.draws, flag.draws)
    revived = candidate.state == "expired" and len(draws) > len(candidate.draws)
    if candidate.state != "waiting" and not revived:
        return candidate
    scores = dict(candidate.scores)
    for name, rank in flag.scores.items():
        scores[name] = min(rank, scores.get(name, rank))
    return replace(
        candidate,
        state="waiting",
        draws=draws,
        scores=dict(sorted(scores.items())),
        incident=min((name for name in (candidate.incident, flag.incident) if name), default=None),
        inference=flag.inference if revived else candidate.inference,
    )


def _union(some: Collection[Draw], others: Collection[Draw]) -> list[Draw]:
    best: dict[tuple[str, str], Draw] = {}
    for draw in (*some, *others):
        way = draw.kind, draw.name
        best[way] = max(best.get(way, draw), draw, key=lambda one: (one.probability, one.score))
    return [best[way] for way in sorted(best)]
