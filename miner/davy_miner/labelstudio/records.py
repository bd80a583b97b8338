"""What Davy writes down about tasks, so that a crash at any point leaves a trace to go on from.

Collections of the store: ``labelstudio`` (projects, their classes, whose form they have, and watermarks),
``labelstudio.tasks`` (one record a candidate, written before it is sent and kept), ``labelstudio.sweeps`` (candidates
seen with more than one task),
``labelstudio.seen`` (annotations read back), ``labelstudio.troubles`` (models whose tasks cannot be sent at present).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from davy.codec import dump, dump_any, load, load_any
from davy.store import Batch, Store
from davy_miner.candidates import COLLECTION as CANDIDATES
from davy_miner.candidates import Candidate

PROJECTS: Final = "labelstudio"
TASKS: Final = "labelstudio.tasks"
SWEEPS: Final = "labelstudio.sweeps"
SEEN: Final = "labelstudio.seen"
TROUBLES: Final = "labelstudio.troubles"
_PROJECT: Final = "project/"
_CLASSES: Final = "classes/"
_FORM: Final = "form/"


@dataclass(frozen=True, slots=True)
class Sent:
    """That a candidate was sent, or was about to be.

    Attributes
    ----------
    project, at
        Where to, and when (nanoseconds since the epoch).
    answer
        The model's answer, which "model correct" confirms: the name of a class, names, a number, a text.
    task
        The task it became, once that is certain.
    """

    project: int
    at: int
    answer: Any = ""
    task: int | None = None


def candidate_in(store: Store, key: str) -> Candidate | None:
    """Return a candidate as the store has it now."""
    data = store.get(CANDIDATES, key)
    return None if data is None else load(Candidate, data)


def put_candidate(batch: Batch, candidate: Candidate) -> None:
    """Change a candidate."""
    batch.put(CANDIDATES, candidate.id, dump(candidate))


def sent_in(store: Store, key: str) -> Sent | None:
    """Return the record of a candidate that was sent."""
    data = store.get(TASKS, key)
    return None if data is None else load(Sent, data)


def put_sent(batch: Batch, key: str, sent: Sent) -> None:
    """Write down that a candidate was sent."""
    batch.put(TASKS, key, dump(sent))


def project_in(store: Store, key: str) -> dict[str, int] | None:
    """Return the record of a project: its ``id``, or 0 and when it was asked for (``at``)."""
    data = store.get(PROJECTS, _PROJECT + key)
    return None if data is None else load_any(data)


def put_project(batch: Batch, key: str, project: int, at: int) -> None:
    """Write a project down."""
    batch.put(PROJECTS, _PROJECT + key, dump_any({"v": 1, "id": project, "at": at}))


def push_lease(project: int) -> str:
    """Name the lease under which tasks are brought to a project."""
    return f"labelstudio/push/{project}"


def projects_in(store: Store) -> Iterator[int]:
    """Return the id of every project Davy has made or found."""
    for key, data in store.items(PROJECTS):
        if key.startswith(_PROJECT) and (project := load_any(data)["id"]):
            yield project


def classes_in(store: Store, project: int) -> list[str]:
    """Return the names of the classes Davy has put into a project's form, exactly."""
    data = store.get(PROJECTS, f"{_CLASSES}{project}")
    return [] if data is None else list(load_any(data)["names"])


def put_classes(batch: Batch, project: int, names: Sequence[str]) -> None:
    """Write down which classes a project's form has: before the form itself, so that every answer can be read."""
    batch.put(PROJECTS, f"{_CLASSES}{project}", dump_any({"v": 1, "names": list(names)}))


@dataclass(frozen=True, slots=True)
class FormOf:
    """The plug-in that made the form of a project, by its name, and the model it is for."""

    form: str
    model: str


def form_in(store: Store, project: int) -> FormOf | None:
    """Return whose form a project has; None where it is one of ours."""
    data = store.get(PROJECTS, f"{_FORM}{project}")
    return None if data is None else load(FormOf, data)


def put_form(batch: Batch, project: int, form: FormOf) -> None:
    """Write down whose form a project has: it reads the answers."""
    batch.put(PROJECTS, f"{_FORM}{project}", dump(form))


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the tasks of a model cannot be sent at present: since when, how often it was tried, until when it rests."""

    model: str
    reason: str
    since: int
    attempts: int
    until: int


def troubles_in(store: Store) -> list[Trouble]:
    """Return the models in trouble, by name."""
    return sorted((load(Trouble, data) for _, data in store.items(TROUBLES)), key=lambda one: one.model)
