"""What the page shows, read from the store and the log."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from davy.codec import load_any
from davy.event import TOPICS, dead_letters
from davy.log import Position
from davy.runtime import Runtime
from davy_dashboards.web._format import finite
from davy_dashboards.web._queue import Queue, read_queue

_SECOND: Final = 1_000_000_000
_FRESH_SECONDS: Final = 1.0
_COST_SHARE: Final = 0.05
_CLOSED_SHOWN: Final = 5
State = Literal["drifting", "blind", "no reference", "healthy"]
_STATES: Final[tuple[State, ...]] = get_args(State)


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

    `sent` is `events`, stored, and all of `dropped`, counted by reason. `rate` is inferences a second between the
    last two looks, `silent` the seconds since anything arrived, `evidence` that for drift over the alarm threshold.
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


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """A role and how many log records it has yet to read."""

    role: str
    lag: int


@dataclass(frozen=True, slots=True)
class Status:
    """Everything on the page."""

    at: int
    models: Sequence[ModelStatus]
    incidents: Sequence[IncidentStatus]
    queue: Queue
    roles: Sequence[RoleStatus]
    dead_letters: Mapping[str, int]
    labelstudio: str

    @property
    def verdict(self) -> str:
        """The page in a sentence."""
        states = Counter(model.state for model in self.models)
        if not states:
            return "Nothing has been sent yet"
        if states["healthy"] == len(self.models):
            return f"{_models(len(self.models))} healthy"
        parts = [f"{_models(states[s])} {s}" for s in _STATES[:-1] if states[s]]
        return ", ".join(part.replace("no reference", "without a reference") for part in parts)

    @property
    def worst(self) -> State:
        """The state that deserves attention first."""
        return min((model.state for model in self.models), key=_STATES.index, default="healthy")


class StatusReader:
    """Reads the status, at most once a second and never for more than a twentieth of the time.

    Counting candidates reads all of them; with a large pool on a slow disk the page grows older instead of
    keeping the store busy.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._status: Status | None = None
        self._fresh_until = 0.0
        self._seen: dict[str, tuple[int, int]] = {}

    def read(self) -> Status:
        """Give the status; the one read before while that is fresh."""
        with self._lock:
            begun = time.perf_counter()
            if self._status is None or begun >= self._fresh_until:
                self._status = self._read()
                took = time.perf_counter() - begun
                self._fresh_until = begun + max(_FRESH_SECONDS, took / _COST_SHARE)
            return self._status

    def _read(self) -> Status:
        now, store = self._runtime.clock(), self._runtime.store
        labelstudio = self._runtime.settings.labelstudio
        incidents = [_incident(load_any(data), now) for _, data in store.items("incidents")]
        return Status(
            at=now,
            models=self._models(now, incidents),
            incidents=_shown(incidents),
            queue=read_queue(store),
            roles=self._roles(),
            dead_letters=self._dead_letters(),
            labelstudio=_web_address(labelstudio.public_url or labelstudio.url),
        )

    def _models(self, now: int, incidents: Sequence[IncidentStatus]) -> list[ModelStatus]:
        store = self._runtime.store
        states = {model: load_any(data) for model, data in store.items("detect")}
        references = {model for model, _ in store.items("references")}
        opened = Counter(incident.model for incident in incidents if incident.open)
        models = []
        for name in sorted(states.keys() | references | opened.keys()):
            state = states.get(name, {})
            known = bool(state.get("reference")) or name in references
            models.append(self._model(name, state, known, opened[name], now))
        return sorted(models, key=lambda model: _STATES.index(model.state))

    def _model(self, name: str, state: Mapping[str, Any], known: bool, opened: int, now: int) -> ModelStatus:
        events, dropped = int(state.get("events", 0)), dict(state.get("dropped") or {})
        last_at = state.get("last_at") or None
        heard_at = state.get("heard_at") or last_at
        silent = None if heard_at is None else max(0.0, (now - heard_at) / _SECOND)
        return ModelStatus(
            model=name,
            state=self._state(silent, known, opened),
            events=events,
            dropped=dropped,
            sent=events + sum(dropped.values()),
            rate=self._rate(name, events, now),
            last_at=last_at,
            silent=silent,
            reference=known,
            evidence=_number(state.get("ratio")),
            open_incidents=opened,
        )

    def _state(self, silent: float | None, known: bool, opened: int) -> State:
        if opened:
            return "drifting"
        if silent is None or silent > self._runtime.settings.detect.blind_seconds:
            return "blind"
        return "healthy" if known else "no reference"

    def _rate(self, name: str, events: int, now: int) -> float | None:
        before = self._seen.get(name)
        self._seen[name] = (now, events)
        if before is None or now <= before[0] or events < before[1]:
            return None
        return (events - before[1]) * _SECOND / (now - before[0])

    def _roles(self) -> list[RoleStatus]:
        log = self._runtime.log
        ranges: dict[str, tuple[Position, Position]] = {}
        lags: Counter[str] = Counter()
        for key, data in self._runtime.store.items("positions"):
            role, topic, partition = key.rsplit("/", 2)
            if topic not in ranges:
                ranges[topic] = log.start(topic), log.end(topic)
            start, end = (found.get((topic, int(partition)), 0) for found in ranges[topic])
            lags[role] += max(0, end - max(start, load_any(data)))
        return [RoleStatus(role, lag) for role, lag in sorted(lags.items())]

    def _dead_letters(self) -> dict[str, int]:
        found = {}
        for topic in map(dead_letters, TOPICS):
            start, end = self._runtime.log.start(topic), self._runtime.log.end(topic)
            if kept := sum(offset - start.get(place, 0) for place, offset in end.items()):
                found[topic] = kept
        return found


def _incident(stored: Mapping[str, Any], now: int) -> IncidentStatus:
    onset = stored.get("onset_at") or None
    return IncidentStatus(
        id=str(stored["id"]),
        model=str(stored["model"]),
        cause=str(stored["cause"]),
        open=stored.get("state") != "resolved",
        onset_at=onset,
        onset_event=stored.get("onset_event"),
        resolved_at=stored.get("resolved_at") or None,
        age=None if onset is None else max(0.0, (now - onset) / _SECOND),
        size=_number(stored.get("size")),
        samples=len(stored.get("samples") or ()),
        features=[_guilty(feature) for feature in stored.get("features") or ()],
    )


def _guilty(stored: Mapping[str, Any]) -> Guilty:
    return Guilty(
        feature=str(stored["feature"]),
        change=str(stored["change"]),
        reference=_number(stored.get("reference")),
        current=_number(stored.get("current")),
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
