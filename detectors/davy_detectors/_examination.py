"""The testing half of detection for one model: tallies in; incidents, alerts and metrics out."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from davy.codec import dump, dump_any, load, load_any
from davy.errors import DecodeError
from davy.event import INFERENCES
from davy.log import Message
from davy.store import Batch as Changes
from davy_detectors import _pursuits, _seen, _tally, alerts
from davy_detectors._clocks import TOLERANCE, Clocks, read_marks
from davy_detectors._course import Course, Raised, Tested
from davy_detectors._episodes import Episodes, Outcome
from davy_detectors._epochs import Epochs
from davy_detectors._pursuits import Pursuit
from davy_detectors._reread import Source
from davy_detectors._tally import Tally
from davy_detectors._tools import SECOND, Tools
from davy_detectors._totals import Totals
from davy_detectors._trail import Trail
from davy_detectors.alerts import Incident
from davy_detectors.evidence import Case, Findings, gather
from davy_detectors.models import COLLECTION

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy_detectors.base import Monitor
    from davy_detectors.reference import Reference

SNAPSHOTS: Final = "snapshots"
_ALL_TIME: Final = 2**63 - 1
_VERSION: Final = 2
_SLACK: Final = 1.25
_BLOCK: Final = 32
"""Epochs tested in one go."""
_logger = logging.getLogger("davy.detectors")


class Examination:
    """One model: what was counted of it, its monitors against its reference, its incidents.

    Parameters
    ----------
    model
        ``"name:version"``.
    tools
        What detection shares in this process.

    Raises
    ------
    DecodeError
        Another version of Davy wrote the state.
    """

    def __init__(self, model: str, tools: Tools) -> None:
        self.model = model
        self._tools = tools
        self._store = tools.runtime.store
        self._epochs = Epochs(self._store, model)
        self._reference: Reference | None = None
        found = self._stored()
        self.totals = Totals.load(found)
        self._version: str = found.get("reference", "")
        self._trail = Trail.load(found["trail"]) if "trail" in found else Trail()
        self._alarmed: dict[str, int] = dict(found.get("alarmed", {}))
        self._episodes = Episodes(
            model,
            self._settings.quiet_events,
            open_ones=[self._incident(name) for name in found.get("open", ())],
            pursuits=[load(Pursuit, pursuit) for pursuit in found.get("pursuits", ())],
            calm_since=found.get("calm_since", 0),
        )
        self._course = self._resumed(found.get("tested", -1))
        self._moved = False  # the snapshot, since it was stored

    @property
    def open_causes(self) -> set[str]:
        """The causes of its open incidents."""
        return set(self._episodes.open_ones)

    @property
    def scorers(self) -> Sequence[str]:
        """The scorers of its reference."""
        return list(self._reference.scorers) if self._reference is not None else []

    @property
    def watched(self) -> bool:
        """Whether it is compared with a reference."""
        return bool(self._version)

    def turn(
        self,
        closed: int,
        tallies: Sequence[tuple[str, Tally]],
        clocks: Clocks,
        changes: Changes,
        patience: float,
    ) -> list[Message]:
        """Take in tallies and test the epochs that start up to `closed`; return what to publish.

        After `patience` seconds the rest is left to the next turn. Nothing is added to `changes` when nothing happened.
        """
        outcome, until = Outcome(), time.monotonic() + patience
        adopted = self._adopt(outcome)
        brought_back = self._bring_back(clocks, changes)
        head = self._course.tested
        self._take_in(tallies, clocks, changes)
        epochs = self._epochs.between(self._course.tested, max(closed, head))
        for start in range(0, len(epochs), _BLOCK):
            for one in self._course.run(epochs[start : start + _BLOCK]):
                self._follow(one, head, outcome)
            if self._course.tested >= head and time.monotonic() > until:
                break
        if not (adopted or brought_back or tallies or epochs):
            return []
        self._forget(changes)
        self._settle(outcome, changes)
        return outcome.messages

    def retire(self, tallies: Sequence[tuple[str, Tally]], clocks: Clocks, changes: Changes) -> list[Message]:
        """End what is open and keep what it all came to; return what to publish.

        When it is taken back, its inferences are numbered on, and none from before this moment is looked at again.
        """
        outcome = Outcome()
        for key, tally in tallies:
            changes.delete(_tally.collection(self.model), key)
            self.totals.add(tally)
        self._episodes.end_all(self.totals.events, self.totals.last_at, outcome)
        self._version, self._reference, self._alarmed = "", None, {}
        self._epochs.forget(_ALL_TIME, changes)
        before = self._start_of(clocks.now) - int(self._settings.epoch_seconds * SECOND)
        self._course = Course(self._make, since=before, number=self.totals.events)
        self._trail = Trail()
        self._keep_snapshot(changes)
        changes.delete(_tally.MODELS, self.model)
        _pursuits.end(self.model, changes)
        self._settle(outcome, changes)
        return outcome.messages

    def hush(self, now: int, changes: Changes) -> None:
        """Take it for heard last at `now`: it fell silent, and the clock that told otherwise was ahead."""
        self.totals.bring_back(now)
        changes.put(COLLECTION, self.model, self._dump())

    def readings(self) -> tuple[float | None, dict[str, float]]:
        """Return the evidence over what an alarm needs: altogether, None without a reference, and by feature."""
        readings = self._course.readings()
        ratios: dict[str, float] = {}
        for reading in readings:
            for feature, ratio in reading.features.items():
                ratios[feature] = max(ratio, ratios.get(feature, 0.0))
        return max((reading.ratio for reading in readings), default=None), ratios

    @property
    def tested_until(self) -> int:
        """Event time up to which inferences were tested, nanoseconds; 0 before the first epoch was."""
        tested = self._course.tested
        return tested + int(self._settings.epoch_seconds * SECOND) if tested >= 0 else 0

    @property
    def _settings(self) -> DetectSettings:
        return self._tools.runtime.settings.detect

    def _adopt(self, outcome: Outcome) -> bool:
        """Take up the reference in force; a new one redefines what is normal, so incidents end."""
        reference = self._tools.references.current(self.model)
        version = reference.version if reference is not None else ""
        if version == self._version:
            return False
        if self._version:
            self._episodes.end_all(self._course.number, self.totals.last_at, outcome)
        self._version, self._reference, self._alarmed = version, reference, {}
        self._epochs.forget_counts()
        self._course = Course(self._make, since=self._course.tested, number=self._course.number)
        self._moved = True
        return True

    def _bring_back(self, clocks: Clocks, changes: Changes) -> bool:
        """Let go of what lies in the future: a clock that was ahead told it. Say whether anything did.

        What was tested stays tested, and the next to be tested is what was appended after the clock was set back; what
        was not tested counts now. So nothing counts twice, and nothing is left out.
        """
        course, latest = self._course, clocks.now + TOLERANCE
        if max(course.tested, self._epochs.newest, self.totals.heard_at) <= latest:
            return False
        if course.tested > latest:
            self._epochs.forget(course.tested, changes)
            course.settle(self._start_of(clocks.latest_back) - 1)
            self._trail.forget_after(course.since)
            self._alarmed = {monitor: min(start, course.since) for monitor, start in self._alarmed.items()}
            self._moved = True
        self._epochs.bring_back(latest, self._start_of(clocks.now), changes)
        self.totals.bring_back(clocks.now)
        return True

    def _start_of(self, moment: int) -> int:
        return moment - moment % int(self._settings.epoch_seconds * SECOND)

    def _take_in(self, tallies: Sequence[tuple[str, Tally]], clocks: Clocks, changes: Changes) -> None:
        """Add tallies to the epochs; when one of these was tested already, go back to before it."""
        course, late = self._course, set()
        for key, tally in tallies:
            changes.delete(_tally.collection(self.model), key)
            self.totals.add(tally)
            added = self._epochs.add(
                tally,
                self._version,
                after=course.since,
                instead=course.tested + 1,
                upto=clocks.now + TOLERANCE,
                present=self._start_of(clocks.now),
            )
            for epoch, size in added:
                if epoch <= course.tested:
                    late.add(epoch)
                    self.totals.late += size
        if tallies:
            self.totals.bring_back(clocks.now)
        if late:
            self.totals.restated += len(late)
            course.go_back()
            self._trail.forget_after(course.since)

    def _follow(self, tested: Tested, head: int, outcome: Outcome) -> None:
        """Take in what an epoch showed; of one tested again only alarms after the last that was raised."""
        start = tested.epoch.start
        self._trail.add(tested.first, start)
        raised = [one for one in tested.raised if start > self._alarmed.get(one.monitor, -1)]
        self._alarmed.update({one.monitor: start for one in raised})
        if raised or start > head:
            look = partial(self._look, tested)
            self._episodes.follow(tested, raised, self._version, look, outcome)

    def _look(self, tested: Tested, item: Raised, calm_since: int, change: int) -> Findings:
        assert self._reference is not None
        log, settings = self._tools.runtime.log, self._settings
        name, partitions = log.identity(INFERENCES), [partition for _, partition in log.end(INFERENCES)]
        source = Source(
            log=log,
            model=self.model,
            numbers=self._trail,
            seen=_seen.by_partition(self._store, self.model, partitions, name),
            marks={partition: mark.in_log(name) for partition, mark in read_marks(self._store).items()},
            horizon=int(settings.restate_seconds * SECOND),
            lateness=int(settings.lateness_seconds * SECOND),
            stop=tested.epoch.start + int(settings.epoch_seconds * SECOND),
        )
        case = Case(
            monitor=self._course.monitors[item.monitor],
            alarm=item.alarm,
            reference=self._reference,
            begun=item.begun,
            calm_since=calm_since,
            change=change,
        )
        return gather(source, case)

    def _forget(self, changes: Changes) -> None:
        """Move the snapshot on, now and then, and forget the epochs before it."""
        course, horizon = self._course, int(self._settings.restate_seconds * SECOND)
        if course.tested - course.since > _SLACK * horizon:
            final = course.tested - horizon
            course.advance(self._epochs.between(course.since, final), final)
            self._moved = True
        if self._moved:
            self._epochs.forget(course.since, changes)
            self._keep_snapshot(changes)
            self._moved = False

    def _keep_snapshot(self, changes: Changes) -> None:
        since, number, monitors = self._course.snapshot
        kept = {"since": since, "number": number, "monitors": monitors}
        changes.put(SNAPSHOTS, self.model, dump_any(kept))

    def _settle(self, outcome: Outcome, changes: Changes) -> None:
        self.totals.incidents.update(outcome.opened)
        self.totals.flags.update(outcome.flags)
        for name, incident in outcome.incidents.items():
            changes.put(alerts.COLLECTION, name, dump(incident))
        if outcome.incidents:
            _pursuits.announce(self.model, self._version, self._episodes.pursuits, changes)
        self._epochs.write(changes)
        changes.put(COLLECTION, self.model, self._dump())

    def _dump(self) -> bytes:
        return dump_any(
            {
                "v": _VERSION,
                **self.totals.dump(),
                "reference": self._version,
                "ratio": self.readings()[0],
                "tested": self._course.tested,
                "alarmed": self._alarmed,
                "trail": self._trail.dump(),
                "open": list(self._episodes.open_ones.values()),
                "pursuits": [dump(pursuit) for pursuit in self._episodes.pursuits],
                "calm_since": self._episodes.calm_since,
            }
        )

    def _stored(self) -> dict[str, Any]:
        data = self._store.get(COLLECTION, self.model)
        if data is None:
            return {}
        found: dict[str, Any] = load_any(data)
        if found["v"] != _VERSION:
            remedy = "run the version of Davy that wrote it, or delete it and begin anew"
            raise DecodeError(f"state of detect/{self.model}", found["v"], remedy)
        return found

    def _resumed(self, tested: int) -> Course:
        """Make the course again: from the snapshot over the epochs that were tested since."""
        reference = self._tools.references.current(self.model)
        if reference is not None and reference.version == self._version:
            self._reference = reference
        stored = self._store.get(SNAPSHOTS, self.model)
        found: dict[str, Any] = load_any(stored) if stored is not None else {}
        course = Course(
            self._make,
            since=found.get("since", -1),
            number=found.get("number", 0),
            snapshot=found.get("monitors"),
            unreadable=self._starts_anew,
        )
        course.run(self._epochs.between(course.since, tested))
        return course

    def _make(self) -> dict[str, Monitor]:
        return {} if self._reference is None else self._tools.monitors.fresh(self._reference)

    def _starts_anew(self, name: str, error: DecodeError) -> None:
        self._tools.runtime.failed("detect", error)
        _logger.warning("%s: monitor %s starts anew: %s", self.model, name, error)

    def _incident(self, name: str) -> Incident:
        data = self._store.get(alerts.COLLECTION, name)
        if data is None:
            raise DecodeError(f"state of detect/{self.model}", name, "names an incident that is not stored")
        return load(Incident, data)
