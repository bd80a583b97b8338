"""From alarms to incidents: one per model, cause and episode, with hysteresis, and the alerts that tell of them.

::

             alarm                     alarm                  long enough without an alarm
    (none) ────────▶ open ──────────▶ ongoing ⟲ alarm ──────────────────────▶ resolved

A monitor starts afresh after an alarm, so while the trouble lasts it raises the alarm again and again. All of that
is one episode: later alarms add their features to the incident and put off its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from davy.codec import dump
from davy.event import ALERTS, Alert, Evidence
from davy.log import Message
from davy.store import Collection, events

if TYPE_CHECKING:
    from davy_detectors.base import Alarm
    from davy_detectors.incidents.evidence import Findings

OPEN: Final = "open"
ONGOING: Final = "ongoing"
RESOLVED: Final = "resolved"
_FEATURES: Final = 50
_SAMPLES: Final = 200


@dataclass(frozen=True, slots=True)
class Incident:
    """One episode of trouble of one model.

    Times are event times in nanoseconds, events are running numbers of the model's inferences from zero.

    Attributes
    ----------
    id
        Follows from model, cause, onset, reference and the event that raised it: a replay gives the same.
    state
        ``open`` until the first repeated alarm, then ``ongoing``, in the end ``resolved``.
    reference
        Version of the reference the alarm was raised against.
    onset_at, onset_event
        The first inference after the estimated change.
    raised_at, raised_event
        The inference that completed the evidence.
    last_event
        The inference that completed the evidence of the latest alarm.
    patience
        Inferences after `last_event` without an alarm that resolve the incident.
    features
        The guilty features with their latest evidence, most evidence first.
    statistic, threshold
        Of the latest alarm.
    samples
        Ids of the inferences that carry the evidence best, without exact duplicates.
    size
        Estimated share of inferences affected since the onset, 0 to 1.
    """

    id: str
    model: str
    cause: str
    state: str
    reference: str
    onset_at: int
    onset_event: int
    raised_at: int
    raised_event: int
    last_event: int
    patience: int
    features: Sequence[Evidence]
    statistic: float
    threshold: float
    samples: Sequence[bytes] = ()
    size: float = 0.0
    resolved_at: int | None = None

    @property
    def deadline(self) -> int:
        """The inference with which the incident is resolved, should no alarm come before or with it."""
        return self.last_event + self.patience


INCIDENTS: Final[Collection[Incident]] = events(
    "incidents", Incident, writer="detect; davy recount, davy forget"
)
"""Every incident by its id."""


class Incidents:
    """The open incidents of one model, at most one a cause.

    Parameters
    ----------
    model
        Whose incidents.
    quiet_events
        Inferences without an alarm that resolve an incident; more when alarms come rarely: four times the distance of
        the last two alarms (of onset and alarm, while there was only one), but at most ten times `quiet_events`.
    open_ones
        Incidents to go on with.
    """

    def __init__(self, model: str, quiet_events: int, open_ones: Iterable[Incident] = ()) -> None:
        self._model = model
        self._quiet_events = quiet_events
        self._open = {incident.cause: incident for incident in open_ones}

    def __iter__(self) -> Iterator[Incident]:
        return iter(list(self._open.values()))

    def get(self, cause: str) -> Incident | None:
        """Return the open incident with this cause."""
        return self._open.get(cause)

    def raised(
        self, alarm: Alarm, findings: Findings | None, *, at: int, reference: str
    ) -> tuple[Incident, Alert | None]:
        """Take in an alarm; return the incident as it is now and the alert to send, if there is news.

        Parameters
        ----------
        alarm
            With events as running numbers of the model.
        findings
            What the log showed; None leaves samples and size as they are.
        at
            Event time of the inference that raised the alarm.
        reference
            Version of the reference.
        """
        before = self._open.get(alarm.cause)
        incident = self._opened(alarm, at, reference) if before is None else self._repeated(before, alarm)
        if findings is not None:
            samples = dict.fromkeys([*incident.samples, *(c.inference_id for c in findings.carriers)])
            incident = replace(incident, samples=list(samples)[:_SAMPLES], size=findings.size)
            if before is None and findings.onset_at:
                incident = replace(incident, onset_at=findings.onset_at)
        self._open[alarm.cause] = incident
        news = before is None or not _names(incident) <= _names(before)
        return incident, alert(incident, at) if news else None

    def resolved(self, cause: str, *, at: int) -> tuple[Incident, Alert]:
        """End the open incident with this cause at event time `at`."""
        incident = replace(self._open.pop(cause), state=RESOLVED, resolved_at=at)
        return incident, alert(incident, at)

    def _opened(self, alarm: Alarm, at: int, reference: str) -> Incident:
        key = (self._model, alarm.cause, alarm.onset_event, reference, alarm.event)
        return Incident(
            id=hashlib.blake2b(repr(key).encode(), digest_size=8).hexdigest(),
            model=self._model,
            cause=alarm.cause,
            state=OPEN,
            reference=reference,
            onset_at=at,
            onset_event=alarm.onset_event,
            raised_at=at,
            raised_event=alarm.event,
            last_event=alarm.event,
            patience=self._patience(alarm.event - alarm.onset_event + 1),
            features=list(alarm.features)[:_FEATURES],
            statistic=alarm.statistic,
            threshold=alarm.threshold,
        )

    def _repeated(self, incident: Incident, alarm: Alarm) -> Incident:
        latest = {evidence.feature: evidence for evidence in (*incident.features, *alarm.features)}
        return replace(
            incident,
            state=ONGOING,
            last_event=alarm.event,
            patience=self._patience(alarm.event - incident.last_event),
            features=sorted(latest.values(), key=lambda evidence: -evidence.log_evidence)[:_FEATURES],
            statistic=alarm.statistic,
            threshold=alarm.threshold,
        )

    def _patience(self, gap: int) -> int:
        return min(max(self._quiet_events, 4 * gap), 10 * self._quiet_events)


def alert(incident: Incident, at: int) -> Alert:
    """Make the alert that tells of an incident as it is at event time `at`; it has the incident's id."""
    return Alert(
        id=incident.id,
        model=incident.model,
        cause=incident.cause,
        state=incident.state,
        at=at,
        onset_at=incident.onset_at,
        onset_event=incident.onset_event,
        raised_event=incident.raised_event,
        features=incident.features,
        statistic=incident.statistic,
        threshold=incident.threshold,
        samples=incident.samples,
    )


def message(news: Alert) -> Message:
    """Put an alert on its topic."""
    return Message(ALERTS, news.model, dump(news))


def _names(incident: Incident) -> set[str]:
    return {evidence.feature for evidence in incident.features}
