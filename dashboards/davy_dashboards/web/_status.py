"""What the page shows, read from the store and the log, and what is wrong with Davy itself."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from davy.errors import DavyError
from davy.event import INFERENCES, TOPICS, Evidence, dead_letters
from davy.fields.losses import read_loss
from davy.health import Health
from davy.health.progress import read_through
from davy.health.roles import expected_roles
from davy.health.status import RoleStatus, read_status
from davy.runtime import Runtime
from davy_dashboards.web._format import finite
from davy_detectors.incidents.incident import INCIDENTS, RESOLVED, Incident
from davy_detectors.models.known import STATES, KnownModel, State, Unlisted, known_models, unlisted
from davy_miner.queue import Queue, QueueReader

_SECOND: Final = 1_000_000_000
_FRESH_SECONDS: Final = 1.0
_COST_SHARE: Final = 0.05
_CLOSED_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Guilty:
    """A feature an incident names: where it moved, from which share of the traffic to which."""

    feature: str
    change: str
    reference: float | None
    current: float | None


@dataclass(frozen=True, slots=True)
class IncidentStatus:
    """An incident; `age` is the seconds since its onset, `size` how much of the traffic has moved."""

    id: str
    model: str
    cause: str
    open: bool
    onset_at: int | None
    onset_event: int | None
    resolved_at: int | None
    age: float | None
    size: float | None
    samples: int
    features: Sequence[Guilty]


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model; those that need attention come first.

    `sent` is `events`, stored, and all of `dropped`, counted by reason. `rate` is inferences a second between the last
    two looks, `left_out` the values that could not travel by field and reason, `incomplete` the calls recorded in part
    or not understood by reason, `silent` the seconds since anything arrived, `reference` whether it is compared
    with one, `evidence` that for drift over the alarm threshold.
    """

    model: str
    state: State
    events: int
    dropped: Mapping[str, int]
    sent: int
    rate: float | None
    last_at: int | None
    silent: float | None
    reference: bool
    evidence: float | None
    open_incidents: int
    left_out: Mapping[str, int]
    incomplete: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Status:
    """Everything on the page.

    `roles` are those of `davy status`. `unlisted` are models that are counted together, for there are too many or they
    are retired. `findings` are those of ``/readyz``, the worst first: `what`, `state`, `found` and `remedy`.
    """

    at: int
    models: Sequence[ModelStatus]
    incidents: Sequence[IncidentStatus]
    queue: Queue
    roles: Sequence[RoleStatus]
    dead_letters: Mapping[str, int]
    labelstudio: str
    unlisted: Unlisted
    findings: Sequence[Mapping[str, Any]] = ()

    @property
    def verdict(self) -> str:
        """The page in a sentence: what is wrong with Davy comes before what it knows of models."""
        if not self.findings:
            return self._of_models
        first, more = self.findings[0], len(self.findings) - 1
        told = f"{first['what']} is {first['state']}" if self.wrong else f"Warning: {first['what']}"
        others = f" and {more} more" if more else ""
        return f"{told}{others}; {self._of_models}"

    @property
    def wrong(self) -> bool:
        """Whether something is wrong with Davy: what it knows of models may be old then."""
        return any(one["state"] == "wrong" for one in self.findings)

    @property
    def tone(self) -> str:
        """The state whose colour the headline has; that of a model that is well only while nothing is amiss."""
        if self.wrong:
            return "drifting"
        worst = self._worst
        return "blind" if self.findings and worst != "drifting" else worst if self.models else ""

    @property
    def _of_models(self) -> str:
        states = Counter(model.state for model in self.models)
        if not states:
            waiting = next((one.unread for one in self.roles if one.role == "detect"), None)
            return (
                f"Nothing was counted yet, {waiting:,} records wait"
                if waiting
                else "Nothing has been sent yet"
            )
        if states["healthy"] == len(self.models):
            return f"{_models(len(self.models))} healthy"
        return ", ".join(f"{_models(states[state])} {state}" for state in STATES[:-1] if states[state])

    @property
    def _worst(self) -> State:
        return min((model.state for model in self.models), key=STATES.index, default="healthy")


