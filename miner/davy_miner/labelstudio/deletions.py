"""Notices tasks that a person deleted in Label Studio, which tells nobody.

Every look asks for some of the tasks that nobody has answered, in turn. A list may be incomplete for a moment: only a
task that Label Studio says is not there is taken as deleted, and only while its project is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from davy.store import Store
from davy_miner.candidates import CANDIDATES, Candidate
from davy_miner.labelstudio.records import SEEN, TASKS
from davy_miner.labelstudio.tool import Tool

_LISTED: Final = 50
"""Tasks in one look."""
_ASKED: Final = 10
"""Requests for single tasks in one look."""


class _Open(NamedTuple):
    project: int
    candidate: str
    task: int


class Deletions:
    """Goes round the tasks that nobody has answered.

    Parameters
    ----------
    store
        Where tasks and answers are written down.
    tool
        Label Studio.
    """

    def __init__(self, store: Store, tool: Tool) -> None:
        self._store = store
        self._tool = tool
        self._round: deque[_Open] = deque()

    def look(self) -> list[Candidate]:
        """Return candidates whose task is gone, of the next tasks in turn, with a dozen requests at most.

        Raises
        ------
        LabelError
            Label Studio is unreachable or refused; the next look goes on with the tasks after these.
        """
        if not self._round:
            self._round.extend(sorted(self._unanswered()))
        turn = list(self._turn())
        if not turn:
            return []
        project = turn[0].project
        listed = {task.candidate for task in self._tool.find_tasks(project, [one.candidate for one in turn])}
        missing = [one for one in turn if one.candidate not in listed]
        if not missing or not self._tool.has_project(project):
            return []
        self._round.extendleft(reversed(missing[_ASKED:]))
        gone = [one for one in missing[:_ASKED] if not self._tool.has_task(one.task)]
        return [found for one in gone if (found := self._still_pushed(one)) is not None]

    def _unanswered(self) -> Iterator[_Open]:
        answered = set(SEEN.keys(self._store))
        for key, sent in TASKS.items(self._store):
            if sent.task is not None and key not in answered:
                yield _Open(sent.project, key, sent.task)

    def _turn(self) -> Iterator[_Open]:
        """Take the next tasks, all of one project, that nobody has answered since the round began."""
        project, count = None, 0
        while self._round and count < _LISTED and project in {None, self._round[0].project}:
            one = self._round.popleft()
            if not SEEN.has(self._store, one.candidate):
                project, count = one.project, count + 1
                yield one

    def _still_pushed(self, one: _Open) -> Candidate | None:
        candidate = CANDIDATES.get(self._store, one.candidate)
        if candidate is None or (candidate.state, candidate.task) != ("pushed", one.task):
            return None
        return candidate
