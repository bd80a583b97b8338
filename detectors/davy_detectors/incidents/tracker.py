"""Follows the alarms of one model from window to window: incidents, evidence, and what recognises their samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from davy.codec import dump
from davy.event import FLAGS, Alert, Draw
from davy.log import Message
from davy_detectors.flagging.arms import make_flag
from davy_detectors.incidents.evidence import Carrier, Findings
from davy_detectors.incidents.incident import Incident, Incidents, message
from davy_detectors.incidents.matcher import INCIDENT, SampleMatcher

if TYPE_CHECKING:
    from davy_detectors.stream.monitor_run import Raised, Tested

_GROWTH: Final = 0.25
Look = Callable[["Raised", int, int], Findings]
"""Looks into an alarm, given the first calm inference before the episode and the first of the episode."""


@dataclass(slots=True)
class Outcome:
    """What alarms led to: messages, incidents to store, and counts."""

    messages: list[Message] = field(default_factory=list)
    incidents: dict[str, Incident] = field(default_factory=dict)
    opened: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)

    def note(self, incident: Incident, news: Alert | None) -> None:
        """Keep an incident as it is now, and tell of it."""
        self.incidents[incident.id] = incident
        if news is not None:
            self.messages.append(message(news))


class IncidentTracker:
    """The open incidents of one model and how their samples are recognised.

    Parameters
    ----------
    model
        Whose incidents.
    quiet_events
        See `Incidents`; half of it is also the least number of inferences after which evidence is looked at again.
    open_ones, sample matchers
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
        matchers: Sequence[SampleMatcher] = (),
        calm_since: int = 0,
    ) -> None:
        self._model = model
        self._look_again = max(1, quiet_events // 2)
        self._incidents = Incidents(model, quiet_events, open_ones)
        self._matchers = {matcher.cause: matcher for matcher in matchers}
        self.calm_since = calm_since

    @property
    def open_ones(self) -> dict[str, str]:
        """Ids of the open incidents by cause."""
        return {incident.cause: incident.id for incident in self._incidents}

    @property
    def matchers(self) -> list[SampleMatcher]:
        """What to keep besides the incidents."""
        return list(self._matchers.values())

    def end_all(self, number: int, at: int, outcome: Outcome) -> None:
        """Resolve every open incident because what is normal was redefined at inference `number`."""
        for incident in self._incidents:
            outcome.note(*self._incidents.resolved(incident.cause, at=at))
        self._matchers, self.calm_since = {}, number

    def follow(
        self, tested: Tested, raised: Sequence[Raised], reference: str, look: Look, outcome: Outcome
    ) -> None:
        """Take in the alarms of a window, and end the incidents whose time without one has passed with it."""
        for cause in sorted({*self.open_ones, *(one.alarm.cause for one in raised)}):
            mine = [one for one in raised if one.alarm.cause == cause]
            incident = self._incidents.get(cause)
            if incident is not None and incident.deadline < tested.last + (not mine):
                outcome.note(*self._incidents.resolved(cause, at=tested.window.latest))
                del self._matchers[cause]
                self.calm_since = incident.deadline + 1
            for one in mine:
                self._take(one, tested.window.latest, reference, look, outcome)

    def _take(self, item: Raised, at: int, reference: str, look: Look, outcome: Outcome) -> None:
        """Take in one alarm: look at the log when it tells something new, and keep the incident."""
        alarm = replace(item.alarm, event=item.number, onset_event=item.alarm.onset_event + item.begun)
        before, findings = self._incidents.get(alarm.cause), None
        if before is None or self._is_news(item, before):
            change = alarm.onset_event if before is None else before.onset_event
            findings = look(item, self.calm_since, change)
        incident, news = self._incidents.raised(alarm, findings, at=at, reference=reference)
        outcome.note(incident, news)
        if findings is not None:
            self._matchers[alarm.cause] = _matcher(incident.id, item, findings)
        if before is None and findings is not None:
            outcome.opened[alarm.cause] += 1
            outcome.flags[INCIDENT] += len(findings.carriers)
            outcome.messages += [_flag(self._model, incident.id, carrier) for carrier in findings.carriers]

    def _is_news(self, item: Raised, before: Incident) -> bool:
        known = {evidence.feature for evidence in before.features}
        if any(evidence.feature not in known for evidence in item.alarm.features):
            return True
        examined = self._matchers[item.alarm.cause].examined
        # A look reads all since the onset: the longer that is ago, the rarer, or a busy model does nothing else.
        return item.number - examined >= max(self._look_again, _GROWTH * (examined - before.onset_event))


def _matcher(incident: str, item: Raised, findings: Findings) -> SampleMatcher:
    alarm = item.alarm
    return SampleMatcher(
        incident=incident,
        cause=alarm.cause,
        monitor=item.monitor,
        event=alarm.event,
        onset_event=alarm.onset_event,
        statistic=alarm.statistic,
        threshold=alarm.threshold,
        features=list(alarm.features),
        level=findings.level,
        probability=findings.probability,
        examined=item.number,
    )


def _flag(model: str, incident: str, carrier: Carrier) -> Message:
    flag = make_flag(
        model,
        carrier.inference_id,
        carrier.at,
        [Draw(INCIDENT, incident, 1.0, carrier.score)],
        carrier.scores,
        carrier.inference,
        incident,
    )
    return Message(FLAGS, model, dump(flag))