class StatusReader:
    """Reads the status, at most once a second and never for more than a twentieth of the time.

    Counting candidates reads all of them; with a large pool on a slow disk the page grows older instead of
    keeping the store busy. Findings are those of the moment.
    """

    def __init__(self, runtime: Runtime, health: Health) -> None:
        self._runtime = runtime
        self._health = health
        self._expected = expected_roles(runtime.settings)
        self._queue = QueueReader(runtime.store, runtime.settings.mine.last_word)
        self._lock = threading.Lock()
        self._status: Status | None = None
        self._fresh_until = 0.0
        self._seen: dict[str, tuple[int, int]] = {}

    def read(self) -> Status:
        """Return the status; the one read before while that is fresh, or while log and store do not answer.

        Raises
        ------
        DavyError
            Log or store do not answer, and nothing was read before or no check has found it out yet.
        """
        findings = [check.shown() for check in self._health.troubles()]
        with self._lock:
            begun = time.perf_counter()
            if self._status is None or begun >= self._fresh_until:
                try:
                    self._status = self._read()
                except DavyError:
                    if self._status is None or not findings:
                        raise
                took = time.perf_counter() - begun
                self._fresh_until = begun + max(_FRESH_SECONDS, took / _COST_SHARE)
            return replace(self._status, findings=findings)

    def _read(self) -> Status:
        now, store = self._runtime.clock(), self._runtime.store
        labelstudio = self._runtime.settings.labelstudio
        incidents = [_incident(one, now) for one in INCIDENTS.values(store)]
        return Status(
            at=now,
            models=self._models(now),
            incidents=_shown(incidents),
            queue=self._queue.read(),
            roles=read_status(self._runtime, self._expected).roles,
            dead_letters=self._dead_letters(),
            labelstudio=_web_address(labelstudio.public_url or labelstudio.url),
            unlisted=unlisted(store, now),
        )

    def _models(self, now: int) -> list[ModelStatus]:
        read_until = read_through(self._runtime, "detect", (INFERENCES,))
        found = known_models(self._runtime.store, self._runtime.settings.detect, read_until)
        return sorted((self._model(one, now) for one in found), key=lambda one: STATES.index(one.state))

    def _model(self, found: KnownModel, now: int) -> ModelStatus:
        totals = found.totals
        return ModelStatus(
            model=found.name,
            state=found.state,
            events=totals.events,
            dropped=dict(totals.dropped),
            sent=totals.events + totals.dropped.total(),
            rate=self._rate(found.name, totals.events, now),
            last_at=totals.last_at or None,
            silent=found.silent,
            reference=found.watched,
            evidence=_number(found.evidence),
            open_incidents=found.open_incidents,
            incomplete=dict(totals.incomplete),
            left_out={
                ": ".join(read_loss(each) or (each,)): count for each, count in totals.left_out.items()
            },
        )

    def _rate(self, name: str, events: int, now: int) -> float | None:
        before = self._seen.get(name)
        self._seen[name] = (now, events)
        if before is None or now <= before[0] or events < before[1]:
            return None
        return (events - before[1]) * _SECOND / (now - before[0])

    def _dead_letters(self) -> dict[str, int]:
        found = {}
        for topic in map(dead_letters, TOPICS):
            start, end = self._runtime.log.start(topic), self._runtime.log.end(topic)
            if kept := sum(offset - start.get(place, 0) for place, offset in end.items()):
                found[topic] = kept
        return found


def _incident(one: Incident, now: int) -> IncidentStatus:
    onset = one.onset_at or None
    return IncidentStatus(
        id=one.id,
        model=one.model,
        cause=one.cause,
        open=one.state != RESOLVED,
        onset_at=onset,
        onset_event=one.onset_event,
        resolved_at=one.resolved_at or None,
        age=None if onset is None else max(0.0, (now - onset) / _SECOND),
        size=_number(one.size),
        samples=len(one.samples),
        features=[_guilty(feature) for feature in one.features],
    )


def _guilty(one: Evidence) -> Guilty:
    return Guilty(
        feature=one.feature,
        change=one.change,
        reference=_number(one.reference),
        current=_number(one.current),
    )


def _shown(incidents: Sequence[IncidentStatus]) -> list[IncidentStatus]:
    newest = sorted(incidents, key=lambda incident: incident.onset_at or 0, reverse=True)
    closed = [incident for incident in newest if not incident.open]
    return [incident for incident in newest if incident.open] + closed[:_CLOSED_SHOWN]


def _models(count: int) -> str:
    return "1 model" if count == 1 else f"{count} models"


def _number(value: Any) -> float | None:
    return finite(float(value)) if isinstance(value, (int, float)) else None


def _web_address(url: str) -> str:
    return url if url.startswith(("http://", "https://")) else ""
