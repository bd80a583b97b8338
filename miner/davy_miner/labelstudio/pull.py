"""Every answer comes back: new, edited, skipped and withdrawn ones, each exactly once per transaction that is kept."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from davy.codec import dump_any, load_any
from davy.event import Label
from davy.outputs import CORRECT, WRONG
from davy.runtime import Runtime
from davy.store import Batch
from davy_miner.candidates import Candidate
from davy_miner.labelstudio.deletions import Deletions
from davy_miner.labelstudio.forms import Forms
from davy_miner.labelstudio.records import (
    PROJECTS,
    SEEN,
    SWEEPS,
    FormOf,
    candidate_in,
    classes_in,
    form_in,
    projects_in,
    sent_in,
)
from davy_miner.labelstudio.templates import Said, names_by_value, read_annotation
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

    def __init__(self, runtime: Runtime, tool: Tool, forms: Forms) -> None:
        self._runtime = runtime
        self._forms = forms
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
        seen: dict[str, _Seen] = {}
        for project in projects_in(self._runtime.store):
            form = form_in(self._runtime.store, project)
            if form is not None and self._forms.is_suspended(form.model, form.form):
                continue  # its answers wait in Label Studio until the form is upgraded
            key = f"watermark/{project}"
            stored = self._runtime.store.get(PROJECTS, key)
            before = newest = load_any(stored)["at"] if stored else 0
            unread = False
            for task in self._changed(project, max(0, before - _OVERLAP)):
                found = self._read(project, form, task, seen, batch)
                unread = unread or found is None
                newest = newest if unread else max(newest, task.updated_at)
                labels += found or []
            if newest > before:
                batch.put(PROJECTS, key, dump_any({"v": 1, "at": newest}))
        for candidate in self._deletions.look():
            if candidate.id not in seen:
                known = self._seen(candidate.id)
                labels.append(_withdrawn(candidate, self._runtime.clock(), known))
                _keep(batch, candidate.id, known)
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

    def _read(
        self, project: int, form: FormOf | None, task: Task, seen: dict[str, _Seen], batch: Batch
    ) -> list[Label] | None:
        """Return the new labels of a task; None where its form could not read them, which is tried again."""
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
        changed = _changed(task, before)
        read = [said for one in changed if (said := self._said(candidate, form, one)) is not None]
        if len(read) < len(changed):
            return None
        labels = [_label(candidate, *pair, known) for pair in zip(changed, read, strict=True)]
        labels += [_withdrawn(candidate, task.updated_at, known, one) for one in _gone(task, before)]
        known.tasks[str(task.id)] = now
        _keep(batch, candidate.id, known)
        return labels

    def _said(self, candidate: Candidate, form: FormOf | None, annotation: Annotation) -> Said | None:
        if annotation.skipped:
            return Said("", None)
        sent = sent_in(self._runtime.store, candidate.id)
        names = names_by_value(classes_in(self._runtime.store, sent.project)) if sent else {}
        if form is not None and candidate.inference:
            return self._forms.read(form.model, form.form, candidate, annotation.result, names)
        said = read_annotation(annotation.result, sent.answer if sent else None, names)
        if said.value is None and not said.verdict:
            _log.warning("an annotation of candidate %s names no class: taken as skipped", candidate.id)
        return said

    def _seen(self, key: str) -> _Seen:
        data = self._runtime.store.get(SEEN, key)
        if data is None:
            return _Seen()
        found = load_any(data)
        return _Seen(found["revision"], found["tasks"])


def _label(candidate: Candidate, annotation: Annotation, said: Said, known: _Seen) -> Label:
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


def _withdrawn(candidate: Candidate, at: int, known: _Seen, annotation: str = "") -> Label:
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


def _keep(batch: Batch, key: str, known: _Seen) -> None:
    batch.put(SEEN, key, dump_any({"v": 1, "revision": known.revision, "tasks": known.tasks}))


def _changed(task: Task, before: Mapping[str, int]) -> list[Annotation]:
    """Return the annotations that are new or were edited, oldest first."""
    changed = [one for one in task.annotations if before.get(str(one.id)) != one.updated_at]
    return sorted(changed, key=lambda one: (one.updated_at, one.id))


def _gone(task: Task, before: Mapping[str, int]) -> list[str]:
    """Name the annotations that were withdrawn; those that are left say what they said."""
    return sorted(before.keys() - {str(one.id) for one in task.annotations}, key=int)


def _next_revision(known: _Seen, at: int) -> int:
    known.revision = max(at // _MILLISECOND, known.revision + 1)
    return known.revision
