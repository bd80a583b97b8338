"""Whether labelling moves: what is wrong with the traffic to the labelling tool, noted for every process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from davy.errors import DavyError
from davy.health import Check
from davy.runtime import Runtime
from davy.store import Batch, Collection, plain
from davy_miner.labelstudio.records import troubles_in

QUEUE_SECONDS: Final = 300.0
"""Selected candidates of which none becomes a task for so long are stuck, though nothing fails."""
_PATIENCE_SECONDS: Final = 15.0
_ASKED_SECONDS: Final = 5.0
"""A tool that takes longer for a part of its answer, a list of projects, is as good as down."""
_SECOND: Final = 10**9
_REMEDY: Final = (
    "see that the labelling tool is up and takes the token; `davy doctor` asks it. Davy tries again by itself"
)


@dataclass(frozen=True, slots=True)
class Note:
    """That something about labelling fails: since when, in nanoseconds since the epoch, and why."""

    since: int
    reason: str


NOTES: Final[Collection[Note]] = plain(
    "labelling",
    Note,
    writer="mine",
    write=lambda note: {"v": 1, "since": note.since, "reason": note.reason},
    read=lambda found: Note(found["since"], found["reason"]),
)
"""What fails, by what it is."""


class Notes:
    """Keeps since when something about labelling fails, and why, until it works again.

    Parameters
    ----------
    runtime
        Store and clock.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._since: dict[str, int] = {}
        self._moved_at = 0

    def begin(self) -> None:
        """Forget what an earlier process noted: it is found out anew."""
        self._since, self._moved_at = {}, self._runtime.clock()
        batch = NOTES.delete(Batch(), *NOTES.keys(self._runtime.store))
        if batch.operations:
            self._runtime.store.apply(batch)

    def failed(self, what: str, reason: str, since: int | None = None) -> None:
        """Note that something fails, since now unless it is said or was noted before."""
        since = self._since.setdefault(what, self._runtime.clock() if since is None else since)
        self._runtime.store.apply(NOTES.put(Batch(), what, Note(since, reason)))

    def works(self, what: str) -> None:
        """Note that it works."""
        if what in self._since:
            self._runtime.store.apply(NOTES.delete(Batch(), what))
            del self._since[what]

    def queue(self, *, moved: bool) -> None:
        """Note whether the queue of selected candidates moved, or is empty."""
        now = self._runtime.clock()
        if moved or now < self._moved_at:
            self._moved_at = now
            self.works("queue")
        elif now - self._moved_at > QUEUE_SECONDS * _SECOND and "queue" not in self._since:
            self.failed("queue", "selected candidates do not become tasks", self._moved_at)


def checks(runtime: Runtime) -> list[Check]:
    """Look at the notes of the process that exchanges tasks and labels with the tool, where one is configured."""
    if not runtime.settings.labelstudio.url:
        return []
    limit = runtime.clock() - int(_PATIENCE_SECONDS * _SECOND)
    wrong = []
    for what, note in NOTES.items(runtime.store):
        if note.since <= limit:
            wrong.append(_wrong(f"labelling: {what}", note.since, note.reason))
    stuck = [one.since for one in troubles_in(runtime.store) if one.since <= limit]
    if stuck:
        found = f"tasks of {len(stuck)} models cannot be sent; `davy doctor` names them"
        wrong.append(_wrong("labelling: models", min(stuck), found))
    return wrong or [Check("labelling", "ok", "nothing stuck on the way to the labelling tool")]


def label_studio(runtime: Runtime) -> list[Check]:
    """Ask the Label Studio of the settings, when there is one, also while nothing waits for it."""
    settings = runtime.settings.labelstudio
    if not settings.url:
        return []
    try:
        from davy_miner.labelstudio.client import SdkTool

        tool = SdkTool(settings.url, settings.api_key, timeout=min(settings.timeout_seconds, _ASKED_SECONDS))
        try:
            projects = tool.projects("davy")
        finally:
            tool.close()
    except DavyError as error:
        return [Check("Label Studio", "wrong", settings.url, f"{error.field}: {error.remedy}")]
    return [Check("Label Studio", "ok", f"{settings.url}, {len(projects)} projects of Davy's")]


def _wrong(what: str, since: int, reason: str) -> Check:
    at = f"{datetime.fromtimestamp(since // _SECOND, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return Check(what, "wrong", f"since {at}: {reason}", _REMEDY)
