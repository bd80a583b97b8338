"""Who works on what: one reading of store and log, which `davy status`, `davy doctor`, ``/readyz`` and the page show.

Processes tell in the store of their roles; positions lie there too, and the log says how far it goes. What does not
answer hides only what it alone knows: each role is told with what is known and what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from operator import attrgetter
from time import monotonic
from typing import Any, Final, TypeAlias

from davy._urls import without_password
from davy.consume import StoredPosition, offset_in, stored_places
from davy.event import TOPICS
from davy.health.asking import Late, at_once, in_turn
from davy.health.check import Check, State, trouble
from davy.health.places import log_checks, store_checks
from davy.health.roles import ALIVE_SECONDS, Heartbeat, heartbeats, judged, lacking, missed, within, writable
from davy.log import Log, Partition, Position, Waiting
from davy.runtime import Runtime
from davy.store import Store

_SECOND: Final = 10**9
_Questions: TypeAlias = Mapping[str, Callable[[], Any]]
_Ask: TypeAlias = Callable[[_Questions], dict[str, Any]]
_LOOK_OVER_SHARE: Final = 0.3
_PROBE_SHARE: Final = 0.5
"""Of the time there is, so that what cannot be written says why before it is over."""
_FAILED: Final = attrgetter("failed")
_STATES: Final[tuple[State, ...]] = ("wrong", "warning", "ok")


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """A process that tells, or told within the last hour, of a role; lengths of time are seconds.

    `up` is how long it has the role, `silent` how long it has got nothing done, `told` how long ago it was heard of;
    `holds` are the partitions that it handles, as ``topic/number``. `error` is how the role failed there last,
    `failed` how long ago. `alive` is None where it cannot be known, because the store takes nothing.
    """

    process: str
    host: str
    pid: int | None
    version: str
    alive: bool | None
    up: float | None
    told: float
    silent: float
    holds: Sequence[str] = ()
    error: str = ""
    failed: float | None = None


@dataclass(frozen=True, slots=True)
class PlaceStatus:
    """Where a role is in a partition: None is what is not known.

    `position` is the next offset it will handle, `end` that of the next record to be appended, `unread` the records in
    between, `behind` the seconds for which the oldest of them has waited, `process` who handles it, if anybody.
    """

    topic: str
    partition: int
    position: int | None
    end: int | None
    unread: int | None
    behind: float | None
    process: str


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """A role: whether it gets on, who has it, and where it is in what it reads.

    `unread` and `behind` are over all partitions, None where they are not known or it reads nothing; `silent` is the
    least of the processes that are alive, `error` the newest there is, `failed` the seconds since.
    """

    role: str
    state: State
    found: str
    remedy: str
    reads: Sequence[str]
    unread: int | None
    behind: float | None
    silent: float | None
    error: str
    failed: float | None
    processes: Sequence[ProcessStatus] = ()
    places: Sequence[PlaceStatus] = ()

    def check(self) -> Check:
        """Return it as a finding."""
        return Check(f"role {self.role}", self.state, self.found, self.remedy)


@dataclass(frozen=True, slots=True)
class Status:
    """Everything, at a time in nanoseconds since the epoch.

    `lacks` is what processes lack themselves, `files` what was seen of the SQLite files of log and store.
    """

    at: int
    log: Check
    store: Check
    roles: Sequence[RoleStatus]
    lacks: Sequence[Check] = ()
    files: Sequence[Check] = ()

    def places(self) -> list[Check]:
        """Return what is said of log and store and of their files."""
        return [self.log, self.store, *self.files]

    def checks(self, *, but: Collection[str] = ()) -> list[Check]:
        """Return what is said of roles, without those named in `but`, and of what processes lack."""
        return [*(one.check() for one in self.roles if one.role not in but), *self.lacks]

    @property
    def state(self) -> State:
        """The worst there is."""
        found = {check.state for check in (*self.places(), *self.checks())}
        return next(state for state in _STATES if state in found)

    def shown(self) -> dict[str, Any]:
        """Return it as JSON shows it, without passwords."""
        return {
            "at": self.at,
            "state": self.state,
            "log": self.log.shown(),
            "store": self.store.shown(),
            "files": [check.shown() for check in self.files],
            "roles": [{**asdict(one), "found": without_password(one.found)} for one in self.roles],
            "lacks": [check.shown() for check in self.lacks],
        }


def read_status(
    runtime: Runtime, expected: Mapping[str, Sequence[str]], *, seconds: float | None = None
) -> Status:
    """Ask store and log, whether they can be written, and then for how long what is unread has waited.

    Parameters
    ----------
    runtime
        Store, log and clock.
    expected
        Roles that should run, with the topics they read.
    seconds
        How long to wait for all of it. None is for whoever looks log and store over himself: they are asked only, and
        for as long as they take.
    """
    now = runtime.clock()
    topics = dict.fromkeys((*TOPICS, *(topic for reads in expected.values() for topic in reads)))
    ask, writing = _asking(seconds), _writing(runtime, seconds)
    answers = ask(
        {"store": partial(_told, runtime.store), "log": partial(_held, runtime.log, topics), **writing}
    )
    told, held = answers["store"], answers["log"]
    log, *files = _rows("log", runtime.log.url, held, answers.get("log written", ()))
    store, *more = _rows("store", runtime.store.url, told, answers.get("store written", ()))
    known = _Known(
        now, told if isinstance(told, _Told) else None, held if isinstance(held, _Held) else None, expected
    )
    heard = False
    if known.told:
        takes = (lambda: store.state == "ok") if writing else (lambda: known.all_alive or writable(runtime))
        answers = ask({"since": partial(known.since, runtime.log), "heard": takes})
        known.oldest = answers["since"] if isinstance(answers["since"], dict) else {}
        heard = answers["heard"] is True
    return Status(
        at=now,
        log=log,
        store=store,
        roles=[known.role(role, heard=heard) for role in sorted(known.reads)],
        lacks=list(lacking(known.alive)),
        files=[*files, *more],
    )


def told_checks(
    runtime: Runtime, expected: Mapping[str, Sequence[str]], *, but: Collection[str] = ()
) -> list[Check]:
    """Return what is to be said of roles, without those named in `but`, by what processes tell.

    A role that is `expected`, with the topics it reads, is missed where nobody tells of it. Of one that reads none
    it is wrong that its last process ended without a farewell, for nothing unread would show it. Where log or store do
    not answer, that is all that is said.
    """
    status = read_status(runtime, expected)
    silent = [replace(check, what="others") for check in (status.store, status.log) if check.state != "ok"]
    return silent[:1] or status.checks(but=but)


@dataclass(frozen=True, slots=True)
class _Told:
    """What the store says."""

    beats: Sequence[Heartbeat]
    places: Mapping[tuple[str, Partition], Sequence[StoredPosition]]


@dataclass(frozen=True, slots=True)
class _Held:
    """What the log says of topics: where they begin and end, and what they are called."""

    starts: Position
    ends: Position
    names: Mapping[str, str]

    def joined(self, other: _Held) -> _Held:
        """Return what both say."""
        return _Held(
            {**self.starts, **other.starts}, {**self.ends, **other.ends}, {**self.names, **other.names}
        )


def _told(store: Store) -> _Told:
    return _Told(heartbeats(store), stored_places(store))


def _held(log: Log, topics: Collection[str]) -> _Held:
    starts: dict[Partition, int] = {}
    ends: dict[Partition, int] = {}
    for topic in topics:
        starts.update(log.start(topic))
        ends.update(log.end(topic))
    return _Held(starts, ends, {topic: log.identity(topic) for topic in topics})


def _asking(seconds: float | None) -> _Ask:
    """Return what asks: in turn, or at once such that all questions together take so long at most."""
    if seconds is None:
        return in_turn
    deadline = monotonic() + seconds
    return lambda questions: at_once(questions, round(max(0.0, deadline - monotonic()), 1))


def _writing(runtime: Runtime, seconds: float | None) -> _Questions:
    """Return what to ask about writing to log and store: nothing where somebody else does."""
    if seconds is None:
        return {}
    times = seconds * _LOOK_OVER_SHARE, seconds * _PROBE_SHARE
    return {
        "log written": partial(log_checks, runtime, *times),
        "store written": partial(store_checks, runtime, *times),
    }


def _rows(what: str, url: str, read: object, written: Sequence[Check] | Exception) -> list[Check]:
    """Return what is said of log or store, and of its file: what cannot be written or read is wrong."""
    if isinstance(written, Exception):
        return [_refused(what, url, written)]
    row, *files = written or [Check(what, "ok", f"{url} answers")]
    if row.state == "ok" and isinstance(read, Exception):
        row = _refused(what, url, read)
    return [row, *files]


def _refused(what: str, url: str, error: Exception) -> Check:
    check = trouble(what, error)
    return replace(check, found=f"{url}: {check.found}") if isinstance(error, Late) else check


class _Known:
    """What store and log said; either may have said nothing."""

    def __init__(
        self, now: int, told: _Told | None, held: _Held | None, expected: Mapping[str, Sequence[str]]
    ) -> None:
        self.now, self.told, self.held = now, told, held
        self.beats: Sequence[Heartbeat] = told.beats if told else ()
        self.alive = [one for one in self.beats if within(one, now, ALIVE_SECONDS)]
        self.reads: dict[str, tuple[str, ...]] = {one.role: one.topics for one in self.beats}
        self.reads |= {role: tuple(topics) for role, topics in expected.items()}
        self.oldest: Mapping[tuple[Partition, int], int | None] = {}
        """When the first record from an offset on was appended."""

    @property
    def all_alive(self) -> bool:
        """Whether every role is told of."""
        return self.reads.keys() <= {one.role for one in self.alive}

    def since(self, log: Log) -> dict[tuple[Partition, int], int | None]:
        """Ask the log since when what each role has yet to read has waited."""
        if self.held is None:
            return {}
        read = {topic for topics in self.reads.values() for topic in topics}
        self.held = self.held.joined(
            _held(log, read - self.held.names.keys())
        )  # of roles nobody expects here
        found: dict[tuple[Partition, int], int | None] = {}
        for role in self.reads:
            for place in self._places(role):
                offset, end = self._offset(role, place), self._end(place)
                if offset is not None and end is not None and offset < end and (place, offset) not in found:
                    found[place, offset] = log.waiting({place: offset}).since
        return found

    def role(self, role: str, *, heard: bool) -> RoleStatus:
        """Say all that is known of a role; `heard` says whether the store takes what processes tell."""
        told = sorted((one for one in self.beats if one.role == role), key=lambda one: one.at, reverse=True)
        alive = [one for one in told if one in self.alive]
        places = [self._place(role, place, alive) for place in self._places(role)]
        waiting = self._waiting(role, places)
        check = self._check(role, told, alive, waiting, heard=heard)
        gone = False if heard else None
        processes = [self._process(one, alive=True if one in alive else gone) for one in told]
        last = min((one for one in processes if one.failed is not None), key=_FAILED, default=None)
        return RoleStatus(
            role=role,
            state=check.state,
            found=check.found,
            remedy=check.remedy,
            reads=self.reads[role],
            unread=waiting.records if waiting else None,
            behind=self._behind(waiting) if waiting else None,
            silent=min((one.silent for one in processes if one.alive), default=None),
            error=last.error if last else "",
            failed=last.failed if last else None,
            processes=processes,
            places=places,
        )

    def _check(
        self,
        role: str,
        told: Sequence[Heartbeat],
        alive: Sequence[Heartbeat],
        waiting: Waiting | None,
        *,
        heard: bool,
    ) -> Check:
        if self.told is None:
            remedy = "mend the store or the way to it first; roles go on by themselves"
            return Check(f"role {role}", "warning", "not known: the store cannot be read", remedy)
        if not alive:
            return missed(role, self.reads[role], told, waiting, self.now, heard=heard)
        done, moved = max(one.done_at for one in alive), max(one.moved_at for one in alive)
        return judged(role, self.reads[role], len(alive), (done, moved), waiting, self.now)

    def _places(self, role: str) -> list[Partition]:
        topics = self.reads[role]
        if self.held is not None:
            return sorted(place for place in self.held.ends if place[0] in topics)
        kept = self.told.places if self.told else ()
        return sorted(place for name, place in kept if name == role)

    def _offset(self, role: str, place: Partition) -> int | None:
        """Return where a role is, as far as that is known: in this log, or in the one it read last."""
        if self.told is None:
            return None
        places = self.told.places.get((role, place), ())
        if self.held is None:
            return places[0].offset if places else None
        return max(self.held.starts.get(place, 0), offset_in(self.held.names[place[0]], places))

    def _end(self, place: Partition) -> int | None:
        return None if self.held is None else self.held.ends.get(place)

    def _place(self, role: str, place: Partition, alive: Sequence[Heartbeat]) -> PlaceStatus:
        offset, end = self._offset(role, place), self._end(place)
        unread = None if offset is None or end is None else max(0, end - offset)
        since = self.oldest.get((place, offset)) if offset is not None else None
        behind = 0.0 if unread == 0 else None if since is None else max(0.0, (self.now - since) / _SECOND)
        process = next((one.process for one in alive if place in one.holds), "")
        return PlaceStatus(*place, offset, end, unread, behind, process)

    def _waiting(self, role: str, places: Sequence[PlaceStatus]) -> Waiting | None:
        """Sum up what is unread, None where that is not known, or the role reads nothing."""
        if not self.reads[role] or self.told is None or self.held is None:
            return None
        since = [
            self.oldest.get(((one.topic, one.partition), one.position or 0)) for one in places if one.unread
        ]
        return Waiting(sum(one.unread or 0 for one in places), min(filter(None, since), default=None))

    def _behind(self, waiting: Waiting) -> float | None:
        if not waiting.records:
            return 0.0
        return None if waiting.since is None else max(0.0, (self.now - waiting.since) / _SECOND)

    def _process(self, one: Heartbeat, *, alive: bool | None) -> ProcessStatus:
        return ProcessStatus(
            process=one.process,
            host=one.host,
            pid=one.pid,
            version=one.version,
            alive=alive,
            up=self._age(one.begun_at),
            told=(self.now - one.at) / _SECOND,
            silent=max(0.0, (self.now - one.done_at) / _SECOND),
            holds=[f"{topic}/{number}" for topic, number in one.holds],
            error=one.error,
            failed=self._age(one.failed_at),
        )

    def _age(self, at: int | None) -> float | None:
        return None if at is None else max(0.0, (self.now - at) / _SECOND)
