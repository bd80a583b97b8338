"""What Davy writes down about tasks, so that a crash at any point leaves a trace to go on from.

Collections of the store: ``labelstudio`` (projects, their classes and watermarks), ``labelstudio.tasks`` (one record a
candidate, written before it is sent and kept), ``labelstudio.sweeps`` (candidates seen with more than one task),
``labelstudio.seen`` (annotations read back), ``labelstudio.troubles`` (models whose tasks cannot be sent at present).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from davy.store import Batch, Collection, Store, events, plain

_PROJECT: Final = "project/"
_CLASSES: Final = "classes/"
_WATERMARK: Final = "watermark/"


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


@dataclass(slots=True)
class Seen:
    """What was read of one candidate: its last revision, and by task the annotations with their times."""

    revision: int = 0
    tasks: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the tasks of a model cannot be sent at present: since when, how often it was tried, until when it rests."""

    model: str
    reason: str
    since: int
    attempts: int
    until: int


def _as_is(found: dict[str, Any]) -> dict[str, Any]:
    return found


PROJECTS: Final[Collection[dict[str, Any]]] = plain(
    "labelstudio", dict, writer="mine", write=_as_is, read=_as_is
)
"""Projects, their classes and watermarks, each by keys of its own: read by the functions below."""

TASKS: Final[Collection[Sent]] = events("labelstudio.tasks", Sent, writer="mine")
"""What was sent, by candidate."""

SWEEPS: Final[Collection[int]] = plain(
    "labelstudio.sweeps",
    int,
    writer="mine",
    write=lambda project: {"v": 1, "project": project},
    read=lambda found: int(found["project"]),
)
"""The projects of candidates seen with more than one task, by candidate."""

SEEN: Final[Collection[Seen]] = plain(
    "labelstudio.seen",
    Seen,
    writer="mine",
    write=lambda seen: {"v": 1, "revision": seen.revision, "tasks": seen.tasks},
    read=lambda found: Seen(found["revision"], found["tasks"]),
)
"""Annotations read back, by candidate."""

TROUBLES: Final[Collection[Trouble]] = events("labelstudio.troubles", Trouble, writer="mine")
"""What stands against sending tasks, by model."""


def project_in(store: Store, key: str) -> dict[str, int] | None:
    """Return the record of a project: its ``id``, or 0 and when it was asked for (``at``)."""
    return PROJECTS.get(store, _PROJECT + key)


def put_project(batch: Batch, key: str, project: int, at: int) -> None:
    """Write a project down."""
    PROJECTS.put(batch, _PROJECT + key, {"v": 1, "id": project, "at": at})


def push_lease(project: int) -> str:
    """Name the lease under which tasks are brought to a project."""
    return f"labelstudio/push/{project}"


def projects_in(store: Store) -> Iterator[int]:
    """Return the id of every project Davy has made or found."""
    for key, found in PROJECTS.items(store):
        if key.startswith(_PROJECT) and (project := found["id"]):
            yield project


def watermark_in(store: Store, project: int) -> int:
    """Return up to when a project was read back, nanoseconds since the epoch; 0 when it never was."""
    found = PROJECTS.get(store, f"{_WATERMARK}{project}")
    return int(found["at"]) if found else 0


def put_watermark(batch: Batch, project: int, at: int) -> None:
    """Write down up to when a project was read back."""
    PROJECTS.put(batch, f"{_WATERMARK}{project}", {"v": 1, "at": at})


def classes_in(store: Store, project: int) -> list[str]:
    """Return the names of the classes Davy has put into a project's form, exactly."""
    found = PROJECTS.get(store, f"{_CLASSES}{project}")
    return list(found["names"]) if found else []


def put_classes(batch: Batch, project: int, names: Sequence[str]) -> None:
    """Write down which classes a project's form has: before the form itself, so that every answer can be read."""
    PROJECTS.put(batch, f"{_CLASSES}{project}", {"v": 1, "names": list(names)})


def troubles_in(store: Store) -> list[Trouble]:
    """Return the models in trouble, by name."""
    return sorted(TROUBLES.values(store), key=lambda one: one.model)
