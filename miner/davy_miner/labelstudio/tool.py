"""What the rest of this package needs of Label Studio: eleven calls, two records, two ways to fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from davy.errors import LabelError

PAGE: Final = 100
"""Tasks in one page; also the candidates in one look-up, so that its address stays below the 8 KB of most proxies."""


class UnknownFate(LabelError):
    """No answer, or one that does not say whether the call took effect: look before doing it again."""


class Refused(LabelError):
    """Label Studio refused and changed nothing; `status` is the HTTP status."""

    def __init__(self, field: str, value: object, remedy: str, *, status: int) -> None:
        super().__init__(field, value, remedy)
        self.status = status


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation as it stands now. `updated_at` is in nanoseconds since the epoch, on the server's clock."""

    id: int
    updated_at: int
    result: Sequence[Mapping[str, Any]]
    annotator: str
    seconds: float | None
    skipped: bool


@dataclass(frozen=True, slots=True)
class Task:
    """One task. `touched` is true once a person annotated, skipped or began it; `candidate` is empty when not ours."""

    id: int
    candidate: str
    updated_at: int
    touched: bool
    annotations: Sequence[Annotation] = ()


class Tool(Protocol):
    """Label Studio, as far as Davy uses it. No call is ever repeated by itself once it may have changed something.

    Every call raises `Refused` when nothing was changed and `UnknownFate` when that cannot be known.
    """

    def projects(self, marker: str) -> list[int]:
        """Return the ids of the projects whose description contains `marker`, oldest first."""

    def has_project(self, project: int) -> bool:
        """Whether a project is still there."""

    def create_project(self, title: str, description: str, config: str) -> int:
        """Make a project and give its id."""

    def project_config(self, project: int) -> str:
        """Return a project's labelling configuration as it is now."""

    def change_config(self, project: int, config: str) -> None:
        """Change a project's labelling configuration; doing it twice is harmless."""

    def import_tasks(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Add tasks, all or none."""

    def find_tasks(self, project: int, candidates: Sequence[str]) -> list[Task]:
        """Return every task of these candidates, by id; nothing when the project is gone."""

    def changed_tasks(self, project: int, since: int, page: int) -> list[Task]:
        """Return a page of the tasks changed at `since` (nanoseconds) or later, oldest change first."""

    def has_task(self, task: int) -> bool:
        """Whether a task is still there."""

    def delete_task(self, task: int) -> None:
        """Remove a task; harmless when it is gone."""

    def close(self) -> None:
        """Close the connections; calling it twice is harmless."""
