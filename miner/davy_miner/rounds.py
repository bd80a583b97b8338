"""Selection rounds: on request or by time, one transaction each, the same result for the same log.

A request waits in the store until the miner has read every flag that was in the log when it was made. Its id is a
counter per model and seeds the round, so the result follows from the candidates and the id alone.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from davy import metrics
from davy.codec import decode, dump, load, load_any
from davy.event import FLAGS, BlobRef
from davy.runtime import Runtime
from davy.store import Batch, Store
from davy_miner.candidates import KNOWN, Candidate, control_draw
from davy_miner.choice import GREEDY, RANDOM, Choice, Chosen, choose
from davy_miner.pictures import picture
from davy_miner.pool import Pool

COLLECTION: Final = "rounds"
ROLE: Final = "mine"
REQUESTED: Final = "requested"
DONE: Final = "done"
_ALL: Final = "*"
_KEPT: Final = 500
_SECOND: Final = 10**9


@dataclass(frozen=True, slots=True)
class Result:
    """What a round did for one model: labels by arm, duplicates set aside, the threshold, who still waits."""

    model: str
    budget: int
    greedy: int
    random: int
    duplicates: int
    exact: int
    threshold: float
    waiting: int


@dataclass(frozen=True, slots=True)
class Round:
    """A request for a round and what became of it; an empty `model` means every model with candidates."""

    id: str
    model: str
    budget: int | None
    flags_end: Mapping[int, int]
    state: str
    at: int
    results: Sequence[Result] = field(default_factory=list)


def request(runtime: Runtime, model: str = "", budget: int | None = None) -> str:
    """Ask for a round over everything flagged until now; give its id. The miner role runs it."""
    end = {partition: offset for (_, partition), offset in runtime.log.end(FLAGS).items()}
    number = 0
    while True:
        number = max(number + 1, _next(runtime.store, f"{model or _ALL}/"))
        asked = Round(f"{model or _ALL}/{number:08d}", model, budget, end, REQUESTED, runtime.clock())
        runtime.store.apply(Batch().add(COLLECTION, asked.id, dump(asked)))
        # `add` keeps what is there: another request may have taken the number
        if runtime.store.get(COLLECTION, asked.id) == dump(asked):
            return asked.id


def read(store: Store, key: str) -> Round | None:
    """Give a request as it is now."""
    data = store.get(COLLECTION, key)
    return load(Round, data) if data is not None else None


class Rounds:
    """Runs what is due, at most one round a transaction."""

    def __init__(self, runtime: Runtime, pool: Pool) -> None:
        self._runtime = runtime
        self._pool = pool
        self._last: dict[str, int] = {}
        self._count = -1
        self._pending: list[Round] = []

    def restore(self) -> None:
        """Learn from the store when each model had its last round and what is asked for."""
        self._last.clear()
        self._scan()

    def run_due(self, batch: Batch) -> bool:
        """Run the first round that is due, put its outcome into `batch`; whether there was one."""
        if self._runtime.store.count(COLLECTION) != self._count:
            self._scan()
        due = next((asked for asked in self._pending if self._reached(asked)), None) or self._by_time()
        if due is None:
            return False
        models = [due.model] if due.model else self._pool.models()
        budget = self._runtime.settings.mine.budget if due.budget is None else due.budget
        results = [self._run(due.id, model, budget, batch) for model in models]
        batch.put(COLLECTION, due.id, dump(replace(due, state=DONE, results=results)))
        for model in models:
            self._last[model] = self._runtime.clock()
        self._count = -1
        return True

    def _scan(self) -> None:
        self._count = self._runtime.store.count(COLLECTION)
        found = [load(Round, data) for _, data in self._runtime.store.items(COLLECTION)]
        self._pending = sorted((one for one in found if one.state == REQUESTED), key=lambda one: one.at)
        done = sorted((one for one in found if one.state == DONE), key=lambda one: one.at)
        now = self._runtime.clock()
        for one in done:
            for result in one.results:  # one of the future was before the clock was set back
                self._last[result.model] = max(min(one.at, now), self._last.get(result.model, 0))
        if len(done) > 2 * _KEPT:
            batch = Batch()
            for one in done[:-_KEPT]:
                batch.delete(COLLECTION, one.id)
            self._runtime.store.apply(batch)

    def _reached(self, asked: Round) -> bool:
        start = self._runtime.log.start(FLAGS)
        for partition, end in asked.flags_end.items():
            stored = self._runtime.store.get("positions", f"{ROLE}/{FLAGS}/{partition}")
            position = load_any(stored) if stored is not None else 0
            if max(position, start.get((FLAGS, partition), 0)) < end:
                return False
        return True

    def _by_time(self) -> Round | None:
        now, every = self._runtime.clock(), self._runtime.settings.mine.round_seconds
        if not every:
            return None
        for model in self._pool.models():
            waited = now - self._last.setdefault(model, now)
            if not 0 <= waited < every * _SECOND:  # less than nothing when the clock was set back
                number = _next(self._runtime.store, f"{model}/due-")
                return Round(f"{model}/due-{number:08d}", model, None, {}, REQUESTED, now)
        return None

    def _run(self, key: str, model: str, budget: int, batch: Batch) -> Result:
        settings = self._runtime.settings.mine
        waiting = self._pool.members(model, {"waiting"})
        known = [one for one in self._pool.newest(model, KNOWN, settings.pool) if one.inference]
        unoffered = self._pool.unoffered(model)
        still = sum(control_draw(candidate) is not None and not candidate.offered for candidate in waiting)
        choice = choose(
            waiting,
            known,
            budget=budget,
            greedy_share=settings.greedy_share,
            similarity=settings.similarity,
            kept=still / len(unoffered) if unoffered else 1.0,
            seed=_seed(key, model),
        )
        pictures = self._pictures(waiting, choice)
        self._apply(key, [*waiting, *known], choice, pictures, batch)
        for candidate in self._pool.several(self._pool.unoffered(model)):
            self._pool.put(replace(candidate, offered=key), batch)
        return self._result(model, budget, choice)

    def _pictures(self, waiting: Sequence[Candidate], choice: Choice) -> dict[str, BlobRef | None]:
        chosen = {key for key, one in choice.chosen.items() if one.duplicate_of is None}
        return {
            candidate.id: picture(decode(candidate.inference).inference(0), self._runtime.blobs)
            for candidate in waiting
            if candidate.id in chosen
        }

    def _apply(
        self,
        key: str,
        everyone: Sequence[Candidate],
        choice: Choice,
        pictures: Mapping[str, BlobRef | None],
        batch: Batch,
    ) -> None:
        more = Counter(one.duplicate_of for one in choice.chosen.values() if one.duplicate_of)
        for candidate in everyone:
            one = choice.chosen.get(candidate.id)
            after = replace(candidate, duplicates=candidate.duplicates + more[candidate.id])
            if one is not None:
                after = _decided(after, one, key, pictures)
            elif (
                candidate.state == "waiting" and control_draw(candidate) is not None and not candidate.offered
            ):
                after = _passed_over(after, key)
            if after != candidate:
                self._pool.put(after, batch)

    def _result(self, model: str, budget: int, choice: Choice) -> Result:
        kinds = Counter(one.kind for one in choice.chosen.values() if one.kind)
        for kind, count in kinds.items():
            self._runtime.meter.add(metrics.DUPLICATES, count, model=model, kind=kind)
        return Result(
            model=model,
            budget=budget,
            greedy=len(choice.labels(GREEDY)),
            random=len(choice.labels(RANDOM)),
            duplicates=kinds.total(),
            exact=kinds["exact"],
            threshold=choice.threshold,
            waiting=len(self._pool.ids({"waiting"}, model)),
        )


def _decided(
    candidate: Candidate, one: Chosen, key: str, pictures: Mapping[str, BlobRef | None]
) -> Candidate:
    offered = candidate.offered or (key if control_draw(candidate) is not None else "")
    decided = replace(candidate, arm=one.arm, probability=one.probability, round=key, offered=offered)
    if one.duplicate_of is None:
        return replace(decided, state="selected", picture=pictures[candidate.id])
    # a member of the random arm is judged by its representative's answer, for which its own payload is needed
    inference = candidate.inference if one.arm else b""
    return replace(decided, state="duplicate", duplicate_of=one.duplicate_of, inference=inference)


def _passed_over(candidate: Candidate, key: str) -> Candidate:
    if len(candidate.draws) > 1:
        return replace(candidate, offered=key)
    return replace(candidate, offered=key, state="expired", inference=b"")


def _next(store: Store, prefix: str) -> int:
    numbers = [
        int(key.removeprefix(prefix))
        for key, _ in store.items(COLLECTION)
        if key.startswith(prefix) and key.removeprefix(prefix).isdigit()
    ]
    return max(numbers, default=0) + 1


def _seed(key: str, model: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{key}\0{model}".encode(), digest_size=8).digest())
