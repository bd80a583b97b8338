"""Which roles get on: of this process by its own pulse, of others by what their processes tell in the store."""

from __future__ import annotations

import os
import secrets
import socket
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import entry_points
from typing import Any, Final

from davy.codec import dump_any, load_any
from davy.config import Settings
from davy.errors import StoreError
from davy.health.check import Check
from davy.health.places import PROBE_SECONDS
from davy.health.progress import STUCK_SECONDS, Progress
from davy.runtime import Runtime
from davy.store import Batch

COLLECTION: Final = "heartbeats"
ALIVE_SECONDS: Final = 15.0
"""A process tells of its roles three times in this time."""
_KEPT_SECONDS: Final = 3600.0
_SECOND: Final = 10**9
_LOOK: Final = "its log and davy_role_errors_total say why; start it again if it does nothing at all"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a process tells of a role: when, up to when the role got something done, and when its position moved.

    `troubles` are what the process lacks itself, each with what it is, what was found and what to do. Times are
    nanoseconds since the epoch; a position that stands at the end of the log moves all the time.
    """

    role: str
    process: str
    topics: tuple[str, ...]
    at: int
    done_at: int
    moved_at: int
    troubles: tuple[tuple[str, str, str], ...] = ()


def heartbeats(runtime: Runtime) -> list[Heartbeat]:
    """Return what processes told, also those that are gone, by role."""
    return [_beat(key, load_any(data)) for key, data in runtime.store.items(COLLECTION)]


class Heart:
    """Tells of the roles of this process in the store.

    Parameters
    ----------
    runtime
        Store, clock and pulse.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._process = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"

    def beat(self, followed: Mapping[str, Progress], troubles: Sequence[Check] = ()) -> None:
        """Tell of every role and of what the process lacks; drop what those that are gone told an hour ago.

        Raises
        ------
        StoreError
            The store refuses.
        """
        now, batch = self._runtime.clock(), Batch()
        silence = self._runtime.pulse.silence()
        for role, progress in followed.items():
            still = max(progress.stands().values(), default=0.0)
            told = {
                "v": 1,
                "topics": progress.topics,
                "at": now,
                "done_at": now - int(silence[role] * _SECOND),
                "moved_at": now - int(still * _SECOND),
                "troubles": [(check.what, check.found, check.remedy) for check in troubles],
            }
            batch.put(COLLECTION, f"{role}/{self._process}", dump_any(told))
        for one in heartbeats(self._runtime):
            if not _within(one, now, _KEPT_SECONDS):
                batch.delete(COLLECTION, f"{one.role}/{one.process}")
        self._runtime.store.apply(batch)

    def stop(self) -> None:
        """Take back what was told: this process is about to end."""
        batch = Batch()
        for role in self._runtime.pulse.reads:
            batch.delete(COLLECTION, f"{role}/{self._process}")
        self._runtime.store.apply(batch)


def own_checks(runtime: Runtime, followed: Mapping[str, Progress]) -> list[Check]:
    """Return what is to be said of the roles of this process."""
    silence, now = runtime.pulse.silence(), runtime.clock()
    return [
        _found(
            role,
            1,
            progress,
            now - int(silence[role] * _SECOND),
            now - int(max(progress.stands().values(), default=0.0) * _SECOND),
            now,
        )
        for role, progress in followed.items()
    ]


