"""Every selected candidate becomes exactly one task, whatever crashes, times out or is lost in between.

What is sent is written down before. After a clean answer, and on any doubt, Label Studio is asked which tasks carry the
candidates' ids: what exists is adopted. What does not exist is sent again only when `settle_seconds` have passed since
it was sent, because Label Studio may still be storing what it did not answer in time. Should a candidate have several
tasks in spite of all that, the annotated one stays, else the oldest, and the others go.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Final

from davy import metrics
from davy.codec import dump_any, load, load_any
from davy.errors import LeaseLost, StoreError
from davy.runtime import Runtime
from davy.store import Batch, Lease
from davy_miner.candidates import COLLECTION as CANDIDATES
from davy_miner.candidates import Candidate
from davy_miner.labelstudio.forms import Forms
from davy_miner.labelstudio.projects import Projects
from davy_miner.labelstudio.records import (
    SWEEPS,
    TASKS,
    Sent,
    candidate_in,
    push_lease,
    put_candidate,
    put_sent,
    sent_in,
)
from davy_miner.labelstudio.task_data import Draft, draft
from davy_miner.labelstudio.templates import Form
from davy_miner.labelstudio.tool import Refused, Task, Tool, UnknownFate
from davy_miner.labelstudio.troubles import Troubles
from davy_miner.problems import Problem, problem, tell

_ALL_OR_NOTHING: Final = frozenset({400, 413})
_TO_SEND: Final = frozenset({"selected", "pushing"})
_NOT_ALLOWED: Final = frozenset({401, 403})
_ENOUGH: Final = 2
_ANSWERED: Final = frozenset({"labelled", "disputed", "skipped", "deleted"})
_log = logging.getLogger("davy.labelstudio")
_Drafts = Mapping[str, Draft]


@dataclass(slots=True)
class _Round:
    """How Label Studio answers during one push: whether at all, who got no answer, how many in a row."""

    answered: bool = False
    in_a_row: int = 0
    silent: list[tuple[str, UnknownFate]] = field(default_factory=list)


@dataclass(slots=True)
class _Group:
    """Candidates of one form, and the classes it is to offer, in the order they were seen."""

    keys: list[str] = field(default_factory=list)
    classes: dict[str, None] = field(default_factory=dict)


class Pusher:
    """Sends candidates to Label Studio.

    Parameters
    ----------
    runtime
        Store, settings, meter and clock.
    tool
        Label Studio.
    projects
        Where to send what.
    forms
        The installed forms.
    owner
        Name of this process for leases.
    blind
        Whether annotators see nothing of the model's answer.
    """

    def __init__(
        self, runtime: Runtime, tool: Tool, projects: Projects, forms: Forms, owner: str, *, blind: bool
    ) -> None:
        self._runtime = runtime
        self._tool = tool
        self._projects = projects
        self._forms = forms
        self._owner = owner
        self._blind = blind
        self._troubles = Troubles(runtime)
        self._confirmed = 0
        self._round = _Round()

    def push(self) -> int:
        """Settle what is in doubt, send what is selected; return the number of newly confirmed tasks.

        A candidate that cannot become a task is set aside with the reason. A model whose tasks cannot be sent is left
        alone for a while and holds up no other.

        Raises
        ------
        LabelError
            Label Studio is unreachable or does not accept the token.
        """
        self._confirmed, self._round = 0, _Round()
        fresh, doubtful = self._due()
        for (model, project), keys in doubtful.items():
            self._alone(model, partial(self._settle, project, keys, fresh))
        for (model, form), group in self._by_form(fresh).items():
            self._alone(model, partial(self._send_group, model, form, group))
        for model, error in self._round.silent:
            if not self._round.answered:
                raise error
            self._troubles.note(model, error)
        return self._confirmed

    def _alone(self, model: str, act: Callable[[], bool]) -> None:
        """Do something for one model, whose trouble is not that of the others.

        Two in a row without an answer end the push: with Label Studio itself in trouble more calls would add to it.
        """
        if self._round.in_a_row >= _ENOUGH or self._troubles.resting(model):
            return
        try:
            settled = act()
        except UnknownFate as error:
            self._round.silent.append((model, error))
            self._round.in_a_row += 1
        except StoreError:
            raise
        except Exception as error:
            if isinstance(error, Refused) and error.status in _NOT_ALLOWED:
                raise
            self._round.answered = True
            self._projects.forget()
            self._troubles.note(model, error)
        else:
            self._round.answered = True
            self._round.in_a_row = 0 if settled else self._round.in_a_row + 1
            if settled:
                self._troubles.over(model)

    def _due(self) -> tuple[list[Candidate], dict[tuple[str, int], list[str]]]:
        """Candidates never sent; by model and project, those sent and not confirmed and those to be swept."""
        fresh: list[Candidate] = []
        doubtful: defaultdict[int, set[str]] = defaultdict(set)
        models: dict[int, str] = {}
        for _, data in self._runtime.store.items(CANDIDATES):
            candidate = load(Candidate, data)
            if candidate.state not in _TO_SEND and (
                candidate.task is not None or candidate.state not in _ANSWERED
            ):
                continue
            sent = sent_in(self._runtime.store, candidate.id)
            if sent is not None:
                doubtful[sent.project].add(candidate.id)
                models[sent.project] = candidate.model
            elif candidate.state in _TO_SEND:
                fresh.append(candidate)
        for key, data in self._runtime.store.items(SWEEPS):
            doubtful[load_any(data)["project"]].add(key)
        return fresh, {(models.get(project, ""), project): sorted(keys) for project, keys in doubtful.items()}

    def _by_form(self, candidates: Iterable[Candidate]) -> dict[tuple[str, Form], _Group]:
        """Candidates by model and form, with the classes their answers name.

        In the order of their ids, which are hashes: a queue half worked off is then no biased sample.
        """
        found: defaultdict[tuple[str, Form], _Group] = defaultdict(_Group)
        for candidate in sorted(candidates, key=lambda one: one.id):
            if self._troubles.resting(candidate.model):
                continue
            made = self._draft(candidate)
            if isinstance(made, Draft):
                group = found[candidate.model, made.form]
                group.keys.append(candidate.id)
                group.classes.update(dict.fromkeys(made.classes))
            else:
                self._set_aside(candidate.id, made)
        return found

    def _draft(self, candidate: Candidate) -> Draft | Problem:
        try:
            return draft(self._runtime, self._forms, candidate, blind=self._blind)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this one candidate's
            return problem(error)

    def _set_aside(self, key: str, why: Problem, renew: Callable[[], Lease] | None = None) -> None:
        """Say why a candidate cannot be asked; the miner gives its budget back."""
        candidate = candidate_in(self._runtime.store, key)
        if candidate is None or candidate.state != "selected":
            return
        batch = Batch()
        put_candidate(batch, replace(candidate, state="unlabellable", reason=why.reason, owed=True))
        self._runtime.store.apply(batch, lease=renew() if renew else None)
        tell(self._runtime, candidate.model, why)
        text = "samples of %s cannot become tasks, the first is %s: %s"
        self._troubles.say(candidate.model, why.reason, text, candidate.model, key, why.reason)

    def _send_group(self, model: str, form: Form, group: _Group) -> bool:
        project = self._projects.get(model, form, list(group.classes))
        settled = True
        with self._lease(project) as renew:
            if renew:
                self._projects.offer(project, list(group.classes), renew)
                settled = self._send_all(project, form, group.keys, renew)
        return settled

    @contextmanager
    def _lease(self, project: int) -> Iterator[Callable[[], Lease] | None]:
        """Hold the right to push to a project; gives a function that renews it, None while another process has it."""
        store, name = self._runtime.store, push_lease(project)
        seconds = 2 * self._runtime.settings.labelstudio.timeout_seconds + 30

        def renew() -> Lease:
            lease = store.acquire(name, self._owner, seconds=seconds)
            if lease is None:
                raise LeaseLost("lease", name, "another process pushes to this project now")
            return lease

        held = store.acquire(name, self._owner, seconds=seconds)
        if held is None:
            yield None
            return
        try:
            yield renew
        except LeaseLost as error:
            # Whoever holds it now finds what was sent written down and goes on from there.
            _log.warning("stopped pushing to project %d: %s", project, error)
        finally:
            store.release(held)

    def _settle(self, project: int, keys: Sequence[str], fresh: list[Candidate]) -> bool:
        with self._lease(project) as renew:
            if renew:
                fresh += self._settled(project, keys, renew)
        return True

    def _settled(self, project: int, keys: Sequence[str], renew: Callable[[], Lease]) -> list[Candidate]:
        """Adopt what exists; return back to "selected", and return, what certainly does not."""
        found = self._adopt(project, keys, renew)
        settle = self._runtime.settings.labelstudio.settle_seconds * 1e9
        batch, again = Batch(), list[Candidate]()
        for key in sorted(set(keys) - found):
            sent, candidate = sent_in(self._runtime.store, key), candidate_in(self._runtime.store, key)
            waited = self._runtime.clock() - sent.at if sent is not None else settle
            if sent is not None and waited < 0:  # the clock was set back: the wait begins now
                put_sent(batch, key, replace(sent, at=self._runtime.clock()))
            if waited < settle:
                continue
            batch.delete(TASKS, key).delete(SWEEPS, key)
            if candidate is not None and candidate.state in _TO_SEND:
                again.append(replace(candidate, state="selected"))
                put_candidate(batch, again[-1])
        if batch.operations:
            self._runtime.store.apply(batch, lease=renew())
        return again

    def _send_all(self, project: int, form: Form, keys: Sequence[str], renew: Callable[[], Lease]) -> bool:
        """Send in batches; false once one is in doubt: Label Studio is in trouble, more calls would add to it."""
        size, waiting = self._runtime.settings.labelstudio.batch, iter(keys)
        while chunk := list(islice(waiting, size)):
            drafts = self._drafts(form, chunk, renew)
            if drafts and not self._send(project, drafts, renew):
                return False
        return True

    def _drafts(self, form: Form, keys: Iterable[str], renew: Callable[[], Lease]) -> dict[str, Draft]:
        """Make the tasks of those that are still to be sent: another process may have been here before the lease."""
        found = {}
        for key in keys:
            candidate = candidate_in(self._runtime.store, key)
            if candidate is None or candidate.state != "selected" or sent_in(self._runtime.store, key):
                continue
            made = self._draft(candidate)
            if isinstance(made, Problem):
                self._set_aside(key, made, renew)
            elif made.form == form:
                found[key] = made
        return found

    def _send(self, project: int, drafts: _Drafts, renew: Callable[[], Lease]) -> bool:
        self._write_down(project, drafts, renew())
        doubt = None
        try:
            self._tool.import_tasks(project, [one.task for one in drafts.values()])
        except Refused as refusal:
            return self._take_back(project, drafts, refusal, renew)
        except UnknownFate as error:
            doubt = error
        found = self._adopt(project, list(drafts), renew)
        missing = len(drafts) - len(found)
        if missing:
            _log.warning("%d of %d tasks in doubt, looked up again later: %s", missing, len(drafts), doubt)
        return not missing

    def _write_down(self, project: int, drafts: _Drafts, lease: Lease) -> None:
        batch, now = Batch(), self._runtime.clock()
        for key, made in drafts.items():
            candidate = candidate_in(self._runtime.store, key)
            if candidate is not None:
                put_candidate(batch, replace(candidate, state="pushing"))
            put_sent(batch, key, Sent(project, now, made.answer))
        self._runtime.store.apply(batch, lease=lease)

    def _take_back(self, project: int, drafts: _Drafts, refusal: Refused, renew: Callable[[], Lease]) -> bool:
        """Undo what a refusal left; one bad task makes Label Studio refuse all, so halve until it stands alone."""
        batch = Batch()
        for key in drafts:
            candidate = candidate_in(self._runtime.store, key)
            if candidate is not None and candidate.state == "pushing":
                put_candidate(batch, replace(candidate, state="selected"))
            batch.delete(TASKS, key)
        self._runtime.store.apply(batch, lease=renew())
        if refusal.status not in _ALL_OR_NOTHING:
            raise refusal
        keys = list(drafts)
        if len(keys) == 1:
            self._set_aside(keys[0], problem(refusal, "refused"), renew)
            return True
        middle = len(keys) // 2
        return all(
            self._send(project, {key: drafts[key] for key in half}, renew)
            for half in (keys[:middle], keys[middle:])
        )

    def _adopt(self, project: int, keys: Sequence[str], renew: Callable[[], Lease]) -> set[str]:
        """Look the candidates' tasks up and confirm them; return the candidates that have one."""
        tasks: defaultdict[str, list[Task]] = defaultdict(list)
        wanted = set(keys)
        for task in self._tool.find_tasks(project, keys):
            if task.candidate in wanted:
                tasks[task.candidate].append(task)
        if not tasks:
            return set()
        batch, confirmed, extra = Batch(), list[Candidate](), list[tuple[str, int]]()
        for key, found in tasks.items():
            found.sort(key=lambda task: (not task.touched, task.id))
            untouched = [task.id for task in found[1:] if not task.touched]
            extra += [(key, task) for task in untouched]
            if untouched:
                batch.put(SWEEPS, key, dump_any({"v": 1, "project": project}))
            else:
                batch.delete(SWEEPS, key)
            confirmed += self._confirm(batch, key, project, found[0].id)
        self._runtime.store.apply(batch, lease=renew())
        self._count(confirmed)
        self._sweep(extra, renew)
        return set(tasks)

    def _confirm(self, batch: Batch, key: str, project: int, task: int) -> list[Candidate]:
        """Write the task down; return the candidate when it had none before."""
        sent = sent_in(self._runtime.store, key) or Sent(project, self._runtime.clock())
        put_sent(batch, key, replace(sent, task=task))
        candidate = candidate_in(self._runtime.store, key)
        if candidate is None:
            return []
        # An answer may have been read back before the task was confirmed: its state stays.
        state = "pushed" if candidate.state in _TO_SEND else candidate.state
        put_candidate(batch, replace(candidate, state=state, task=task))
        return [candidate] if sent.task is None else []

    def _sweep(self, extra: Sequence[tuple[str, int]], renew: Callable[[], Lease]) -> None:
        for key, task in extra:
            _log.warning("candidate %s had a second task, %d: removed", key, task)
            self._tool.delete_task(task)
        if extra:
            batch = Batch()
            for key, _ in extra:
                batch.delete(SWEEPS, key)
            self._runtime.store.apply(batch, lease=renew())

    def _count(self, confirmed: Sequence[Candidate]) -> None:
        self._confirmed += len(confirmed)
        for candidate in confirmed:
            self._runtime.meter.add(metrics.TASKS, model=candidate.model)
