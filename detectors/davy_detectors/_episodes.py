"""Follows the alarms of one model through a stretch of inferences: incidents, their evidence and their samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from davy.codec import dump
from davy.event import FLAGS, Alert, Draw, Evidence
from davy.log import Message
from davy_detectors import _flags, alerts
from davy_detectors._stretch import Stretch
from davy_detectors._trail import Trail
from davy_detectors.alerts import Incident, Incidents
from davy_detectors.base import Alarm, Monitor
from davy_detectors.evidence import Carrier, Case, Findings, gather

if TYPE_CHECKING:
    from davy.log import Log
    from davy_detectors.reference import Reference

_INCIDENT: Final = "incident"


@dataclass(frozen=True, slots=True)
class Watching:
    """A monitor at work: `begun` is the running number of the first inference it was shown."""

    monitor: Monitor
    begun: int


@dataclass(frozen=True, slots=True)
class Raised:
    """An alarm of the monitor called `monitor`, with events as the monitor counts them."""

    monitor: str
    alarm: Alarm


@dataclass(frozen=True, slots=True)
class Pursuit:
    """How samples of an open incident are recognised: by an alarm and the level its evidence set.

    The fields of the alarm are kept flat, so that the whole is an event like any other to the codec.
    """

    cause: str
    monitor: str
    event: int
    onset_event: int
    statistic: float
    threshold: float
    features: Sequence[Evidence]
    level: float
    probability: float
    examined: int

    @property
    def alarm(self) -> Alarm:
        """The alarm, with events as the monitor counts them."""
        return Alarm(self.cause, self.event, self.onset_event, self.statistic, self.threshold, self.features)


@dataclass(slots=True)
class Outcome:
    """What a stretch led to: messages, arms that chose rows of it, incidents to store, and counts."""

    messages: list[Message] = field(default_factory=list)
    arms: list[_flags.Arm] = field(default_factory=list)
    incidents: dict[str, Incident] = field(default_factory=dict)
    opened: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def note(self, incident: Incident, news: Alert | None) -> None:
        """Keep an incident as it is now, and tell of it."""
        self.incidents[incident.id] = incident
        if news is not None:
            self.messages.append(alerts.message(news))


@dataclass(frozen=True, slots=True)
class Scene:
    """Where episodes play: a stretch, the alarms raised in it, and what is needed to look into them."""

    stretch: Stretch
    raised: Sequence[Raised]
    watching: Mapping[str, Watching]
    reference: Reference
    trail: Trail
    log: Log

    def number_of(self, item: Raised) -> int:
        """Give the running number of the inference that raised an alarm."""
        return item.alarm.event + self.watching[item.monitor].begun


class Episodes:
    """The open incidents of one model and how their samples are recognised.

    Parameters
    ----------
    model
        Whose incidents.
    quiet_events
        See `Incidents`; half of it is also the number of inferences after which evidence is looked at again.
    open_ones, pursuits
        Incidents to go on with, and what recognises their samples.
    calm_since
        Running number of the first inference after the last episode.
    """

    def __init__(
        self,
        model: str,
        quiet_events: int,
        *,
        open_ones: Sequence[Incident] = (),
        pursuits: Sequence[Pursuit] = (),
        calm_since: int = 0,
    ) -> None:
        self._model = model
        self._look_again = max(1, quiet_events // 2)
        self._incidents = Incidents(model, quiet_events, open_ones)
        self._pursuits = {pursuit.cause: pursuit for pursuit in pursuits}
        self.calm_since = calm_since

    @property
    def open_ones(self) -> dict[str, str]:
        """Ids of the open incidents by cause."""
        return {incident.cause: incident.id for incident in self._incidents}

    @property
    def pursuits(self) -> list[Pursuit]:
        """What to keep besides the incidents."""
        return list(self._pursuits.values())

    def end_all(self, number: int, at: int) -> Outcome:
        """Resolve every open incident because what is normal was redefined at inference `number`."""
        outcome = Outcome()
        for incident in self._incidents:
            outcome.note(*self._incidents.resolved(incident.cause, at=at))
        self._pursuits, self.calm_since = {}, number
        return outcome

    def follow(self, scene: Scene) -> Outcome:
        """Take in the alarms of a stretch, cause by cause, in the order of the inferences."""
        outcome = Outcome()
        last = scene.stretch.first + scene.stretch.count - 1
        for cause in sorted({*self.open_ones, *(item.alarm.cause for item in scene.raised)}):
            cursor = scene.stretch.first
            mine = (item for item in scene.raised if item.alarm.cause == cause)
            for item in sorted(mine, key=scene.number_of):
                number = scene.number_of(item)
                self._pass(cause, cursor, number, scene, outcome, ends_before=number)
                self._take(item, scene, outcome)
                cursor = number + 1
            self._pass(cause, cursor, last, scene, outcome, ends_before=last + 1)
        return outcome

    def _pass(
        self, cause: str, first: int, last: int, scene: Scene, outcome: Outcome, *, ends_before: int
    ) -> None:
        """Mark samples of the open incident among ``first … last`` and end it if its deadline passed."""
        incident = self._incidents.get(cause)
        if incident is None:
            return
        last = min(last, incident.deadline)
        if first <= last:
            outcome.arms += self._arm(incident.id, self._pursuits[cause], first, last, scene)
        if incident.deadline < ends_before:
            outcome.note(*self._incidents.resolved(cause, at=scene.stretch.time_of(incident.deadline)))
            del self._pursuits[cause]
            self.calm_since = incident.deadline + 1

    def _arm(self, incident: str, pursuit: Pursuit, first: int, last: int, scene: Scene) -> list[_flags.Arm]:
        """Choose the samples of an incident among the inferences ``first … last``."""
        stretch, watching = scene.stretch, scene.watching.get(pursuit.monitor)
        if watching is None or not np.isfinite(pursuit.level):
            return []
        rows = slice(first - stretch.first, last - stretch.first + 1)
        found = watching.monitor.sample_scores(stretch.batch.take(rows), pursuit.alarm)
        drawn = _flags.uniform(stretch.ids[rows], self._model, _INCIDENT) < pursuit.probability
        chosen, score = np.zeros(stretch.count, dtype=bool), np.zeros(stretch.count)
        chosen[rows], score[rows] = (found >= pursuit.level) & drawn, found
        probability = np.full(stretch.count, pursuit.probability)
        return [_flags.Arm(f"{_INCIDENT}:{incident}", chosen, probability, score, incident)]

    def _take(self, item: Raised, scene: Scene, outcome: Outcome) -> None:
        """Take in one alarm: look at the log when it tells something new, and keep the incident."""
        number, begun = scene.number_of(item), scene.watching[item.monitor].begun
        alarm = replace(item.alarm, event=number, onset_event=item.alarm.onset_event + begun)
        before, findings = self._incidents.get(alarm.cause), None
        if before is None or self._is_news(item, number, before):
            findings = self._look(item, scene, before)
            self._pursuits[alarm.cause] = _pursuit(item, findings, number)
        at = scene.stretch.time_of(number)
        incident, news = self._incidents.raised(alarm, findings, at=at, reference=scene.reference.version)
        outcome.note(incident, news)
        if before is None and findings is not None:
            outcome.opened[alarm.cause] += 1
            outcome.reasons[_INCIDENT] += len(findings.carriers)
            outcome.messages += [_flag(self._model, incident.id, carrier) for carrier in findings.carriers]

    def _is_news(self, item: Raised, number: int, before: Incident) -> bool:
        known = {evidence.feature for evidence in before.features}
        news = any(evidence.feature not in known for evidence in item.alarm.features)
        return news or number - self._pursuits[item.alarm.cause].examined >= self._look_again

    def _look(self, item: Raised, scene: Scene, before: Incident | None) -> Findings:
        watching = scene.watching[item.monitor]
        onset = item.alarm.onset_event + watching.begun
        case = Case(
            model=self._model,
            monitor=watching.monitor,
            alarm=item.alarm,
            reference=scene.reference,
            begun=watching.begun,
            calm_since=self.calm_since,
            change=onset if before is None else before.onset_event,
        )
        return gather(scene.log, scene.trail, case)


def _pursuit(item: Raised, findings: Findings, number: int) -> Pursuit:
    alarm = item.alarm
    return Pursuit(
        cause=alarm.cause,
        monitor=item.monitor,
        event=alarm.event,
        onset_event=alarm.onset_event,
        statistic=alarm.statistic,
        threshold=alarm.threshold,
        features=list(alarm.features),
        level=findings.level,
        probability=findings.probability,
        examined=number,
    )


def _flag(model: str, incident: str, carrier: Carrier) -> Message:
    flag = _flags.make(
        model,
        carrier.inference_id,
        carrier.at,
        [Draw(f"{_INCIDENT}:{incident}", 1.0, carrier.score)],
        carrier.scores,
        carrier.inference,
        incident,
    )
    return Message(FLAGS, model, dump(flag))
