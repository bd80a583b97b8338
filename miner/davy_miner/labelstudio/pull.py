"""Every answer comes back: new, edited, skipped and withdrawn ones, each exactly once per transaction that is kept."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from davy.event import Label
from davy.outputs import CORRECT, WRONG
from davy.runtime import Runtime
from davy.store import Batch
from davy_miner.candidates import CANDIDATES, Candidate
from davy_miner.labelstudio.deletions import Deletions
from davy_miner.labelstudio.records import (
    SEEN,
    SWEEPS,
    TASKS,
    Seen,
    classes_in,
    projects_in,
    put_watermark,
    watermark_in,
)
from davy_miner.labelstudio.templates import Said, names_by_value, read_annotation
from davy_miner.labelstudio.tool import PAGE, Annotation, Task, Tool

_OVERLAP: Final = 120 * 10**9
_MILLISECOND: Final = 10**6
_log = logging.getLogger("davy.labelstudio")


class Puller:
    """Reads annotations back from Label Studio."""

    def __init__(self, runtime: Runtime, tool: Tool) -> None:
        self._runtime = runtime
        self._tool = tool
        self._deletions = Deletions(runtime.store, tool)

    def pull(self, batch: Batch) -> list[Label]:
        """Return the labels that are new since the last transaction, oldest first within a project, deleted tasks last.

        Raises
        ------
        LabelError
            Label Studio is unreachable or refused; `batch` is then not to be used.
        """
        labels: list[Label] = []
        seen: dict[str, Seen] = {}
        for project in projects_in(self._runtime.store):
            before = newest = watermark_in(self._runtime.store, project)
            for task in self._changed(project, max(0, before - _OVERLAP)):
                newest = max(newest, task.updated_at)
                labels += self._read(project, task, seen, batch)
            if newest > before:
                put_watermark(batch, project, newest)
        for candidate in self._deletions.look():
            if candidate.id not in seen:
                known = self._seen(candidate.id)
                labels.append(_withdrawn(candidate, self._runtime.clock(), known))
                SEEN.put(batch, candidate.id, known)
        return labels

    def _changed(self, project: int, since: int) -> Iterator[Task]:
        """Return every task changed since then.

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

    def _read(self, project: int, task: Task, seen: dict[str, Seen], batch: Batch) -> list[Label]:
        candidate = CANDIDATES.get(self._runtime.store, task.candidate) if task.candidate else None
        if candidate is None:
            return []
        if candidate.task not in {None, task.id}:
            # A task that came to light after its candidate was confirmed: the next push removes one of the two.
            SWEEPS.put(batch, candidate.id, project)
        known = seen.setdefault(candidate.id, self._seen(candidate.id))
        before = known.tasks.get(str(task.id), {})
        now = {str(one.id): one.updated_at for one in task.annotations}
        if before == now:
            return []
        labels = [self._label(candidate, one, known) for one in _changed(task, before)]
        labels += [_withdrawn(candidate, task.updated_at, known, one) for one in _gone(task, before)]
        known.tasks[str(task.id)] = now
        SEEN.put(batch, candidate.id, known)
        return labels

    def _label(self, candidate: Candidate, annotation: Annotation, known: Seen) -> Label:
        said = Said("", None) if annotation.skipped else self._said(candidate, annotation.result)
        answered = said.value is not None or said.verdict in {CORRECT, WRONG}
        return replace(
            _withdrawn(candidate, annotation.updated_at, known, str(annotation.id)),
            answer=said.value,
            annotator=annotation.annotator,
            seconds=annotation.seconds,
            state="labelled" if answered else "skipped",
            verdict=said.verdict,
            note=said.note,
        )

    def _said(self, candidate: Candidate, result: Sequence[Mapping[str, Any]]) -> Said:
        sent = TASKS.get(self._runtime.store, candidate.id)
        names = names_by_value(classes_in(self._runtime.store, sent.project)) if sent else {}
        said = read_annotation(result, sent.answer if sent else None, names)
        if said.value is None and not said.verdict:
            _log.warning("an annotation of candidate %s names no class: taken as skipped", candidate.id)
        return said

    def _seen(self, key: str) -> Seen:
        return SEEN.get(self._runtime.store, key) or Seen()


def _withdrawn(candidate: Candidate, at: int, known: Seen, annotation: str = "") -> Label:
    """Say that an annotation was withdrawn; without one, that the task is gone and every answer with it."""
    return Label(
        candidate=candidate.id,
        inference_id=candidate.inference_id,
        model=candidate.model,
        answer=None,
        revision=_next_revision(known, at),
        at=at,
        state="deleted",
        annotation=annotation,
    )


def _changed(task: Task, before: Mapping[str, int]) -> list[Annotation]:
    """Return the annotations that are new or were edited, oldest first."""
    changed = [one for one in task.annotations if before.get(str(one.id)) != one.updated_at]
    return sorted(changed, key=lambda one: (one.updated_at, one.id))


def _gone(task: Task, before: Mapping[str, int]) -> list[str]:
    """Name the annotations that were withdrawn; those that are left say what they said."""
    return sorted(before.keys() - {str(one.id) for one in task.annotations}, key=int)


def _next_revision(known: Seen, at: int) -> int:
    known.revision = max(at // _MILLISECOND, known.revision + 1)
    return known.revision
