"""Every answer comes back: new, edited, skipped and withdrawn ones, each exactly once per transaction that is kept."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from davy.codec import dump_any, load_any
from davy.event import Label
from davy.runtime import Runtime
from davy.store import Batch
from davy_miner.candidates import Candidate
from davy_miner.labelstudio.deletions import Deletions
from davy_miner.labelstudio.records import PROJECTS, SEEN, SWEEPS, candidate_in, projects_in, sent_in
from davy_miner.labelstudio.templates import UNCLEAR, VERDICT, picked, read_result
from davy_miner.labelstudio.tool import PAGE, Annotation, Task, Tool

_OVERLAP: Final = 120 * 10**9
_MILLISECOND: Final = 10**6
_log = logging.getLogger("davy.labelstudio")


@dataclass(slots=True)
class _Seen:
    """What was read of one candidate: its last revision, and by task the annotations with their times."""

    revision: int = 0
    tasks: dict[str, dict[str, int]] = field(default_factory=dict)


class Puller:
    """Reads annotations back from Label Studio."""

    def __init__(self, runtime: Runtime, tool: Tool) -> None:
        self._runtime = runtime
        self._tool = tool
        self._deletions = Deletions(runtime.store, tool)

    def pull(self, batch: Batch) -> list[Label]:
        """Give the labels that are new since the last transaction, oldest first within a project, deleted tasks last.

        Raises
        ------
        LabelError
            Label Studio is unreachable or refused; `batch` is then not to be used.
        """
        labels: list[Label] = []
        seen: dict[str, _Seen] = {}
        for project in projects_in(self._runtime.store):
            key = f"watermark/{project}"
            stored = self._runtime.store.get(PROJECTS, key)
            before = newest = load_any(stored)["at"] if stored else 0
            for task in self._changed(project, max(0, before - _OVERLAP)):
                newest = max(newest, task.updated_at)
                labels += self._read(project, task, seen, batch)
            if newest > before:
                batch.put(PROJECTS, key, dump_any({"v": 1, "at": newest}))
        for candidate in self._deletions.look():
            if candidate.id not in seen:
                known = self._seen(candidate.id)
                labels.append(_withdrawn(candidate, self._runtime.clock(), known))
                _keep(batch, candidate.id, known)
        return labels

    def _changed(self, project: int, since: int) -> Iterator[Task]:
        """Give every task changed since then.

        A task changed while its project is read moves to the end and all others move up by one, so pages by number
        would skip some. Every page starts at the last time seen; only a page of one single time is followed by its
        second.
        """
        page = 1
        while True:
            tasks = self._tool.changed_tasks(project, since, page)
            yield from tasks
            if len(tasks) < PAGE:
                return
            last = tasks[-1].updated_at
            page, since = (page + 1, since) if last <= since else (1, last)

    def _read(self, project: int, task: Task, seen: dict[str, _Seen], batch: Batch) -> list[Label]:
        candidate = candidate_in(self._runtime.store, task.candidate) if task.candidate else None
        if candidate is None:
            return []
        if candidate.task not in {None, task.id}:
            # A task that came to light after its candidate was confirmed: the next push removes one of the two.
            batch.put(SWEEPS, candidate.id, dump_any({"v": 1, "project": project}))
        known = seen.setdefault(candidate.id, self._seen(candidate.id))
        before = known.tasks.get(str(task.id), {})
        now = {str(one.id): one.updated_at for one in task.annotations}
        if before == now:
            return []
        labels = [self._label(candidate, task, one, known) for one in _to_tell(task, before)]
        known.tasks[str(task.id)] = now
        _keep(batch, candidate.id, known)
        return labels

    def _label(self, candidate: Candidate, task: Task, annotation: Annotation | None, known: _Seen) -> Label:
        if annotation is None:
            return _withdrawn(candidate, task.updated_at, known)
        answer = None if annotation.skipped else self._answer(candidate.id, annotation.result)
        return replace(
            _withdrawn(candidate, annotation.updated_at, known),
            answer=answer,
            annotator=annotation.annotator,
            seconds=annotation.seconds,
            state="skipped" if answer is None else "labelled",
        )

    def _answer(self, key: str, result: Sequence[Mapping[str, Any]]) -> str | None:
        sent = sent_in(self._runtime.store, key)
        answer = read_result(result, sent.answer if sent else "") or None
        if answer is None and picked(result).get(VERDICT) != UNCLEAR:
            _log.warning("an annotation of candidate %s names no class: taken as skipped", key)
        return answer

    def _seen(self, key: str) -> _Seen:
        data = self._runtime.store.get(SEEN, key)
        if data is None:
            return _Seen()
        found = load_any(data)
        return _Seen(found["revision"], found["tasks"])


def _withdrawn(candidate: Candidate, at: int, known: _Seen) -> Label:
    """Say that a candidate has no answer: it was withdrawn, or its task deleted."""
    return Label(
        candidate=candidate.id,
        inference_id=candidate.inference_id,
        model=candidate.model,
        answer=None,
        revision=_next_revision(known, at),
        at=at,
        state="deleted",
    )


def _keep(batch: Batch, key: str, known: _Seen) -> None:
    batch.put(SEEN, key, dump_any({"v": 1, "revision": known.revision, "tasks": known.tasks}))


def _to_tell(task: Task, before: Mapping[str, int]) -> list[Annotation | None]:
    """Give the annotations that are news, oldest first; None stands for "there is no answer any more"."""
    in_order = sorted(task.annotations, key=lambda one: (one.updated_at, one.id))
    changed: list[Annotation | None] = [one for one in in_order if before.get(str(one.id)) != one.updated_at]
    withdrawn = set(before) - {str(one.id) for one in in_order}
    if changed or not withdrawn:
        return changed
    # One of several answers was withdrawn: the newest that is left is the answer again.
    return [in_order[-1] if in_order else None]


def _next_revision(known: _Seen, at: int) -> int:
    known.revision = max(at // _MILLISECOND, known.revision + 1)
    return known.revision
