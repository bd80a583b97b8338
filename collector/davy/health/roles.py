"""Which roles get on: of this process by its own pulse, of others by what their processes tell in the store."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import entry_points, version
from typing import Any, Final

from davy.codec import dump_any, load_any
from davy.config import Settings
from davy.console import age
from davy.errors import StoreError
from davy.health.check import Check
from davy.health.places import PROBE_SECONDS
from davy.health.progress import STUCK_SECONDS, Progress
from davy.log import Partition, Waiting
from davy.runtime import Runtime
from davy.store import Batch, Store

COLLECTION: Final = "heartbeats"
ALIVE_SECONDS: Final = 15.0
"""A process tells of its roles three times in this time."""
_KEPT_SECONDS: Final = 3600.0
_SECOND: Final = 10**9
_LOOK: Final = "its log and davy_role_errors_total say why; start it again if it does nothing at all"
_BLIND: Final = "mend the log or the way to it first; roles go on by themselves"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a process tells of a role: when, up to when the role got something done, and when its position moved.

    `holds` are the partitions it handles, `error` how the role failed last, `troubles` what the process lacks itself,
    each with what it is, what was found and what to do. Times are nanoseconds since the epoch; a position that stands
    at the end of the log moves all the time. A process of an older Davy tells less.
    """

    role: str
    process: str
    topics: tuple[str, ...]
    at: int
    done_at: int
    moved_at: int
    troubles: tuple[tuple[str, str, str], ...] = ()
    host: str = ""
    pid: int | None = None
    version: str = ""
    begun_at: int | None = None
    holds: tuple[Partition, ...] = ()
    error: str = ""
    failed_at: int | None = None


def heartbeats(store: Store) -> list[Heartbeat]:
    """Return what processes told, also those that are gone, by role."""
    return [_beat(key, load_any(data)) for key, data in store.items(COLLECTION)]


class Heart:
    """Writes what the roles of this process do to the store.

    Parameters
    ----------
    runtime
        Store, clock and pulse.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._host = socket.gethostname()[:40]
        self._process = f"{self._host}-{os.getpid()}-{secrets.token_hex(3)}"

    def beat(self, followed: Mapping[str, Progress], troubles: Sequence[Check] = ()) -> None:
        """Write what every role does and what the process lacks; drop what those that are gone told an hour ago.

        Raises
        ------
        StoreError
            The store refuses.
        """
        now, batch = self._runtime.clock(), Batch()
        vitals = self._runtime.pulse.vitals()
        for role, progress in followed.items():
            still, known = max(progress.stands().values(), default=0.0), vitals[role]
            told = {
                "v": 1,
                "topics": progress.topics,
                "at": now,
                "done_at": now - int(known.silence * _SECOND),
                "moved_at": now - int(still * _SECOND),
                "troubles": [(check.what, check.found, check.remedy) for check in troubles],
                "host": self._host,
                "pid": os.getpid(),
                "version": version("davy"),
                "begun_at": now - int(known.age * _SECOND),
                "holds": known.holds,
                "error": known.error,
                "failed_at": None if known.failed is None else now - int(known.failed * _SECOND),
            }
            batch.put(COLLECTION, f"{role}/{self._process}", dump_any(told))
        for one in heartbeats(self._runtime.store):
            if not within(one, now, _KEPT_SECONDS):
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
    found = []
    for role, progress in followed.items():
        still = max(progress.stands().values(), default=0.0)
        times = now - int(silence[role] * _SECOND), now - int(still * _SECOND)
        found.append(judged(role, progress.topics, 1, times, progress.waiting, now))
    return found


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


def judged(
    role: str, reads: Sequence[str], processes: int, times: tuple[int, int], waiting: Waiting | None, now: int
) -> Check:
    """Return what is to be said of a role that processes have: whether it gets on.

    Parameters
    ----------
    role, reads
        Which role, and the topics it reads.
    processes
        How many tell of it.
    times
        Up to when it got something done, and when its position moved, in nanoseconds since the epoch.
    waiting
        What it has yet to read; None where that is not known.
    now
        Nanoseconds since the epoch.
    """
    what, unread = f"role {role}", _unread(reads, waiting, now)
    done_at, moved_at = times
    limit = now - int(STUCK_SECONDS * _SECOND)
    if done_at < limit:
        return Check(what, "wrong", f"has got nothing done since {_time(done_at)}{unread}", _LOOK)
    if moved_at < limit:
        return Check(what, "wrong", f"stuck since {_time(moved_at)}{unread}", _LOOK)
    found = f"{'1 process' if processes == 1 else f'{processes} processes'}{unread}"
    blind = reads and waiting is None
    return Check(what, "warning", found, _BLIND) if blind else Check(what, "ok", found)


def missed(
    role: str,
    reads: Sequence[str],
    told: Sequence[Heartbeat],
    waiting: Waiting | None,
    now: int,
    *,
    heard: bool,
) -> Check:
    """Return what is to be said of a role that no process tells of; `heard` says whether the store would take it.

    `told` is what those told that are gone; all else as for `judged`.
    """
    what, unread = f"role {role}", _unread(reads, waiting, now)
    last = max((one.at for one in told), default=None)
    since = "" if last is None else f" since {_time(last)}"
    if not heard:
        found = f"nothing was heard of it{since}{unread}: the store cannot be written"
        return Check(what, "warning", found, "mend the store or its disk first; roles go on by themselves")
    remedy = f"start it: `davy up`, or `davy run {role}`"
    due = bool(waiting and waiting.records) if reads else bool(told)
    return Check(what, "wrong" if due else "warning", f"runs in no process{since}{unread}", remedy)


def lacking(alive: Iterable[Heartbeat]) -> Iterator[Check]:
    """Return what processes lack themselves, each once however many roles it has."""
    for process, troubles in sorted({(one.process, one.troubles) for one in alive}):
        for what, found, remedy in troubles:
            yield Check(f"{what} of {process}", "wrong", found, remedy)


def writable(runtime: Runtime) -> bool:
    """Whether the store takes what processes tell: else nobody is heard, whoever runs."""
    try:
        runtime.store.probe(PROBE_SECONDS)
    except StoreError:
        return False
    return True


def within(one: Heartbeat, now: int, seconds: float) -> bool:
    """Whether something was told at most so long ago; in the future, it was told before the clock was set back."""
    return abs(now - one.at) <= seconds * _SECOND


def _unread(reads: Sequence[str], waiting: Waiting | None, now: int) -> str:
    if not reads:
        return ""
    if waiting is None:
        return ", how much is unread is not known: the log does not answer"
    since = waiting.since if waiting.records else None
    oldest = "" if since is None else f", the oldest for {age(max(0.0, (now - since) / _SECOND))}"
    return f", {waiting.records:,} records unread{oldest}"


def _beat(key: str, told: Any) -> Heartbeat:
    role, _, process = key.partition("/")
    return Heartbeat(
        role=role,
        process=process,
        topics=tuple(told["topics"]),
        at=told["at"],
        done_at=told["done_at"],
        moved_at=told["moved_at"],
        troubles=tuple((what, found, remedy) for what, found, remedy in told.get("troubles", ())),
        host=told.get("host", ""),
        pid=told.get("pid"),
        version=told.get("version", ""),
        begun_at=told.get("begun_at"),
        holds=tuple((topic, number) for topic, number in told.get("holds", ())),
        error=told.get("error", ""),
        failed_at=told.get("failed_at"),
    )


def _time(at: int) -> str:
    return f"{datetime.fromtimestamp(at // _SECOND, UTC):%Y-%m-%d %H:%M:%S} UTC"