def expected_roles(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return the roles that `davy up` starts with these settings, with what each reads of the log, if anything."""
    found = {}
    for point in entry_points(group="davy.targets"):
        try:
            target = point.load()
        except ImportError:
            continue
        if target.wanted(settings):
            found[point.name] = tuple(target.reads)
    return found


def told_checks(
    runtime: Runtime, expected: Mapping[str, tuple[str, ...]], *, but: Collection[str] = ()
) -> Iterator[Check]:
    """Return what is to be said of roles by what processes tell, without those named in `but`.

    A role that is `expected`, with the topics it reads, is missed where nobody tells of it. Of one that reads none
    it is wrong that its last process ended without a farewell, for nothing unread would show it.

    Raises
    ------
    DavyError
        Log or store do not answer.
    """
    now, writable = runtime.clock(), cache(partial(_writable, runtime))
    told: defaultdict[str, list[Heartbeat]] = defaultdict(list)
    for one in heartbeats(runtime):
        told[one.role].append(one)
    topics = {**{role: beats[0].topics for role, beats in told.items()}, **expected}
    for role, reads in sorted(topics.items()):
        if role in but:
            continue
        progress = Progress(runtime, role, reads)
        progress.look()
        alive = [one for one in told[role] if _within(one, now, ALIVE_SECONDS)]
        if alive:
            done, moved = max(one.done_at for one in alive), max(one.moved_at for one in alive)
            yield _found(role, len(alive), progress, done, moved, now)
        elif not writable():
            yield _unheard(role, told[role], progress)
        else:
            yield _absent(role, told[role], progress)
    yield from _lacking(
        one for role in told.keys() - set(but) for one in told[role] if _within(one, now, ALIVE_SECONDS)
    )


def _found(role: str, processes: int, progress: Progress, done_at: int, moved_at: int, now: int) -> Check:
    what, unread = f"role {role}", _unread(progress)
    limit = now - int(STUCK_SECONDS * _SECOND)
    if done_at < limit:
        return Check(what, "wrong", f"has got nothing done since {_time(done_at)}{unread}", _LOOK)
    if moved_at < limit:
        return Check(what, "wrong", f"stuck since {_time(moved_at)}{unread}", _LOOK)
    shown = "1 process" if processes == 1 else f"{processes} processes"
    return Check(what, "ok", f"{shown}{unread}")


def _lacking(alive: Iterable[Heartbeat]) -> Iterator[Check]:
    """Return what processes lack themselves, each once however many roles it has."""
    for process, troubles in sorted({(one.process, one.troubles) for one in alive}):
        for what, found, remedy in troubles:
            yield Check(f"{what} of {process}", "wrong", found, remedy)


def _absent(role: str, told: list[Heartbeat], progress: Progress) -> Check:
    last = max((one.at for one in told), default=None)
    since = "" if last is None else f" since {_time(last)}"
    found = f"runs in no process{since}{_unread(progress)}"
    remedy = f"start it: `davy up`, or `davy run {role}`"
    missed = progress.waiting.records if progress.topics else told
    return Check(f"role {role}", "wrong" if missed else "warning", found, remedy)


def _unread(progress: Progress) -> str:
    return f", {progress.waiting.records:,} records unread" if progress.topics else ""


def _writable(runtime: Runtime) -> bool:
    """Whether the store takes what processes tell: else nobody is heard, whoever runs."""
    try:
        runtime.store.probe(PROBE_SECONDS)
    except StoreError:
        return False
    return True


def _unheard(role: str, told: list[Heartbeat], progress: Progress) -> Check:
    last = max((one.at for one in told), default=None)
    since = "" if last is None else f" since {_time(last)}"
    found = f"nothing was heard of it{since}{_unread(progress)}: the store cannot be written"
    return Check(
        f"role {role}", "warning", found, "mend the store or its disk first; roles go on by themselves"
    )


def _within(one: Heartbeat, now: int, seconds: float) -> bool:
    """Whether something was told at most so long ago; in the future, it was told before the clock was set back."""
    return abs(now - one.at) <= seconds * _SECOND


def _beat(key: str, told: Any) -> Heartbeat:
    role, _, process = key.partition("/")
    troubles = tuple((what, found, remedy) for what, found, remedy in told.get("troubles", ()))
    topics, at = tuple(told["topics"]), told["at"]
    return Heartbeat(role, process, topics, at, told["done_at"], told["moved_at"], troubles)


def _time(at: int) -> str:
    return f"{datetime.fromtimestamp(at // _SECOND, UTC):%Y-%m-%d %H:%M:%S} UTC"
