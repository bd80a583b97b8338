"""What the detect role knows about one model, and what it does with the model's inferences."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from davy import metrics
from davy.codec import dump, dump_any, load, load_any
from davy.errors import DecodeError
from davy.event import Envelope
from davy.log import Message, Record
from davy.store import Batch as Changes
from davy_detectors import _flags, alerts
from davy_detectors._episodes import Episodes, Outcome, Pursuit, Raised, Scene, Watching
from davy_detectors._references import References
from davy_detectors._shown import Shown
from davy_detectors._stretch import Stretch
from davy_detectors._trail import Trail
from davy_detectors.alerts import Incident
from davy_detectors.base import Floats, Monitor

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy.runtime import Runtime
    from davy_detectors.reference import Reference

COLLECTION: Final = "detect"
_VERSION: Final = 1
_REMEMBERED: Final = 1024
_FEATURES_SHOWN: Final = 50
_NOTABLE: Final = 0.1
_logger = logging.getLogger("davy.detectors")

MakeMonitor = Callable[["Reference", "DetectSettings"], Monitor]


@dataclass(frozen=True, slots=True)
class Tools:
    """What the watches of all models share; outlives a restore."""

    runtime: Runtime
    references: References
    monitors: Mapping[str, MakeMonitor]
    shown: Shown


class Watch:
    """One model: its counts, its monitors against its reference, its incidents, and where its records lie."""

    def __init__(self, model: str, tools: Tools) -> None:
        self.model = model
        self._tools = tools
        self._events = self._repeated = 0
        self._first_seen = self._last_at = self._heard_at = 0
        self._dropped: Counter[str] = Counter()
        self._flagged: Counter[str] = Counter()
        self._opened: Counter[str] = Counter()
        self._recent: dict[int, None] = {}
        self._trail = Trail()
        self._version = ""
        self._reference: Reference | None = None
        self._watching: dict[str, Watching] = {}
        self._stored_monitors: dict[str, tuple[int, bytes]] = {}
        self._episodes = Episodes(model, self._settings.quiet_events)
        self._features_shown: set[str] = set()
        self._ratio: float | None = None

    @classmethod
    def load(cls, model: str, tools: Tools, data: bytes) -> Self:
        """Go on from what `dump` gave.

        Raises
        ------
        DecodeError
            Another version of Davy wrote the state.
        """
        found = load_any(data)
        if found["v"] != _VERSION:
            remedy = "run the version of Davy that wrote it, or delete it and begin anew"
            raise DecodeError(f"state of detect/{model}", found["v"], remedy)
        watch = cls(model, tools)
        watch._events, watch._repeated = found["events"], found["repeated"]
        watch._first_seen, watch._last_at = found["first_seen"], found["last_at"]
        watch._heard_at = found["heard_at"]
        watch._dropped, watch._flagged = Counter(found["dropped"]), Counter(found["flags"])
        watch._opened = Counter(found["incidents"])
        watch._recent = dict.fromkeys(found["recent"].tolist())
        watch._trail = Trail.load(found["trail"])
        watch._version, watch._ratio = found["reference"], found["ratio"]
        watch._stored_monitors = {name: (begun, state) for name, (begun, state) in found["monitors"].items()}
        watch._episodes = Episodes(
            model,
            watch._settings.quiet_events,
            open_ones=[watch._stored_incident(name) for name in found["open"]],
            pursuits=[load(Pursuit, pursuit) for pursuit in found["pursuits"]],
            calm_since=found["calm_since"],
        )
        return watch

    def dump(self) -> bytes:
        """Give everything that must survive a restart."""
        monitors = {name: (w.begun, w.monitor.to_bytes()) for name, w in self._watching.items()}
        return dump_any(
            {
                "v": _VERSION,
                "events": self._events,
                "repeated": self._repeated,
                "dropped": self._dropped,
                "flags": self._flagged,
                "incidents": self._opened,
                "first_seen": self._first_seen,
                "last_at": self._last_at,
                "heard_at": self._heard_at,
                "reference": self._version,
                "ratio": self._ratio,
                "monitors": self._stored_monitors | monitors,
                "recent": np.array(list(self._recent), np.uint64),
                "trail": self._trail.dump(),
                "open": list(self._episodes.open_ones.values()),
                "pursuits": [dump(pursuit) for pursuit in self._episodes.pursuits],
                "calm_since": self._episodes.calm_since,
            }
        )

    def take_in(self, items: Sequence[tuple[Record, Envelope]], changes: Changes) -> list[Message]:
        """Count, watch and flag inferences in the order of the log; give what to publish."""
        messages = self._settle(self._adopt(), changes)
        stretch = self._counted(items)
        if stretch is not None:
            messages += self._look_at(stretch, changes)
        changes.put(COLLECTION, self.model, self.dump())
        self.show()
        return messages

    def look_around(self, changes: Changes) -> list[Message]:
        """Do what is due by time: pick up a new reference, notice silence."""
        silent = self._tools.runtime.clock() - self._heard_at > self._settings.blind_seconds * 1e9
        self._tools.runtime.meter.set(metrics.BLIND, float(silent), model=self.model)
        before = self._version
        messages = self._settle(self._adopt(), changes)
        if self._version != before:
            changes.put(COLLECTION, self.model, self.dump())
            self.show()
        return messages

    def show(self) -> None:
        """Bring the metrics up to what is known."""
        meter, shown = self._tools.runtime.meter, self._tools.shown
        shown.total(metrics.INFERENCES, self._events, model=self.model)
        shown.total(metrics.REPEATED, self._repeated, model=self.model)
        for reason, count in self._dropped.items():
            shown.total(metrics.DROPPED, count, model=self.model, reason=reason)
        for reason, count in self._flagged.items():
            shown.total(metrics.FLAGS, count, model=self.model, reason=reason)
        open_ones = self._episodes.open_ones
        for cause, count in self._opened.items():
            shown.total(metrics.INCIDENTS, count, model=self.model, cause=cause)
            meter.set(metrics.INCIDENT_OPEN, float(cause in open_ones), model=self.model, cause=cause)
        if self._last_at:
            meter.set(metrics.LAST_INFERENCE, self._last_at / 1e9, model=self.model)

    @property
    def _settings(self) -> DetectSettings:
        return self._tools.runtime.settings.detect

    def _stored_incident(self, name: str) -> Incident:
        data = self._tools.runtime.store.get(alerts.COLLECTION, name)
        if data is None:
            raise DecodeError(f"state of detect/{self.model}", name, "names an incident that is not stored")
        return load(Incident, data)

    def _adopt(self) -> Outcome:
        """Take up the reference in force; a new one redefines what is normal, so incidents end."""
        reference = self._tools.references.current(self.model)
        version = reference.version if reference is not None else ""
        if reference is self._reference and version == self._version:
            return Outcome()
        outcome = Outcome()
        if version != self._version:
            if self._version:
                outcome = self._episodes.end_all(self._events, self._last_at)
            self._version, self._stored_monitors, self._ratio = version, {}, None
        self._reference, self._watching = reference, {}
        if reference is not None:
            for name, make in self._tools.monitors.items():
                self._watching[name] = self._begin(name, make, reference)
        self._stored_monitors = {}
        return outcome

    def _begin(self, name: str, make: MakeMonitor, reference: Reference) -> Watching:
        monitor = make(reference, self._settings)
        begun, state = self._stored_monitors.get(name, (self._events, None))
        if state is None:
            return Watching(monitor, begun)
        try:
            monitor.restore(state)
        except DecodeError as error:
            self._tools.runtime.meter.add(metrics.ROLE_ERRORS, role="detect", error=type(error).__name__)
            _logger.warning("%s: monitor %s starts anew: %s", self.model, name, error)
            return Watching(make(reference, self._settings), self._events)
        return Watching(monitor, begun)

    def _counted(self, items: Sequence[tuple[Record, Envelope]]) -> Stretch | None:
        """Count what arrived and remember where it lies; an envelope that was sent twice is one."""
        first, kept = self._events, []
        for record, envelope in items:
            self._heard_at = max(self._heard_at, record.at)
            if self._is_repeated(envelope):
                self._repeated += envelope.count
                continue
            self._dropped.update(envelope.report)
            if envelope.count:
                self._trail.add(self._events, partition=record.partition, offset=record.offset)
                self._events += envelope.count
                kept.append((record, envelope))
        if not kept:
            return None
        stretch = Stretch(first, kept)
        self._first_seen = self._first_seen or int(stretch.at.min())
        self._last_at = max(self._last_at, int(stretch.at.max()))
        return stretch

    def _is_repeated(self, envelope: Envelope) -> bool:
        if not envelope.count:
            return False
        digest = hashlib.blake2b(envelope.ids.tobytes(), digest_size=8).digest()
        name = int.from_bytes(digest, "little")
        if name in self._recent:
            return True
        self._recent[name] = None
        if len(self._recent) > _REMEMBERED:
            del self._recent[next(iter(self._recent))]
        return False

    def _look_at(self, stretch: Stretch, changes: Changes) -> list[Message]:
        arms = [_flags.control_arm(stretch, self.model, self._settings.control_share)]
        ranks: dict[str, Floats] = {}
        messages: list[Message] = []
        if self._reference is not None:
            outcome = self._watch(stretch, self._reference)
            arms += outcome.arms
            messages = self._settle(outcome, changes)
            ranks = self._reference.ranks(stretch.batch)
            arms += _flags.score_arms(ranks, self._settings.flag_share)
            for name, rank in ranks.items():
                self._tools.runtime.meter.observe_many(
                    metrics.SCORE, rank[np.isfinite(rank)], model=self.model, score=name
                )
        flags, reasons = _flags.messages(stretch, self.model, ranks, arms)
        self._flagged.update(reasons)
        return messages + flags

    def _watch(self, stretch: Stretch, reference: Reference) -> Outcome:
        raised = [
            Raised(name, alarm)
            for name, watching in self._watching.items()
            for alarm in watching.monitor.update(stretch.batch)
        ]
        self._show_evidence()
        scene = Scene(stretch, raised, self._watching, reference, self._trail, self._tools.runtime.log)
        return self._episodes.follow(scene)

    def _settle(self, outcome: Outcome, changes: Changes) -> list[Message]:
        self._opened.update(outcome.opened)
        self._flagged.update(outcome.reasons)
        for name, incident in outcome.incidents.items():
            changes.put(alerts.COLLECTION, name, dump(incident))
        return outcome.messages

    def _show_evidence(self) -> None:
        """Show the evidence, of at most 50 features: all, or those that once had a tenth of what an alarm needs."""
        readings = [watching.monitor.reading() for watching in self._watching.values()]
        if not readings:
            return
        meter = self._tools.runtime.meter
        self._ratio = max(reading.ratio for reading in readings)
        meter.set(metrics.DRIFT_EVIDENCE, self._ratio, model=self.model)
        ratios: dict[str, float] = {}
        for reading in readings:
            for feature, ratio in reading.features.items():
                ratios[feature] = max(ratio, ratios.get(feature, 0.0))
        few, shown = len(ratios) <= _FEATURES_SHOWN, self._features_shown
        for feature, ratio in ratios.items():
            if feature in shown or few or (ratio >= _NOTABLE and len(shown) < _FEATURES_SHOWN):
                shown.add(feature)
                meter.set(metrics.FEATURE_EVIDENCE, ratio, model=self.model, feature=feature)
