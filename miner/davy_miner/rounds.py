"""Selection rounds: on request or by time, one transaction each, the same result for the same log.

A request waits in the store until the miner has read every flag that was in the log when it was made. Its id is a
counter per model and seeds the round, so the result follows from the candidates and the id alone.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, runtime_checkable

from davy import metrics
from davy.codec import decode
from davy.consume import stored_position
from davy.errors import DavyError
from davy.event import FLAGS, BlobRef
from davy.runtime import Runtime
from davy.store import Batch, Collection, Store, events
from davy_miner.candidates import ASKED, KNOWN, Candidate, State, control_draw
from davy_miner.choice import GREEDY, RANDOM, Choice, Chosen, choose
from davy_miner.dedup import Calibration
from davy_miner.pictures import picture
from davy_miner.pool import Pool
from davy_miner.problems import Problem, tell

ROLE: Final = "mine"
REQUESTED: Final = "requested"
DONE: Final = "done"
_ALL: Final = "*"
_KEPT: Final = 500
_SECOND: Final = 10**9
_DAY: Final = 86_400 * _SECOND
_MEASURED: Final = 2000
_ELSEWHERE: Final[frozenset[State]] = frozenset({"duplicate", "unlabellable", "deleted"})
"""States beside waiting and known in which a candidate that chance drew still has its payload."""
_logger = logging.getLogger("davy.mine")


@runtime_checkable
class Asks(Protocol):
    """A labelling tool that can tell beforehand what it cannot ask."""

    def problem(self, candidate: Candidate) -> Problem | None:
        """Return what stands against asking about a candidate, None when nothing does."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a round did for one model.

    Labels by arm, duplicates set aside, the threshold, who still waits, what nobody can be asked about.
    """

    model: str
    budget: int
    greedy: int
    random: int
    duplicates: int
    exact: int
    threshold: float
    waiting: int
    unlabellable: int = 0


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
    log: str = ""
    """Which log `flags_end` are offsets of."""


ROUNDS: Final[Collection[Round]] = events("rounds", Round, writer="mine, davy mine")
"""Requests and what became of them, by id."""

CALIBRATIONS: Final[Collection[Calibration]] = events("calibrations", Calibration, writer="mine")
"""How alike near-duplicates are, by model."""


def request(runtime: Runtime, model: str = "", budget: int | None = None) -> str:
    """Ask for a round over everything flagged until now; return its id. The miner role runs it."""
    end = {partition: offset for (_, partition), offset in runtime.log.end(FLAGS).items()}
    number = 0
    while True:
        number = max(number + 1, _next(runtime.store, f"{model or _ALL}/"))
        log, now = runtime.log.identity(FLAGS), runtime.clock()
        asked = Round(f"{model or _ALL}/{number:08d}", model, budget, end, REQUESTED, now, log=log)
        runtime.store.apply(ROUNDS.add(Batch(), asked.id, asked))
        # `add` keeps what is there: another request may have taken the number
        if ROUNDS.get(runtime.store, asked.id) == asked:
            return asked.id


def read(store: Store, key: str) -> Round | None:
    """Return a request as it is now."""
    return ROUNDS.get(store, key)


class Rounds:
    """Runs what is due, at most one round a transaction.

    Parameters
    ----------
    runtime
        Settings, log, store, blobs, meter and clock.
    pool
        The candidates.
    tool
        The labelling tool; one that `Asks` is asked before a label is spent.
    """

    def __init__(self, runtime: Runtime, pool: Pool, tool: object = None) -> None:
        self._runtime = runtime
        self._pool = pool
        self._tool = tool if isinstance(tool, Asks) else None
        self._pictures: dict[str, BlobRef | None] = {}
        self._last: dict[str, int] = {}
        self._count = -1
        self._pending: list[Round] = []

    def restore(self) -> None:
        """Learn from the store when each model had its last round and what is asked for."""
        self._last.clear()
        self._scan()

    def run_due(self, batch: Batch) -> bool:
        """Run the first round that is due, put its outcome into `batch`; whether there was one."""
        if ROUNDS.count(self._runtime.store) != self._count:
            self._scan()
        due = next((asked for asked in self._pending if self._reached(asked)), None) or self._by_time()
        if due is None:
            return self._give_back(batch)
        models = [due.model] if due.model else self._pool.models()
        budget = self._runtime.settings.mine.budget if due.budget is None else due.budget
        results = [
            self._put_off(model)
            if self._waits_for_answers(model)
            else self._run(due.id, model, budget, batch)
            for model in models
        ]
        ROUNDS.put(batch, due.id, replace(due, state=DONE, results=results))
        for model in models:
            self._last[model] = self._runtime.clock()
        self._count = -1
        return True

    def _scan(self) -> None:
        self._count = ROUNDS.count(self._runtime.store)
        found = list(ROUNDS.values(self._runtime.store))
        self._pending = sorted((one for one in found if one.state == REQUESTED), key=lambda one: one.at)
        done = sorted((one for one in found if one.state == DONE), key=lambda one: one.at)
        now = self._runtime.clock()
        for one in done:
            for result in one.results:  # one of the future was before the clock was set back
                self._last[result.model] = max(min(one.at, now), self._last.get(result.model, 0))
        before = now - int(self._runtime.settings.mine.estimate_days * _DAY)
        old = done[:-_KEPT] if len(done) > 2 * _KEPT else [one for one in done if one.at < before]
        if old:
            self._runtime.store.apply(ROUNDS.delete(Batch(), *(one.id for one in old)))
            self._count -= len(old)

    def _reached(self, asked: Round) -> bool:
        if asked.log and asked.log != self._runtime.log.identity(FLAGS):
            return True  # what was to be read first went with its log
        start = self._runtime.log.start(FLAGS)
        for partition, end in asked.flags_end.items():
            stored = stored_position(self._runtime.store, ROLE, (FLAGS, partition))
            position = stored.offset if stored is not None else 0
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
        waiting = self._pool.members(model, {"waiting"})
        unoffered = self._pool.unoffered(model)
        still = sum(_unoffered(candidate) for candidate in waiting)
        owed = self._pool.several(self._pool.owed(model))
        choice = self._choose(
            key,
            model,
            waiting,
            budget=budget,
            kept=still / len(unoffered) if unoffered else 1.0,
            returned=Counter(RANDOM if one.arm == RANDOM else GREEDY for one in owed),
            batch=batch,
        )
        for candidate in self._pool.several(self._pool.unoffered(model)):
            self._pool.put(replace(candidate, offered=key), batch)
        self._settle(owed, batch)
        return self._result(model, budget, choice)

    def _waits_for_answers(self, model: str) -> bool:
        """Whether as much is chosen as may wait: more would be asked than people answer."""
        asked, most = len(self._pool.ids(ASKED, model)), self._runtime.settings.mine.unanswered
        if asked >= most:
            text = "%d chosen samples of %s wait for answers: no more are chosen until some have one (mine.unanswered)"
            _logger.warning(text, asked, model)
        return asked >= most

    def _put_off(self, model: str) -> Result:
        """Choose nothing: what waits, and what chance drew, is left to the next round."""
        return Result(model, 0, 0, 0, 0, 0, 0.0, waiting=len(self._pool.ids({"waiting"}, model)))

    def _give_back(self, batch: Batch) -> bool:
        """Spend at once what the greedy arm gets back; the random arm's share waits for the next round.

        Samples that chance drew and no round has offered are left to that round: offered for a single label, the others
        would be lost to the estimate.
        """
        model, owed = next(
            ((model, owed) for model in self._pool.owing() if (owed := self._owed_to_greedy(model))), ("", [])
        )
        if not owed:
            return False
        key = f"{model}/back-{_next(self._runtime.store, f'{model}/back-'):08d}"
        waiting = [one for one in self._pool.members(model, {"waiting"}) if not _unoffered(one)]
        choice = self._choose(key, model, waiting, budget=0, returned={GREEDY: len(owed)}, batch=batch)
        self._settle(owed, batch)
        done = Round(key, model, 0, {}, DONE, self._runtime.clock(), [self._result(model, 0, choice)])
        ROUNDS.put(batch, key, done)
        self._count = -1
        return True

    def _owed_to_greedy(self, model: str) -> list[Candidate]:
        return [one for one in self._pool.several(self._pool.owed(model)) if one.arm != RANDOM]

    def _settle(self, owed: Sequence[Candidate], batch: Batch) -> None:
        for candidate in owed:
            self._pool.put(replace(candidate, owed=False), batch)

    def _choose(
        self,
        key: str,
        model: str,
        waiting: Sequence[Candidate],
        *,
        budget: int,
        batch: Batch,
        returned: Mapping[str, int],
        kept: float = 1.0,
    ) -> Choice:
        settings = self._runtime.settings.mine
        known = [one for one in self._pool.newest(model, KNOWN, settings.pool) if one.inference]
        elsewhere = self._pool.newest(model, _ELSEWHERE, _MEASURED)
        self._pictures = {}
        last = calibration_of(self._runtime.store, model)
        choice = choose(
            waiting,
            known,
            budget=budget,
            greedy_share=settings.greedy_share,
            similarity=settings.similarity,
            kept=kept,
            seed=_seed(key, model),
            others=[one for one in elsewhere if one.inference and control_draw(one) is not None],
            last=last,
            returned=returned,
            ask=self._ask,
        )
        if choice.calibration is not None and choice.calibration != last:
            CALIBRATIONS.put(batch, model, choice.calibration)
        self._apply(key, [*waiting, *known], choice, batch)
        return choice

    def _ask(self, candidate: Candidate) -> Problem | None:
        if self._tool is None:
            return None
        return self._tool.problem(replace(candidate, picture=self._picture(candidate)))

    def _picture(self, candidate: Candidate) -> BlobRef | None:
        if candidate.id not in self._pictures:
            self._pictures[candidate.id] = self._drawn(candidate)
        return self._pictures[candidate.id]

    def _drawn(self, candidate: Candidate) -> BlobRef | None:
        try:
            return picture(decode(candidate.inference).inference(0), self._runtime.blobs)
        except DavyError:
            raise
        except Exception as error:  # noqa: BLE001 - the form can do without a picture
            _logger.warning("no picture of candidate %s: %s: %s", candidate.id, type(error).__name__, error)
            return None

    def _apply(self, key: str, everyone: Sequence[Candidate], choice: Choice, batch: Batch) -> None:
        more = Counter(one.duplicate_of for one in choice.chosen.values() if one.duplicate_of)
        for candidate in everyone:
            one = choice.chosen.get(candidate.id)
            after = replace(candidate, duplicates=candidate.duplicates + more[candidate.id])
            if one is not None:
                after = self._decided(after, one, key)
            elif candidate.state == "waiting" and _unoffered(candidate):
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
            unlabellable=sum(one.problem is not None for one in choice.chosen.values()),
        )

    def _decided(self, candidate: Candidate, one: Chosen, key: str) -> Candidate:
        offered = candidate.offered or (key if control_draw(candidate) is not None else "")
        decided = replace(candidate, arm=one.arm, probability=one.probability, round=key, offered=offered)
        if one.problem is not None:
            self._set_aside(candidate, one.problem)
            picture = self._picture(candidate)
            return replace(decided, state="unlabellable", reason=one.problem.reason, picture=picture)
        if one.duplicate_of is None:
            return replace(decided, state="selected", picture=self._picture(candidate))
        # a member of the random arm is judged by its representative's answer, for which its own payload is needed
        inference = candidate.inference if one.arm else b""
        return replace(decided, state="duplicate", duplicate_of=one.duplicate_of, inference=inference)

    def _set_aside(self, candidate: Candidate, problem: Problem) -> None:
        tell(self._runtime, candidate.model, problem)
        text, reason = (
            "samples of %s cannot become tasks, one is %s: %s",
            f"{candidate.model}: {problem.reason}",
        )
        _logger.warning(text, candidate.model, candidate.id, problem.reason, extra={"reason": reason})


def calibration_of(store: Store, model: str) -> Calibration | None:
    """Return how alike near-duplicates of a model are, as last measured."""
    return CALIBRATIONS.get(store, model)


def _unoffered(candidate: Candidate) -> bool:
    return control_draw(candidate) is not None and not candidate.offered


def _passed_over(candidate: Candidate, key: str) -> Candidate:
    if len(candidate.draws) > 1:
        return replace(candidate, offered=key)
    return replace(candidate, offered=key, state="expired", inference=b"")


def _next(store: Store, prefix: str) -> int:
    numbers = [
        int(key.removeprefix(prefix))
        for key in ROUNDS.keys(store)
        if key.startswith(prefix) and key.removeprefix(prefix).isdigit()
    ]
    return max(numbers, default=0) + 1


def _seed(key: str, model: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{key}\0{model}".encode(), digest_size=8).digest())
