"""The testing half of detection for one model: partial aggregates in; incidents, alerts and metrics out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from davy.codec import dump, dump_any, load, load_any
from davy.errors import DecodeError
from davy.event import INFERENCES
from davy.log import Message
from davy.plugins import OfModel
from davy.store import Batch as Changes
from davy_detectors.history import partition_index
from davy_detectors.history.scan import Source
from davy_detectors.history.sparse_index import SparseIndex
from davy_detectors.incidents import matcher
from davy_detectors.incidents.evidence import Case, Findings, gather
from davy_detectors.incidents.incident import INCIDENTS, Incident
from davy_detectors.incidents.matcher import SampleMatcher
from davy_detectors.incidents.tracker import IncidentTracker, Outcome
from davy_detectors.models.known import COLLECTION
from davy_detectors.stream import partial_aggregate
from davy_detectors.stream.clocks import TOLERANCE, Clocks, read_marks
from davy_detectors.stream.context import SECOND, DetectContext
from davy_detectors.stream.monitor_run import MonitorRun, Raised, Tested, merged
from davy_detectors.stream.partial_aggregate import PartialAggregate
from davy_detectors.stream.totals import Totals
from davy_detectors.stream.windows import Windows

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy_detectors.base import Floats, Monitor
    from davy_detectors.batch import Batch
    from davy_detectors.plugins import Suspension
    from davy_detectors.reference import Reference

SNAPSHOTS: Final = "snapshots"
_ALL_TIME: Final = 2**63 - 1
_VERSION: Final = 2
_SLACK: Final = 1.25
_BLOCK: Final = 32
"""Windows tested in one go."""
T = TypeVar("T")
_logger = logging.getLogger("davy.detectors")


class ModelRun:
    """One model: what was counted of it, its monitors against its reference, its incidents.

    Parameters
    ----------
    model
        ``"name:version"``.
    context
        What detection shares in this process.

    Raises
    ------
    DecodeError
        Another version of Davy wrote the state.
    """

    def __init__(self, model: str, context: DetectContext) -> None:
        self.model = model
        self._context = context
        self._store = context.runtime.store
        self._windows = Windows(self._store, model)
        self._reference: Reference | None = None
        found = self._stored()
        self.totals = Totals.load(found)
        self._version: str = found.get("reference", "")
        self._index = SparseIndex.load(found["index"]) if "index" in found else SparseIndex()
        self._alarmed: dict[str, int] = dict(found.get("alarmed", {}))
        self._tracker = IncidentTracker(
            model,
            self._settings.quiet_events,
            open_ones=[self._incident(name) for name in found.get("open", ())],
            matchers=[load(SampleMatcher, matcher) for matcher in found.get("matchers", ())],
            calm_since=found.get("calm_since", 0),
        )
        self._run = self._resumed(found.get("tested", -1))
        self._moved = False  # the snapshot, since it was stored

    @property
    def open_causes(self) -> set[str]:
        """The causes of its open incidents."""
        return set(self._tracker.open_ones)

    @property
    def scorers(self) -> Sequence[str]:
        """The scorers of its reference."""
        return list(self._reference.scorers) if self._reference is not None else []

    @property
    def suspended(self) -> list[Suspension]:
        """The plug-ins that are left out for it."""
        return self._context.plugins.suspended(self._reference or OfModel(self.model))

    @property
    def watched(self) -> bool:
        """Whether it is compared with a reference."""
        return bool(self._version)

    def turn(
        self,
        closed: int,
        partials: Sequence[tuple[str, PartialAggregate]],
        clocks: Clocks,
        changes: Changes,
        patience: float,
    ) -> list[Message]:
        """Take in partial aggregates and test the windows that start up to `closed`; return what to publish.

        After `patience` seconds the rest is left to the next turn. Nothing is added to `changes` when nothing happened.
        """
        outcome, until = Outcome(), time.monotonic() + patience
        adopted = self._adopt(outcome)
        brought_back = self._bring_back(clocks, changes)
        head = self._run.tested
        self._take_in(partials, clocks, changes)
        windows = self._windows.between(self._run.tested, max(closed, head))
        for start in range(0, len(windows), _BLOCK):
            for one in self._run.run(windows[start : start + _BLOCK]):
                self._follow(one, head, outcome)
            if self._run.tested >= head and time.monotonic() > until:
                break
        if not (adopted or brought_back or partials or windows):
            return []
        self._forget(changes)
        self._settle(outcome, changes)
        return outcome.messages

    def retire(
        self, partials: Sequence[tuple[str, PartialAggregate]], clocks: Clocks, changes: Changes
    ) -> list[Message]:
        """End what is open and keep what it all came to; return what to publish.

        When it is taken back, its inferences are numbered on, and none from before this moment is looked at again.
        """
        outcome = Outcome()
        for key, one in partials:
            changes.delete(partial_aggregate.collection(self.model), key)
            self.totals.add(one)
        self._tracker.end_all(self.totals.events, self.totals.last_at, outcome)
        self._version, self._reference, self._alarmed = "", None, {}
        self._windows.forget(_ALL_TIME, changes)
        before = self._start_of(clocks.now) - int(self._settings.window_seconds * SECOND)
        self._run = MonitorRun(self._make, since=before, number=self.totals.events)
        self._index = SparseIndex()
        self._keep_snapshot(changes)
        changes.delete(partial_aggregate.MODELS, self.model)
        matcher.end(self.model, changes)
        self._settle(outcome, changes)
        return outcome.messages

    def hush(self, now: int, changes: Changes) -> None:
        """Take it for heard last at `now`: it fell silent, and the clock that told otherwise was ahead."""
        self.totals.bring_back(now)
        changes.put(COLLECTION, self.model, self._dump())

    def readings(self) -> tuple[float | None, dict[str, float]]:
        """Return the evidence over what an alarm needs: altogether, None without a reference, and by feature."""
        readings = self._run.readings()
        ratios: dict[str, float] = {}
        for reading in readings:
            for feature, ratio in reading.features.items():
                ratios[feature] = max(ratio, ratios.get(feature, 0.0))
        return max((reading.ratio for reading in readings), default=None), ratios

    @property
    def tested_until(self) -> int:
        """Event time up to which inferences were tested, nanoseconds; 0 before the first window was."""
        tested = self._run.tested
        return tested + int(self._settings.window_seconds * SECOND) if tested >= 0 else 0

    @property
    def _settings(self) -> DetectSettings:
        return self._context.runtime.settings.detect

    def _adopt(self, outcome: Outcome) -> bool:
        """Take up the reference in force; a new one redefines what is normal, so incidents end."""
        reference = self._context.references.current(self.model)
        version = reference.version if reference is not None else ""
        if version == self._version:
            return False
        if self._version:
            self._tracker.end_all(self._run.number, self.totals.last_at, outcome)
        self._version, self._reference, self._alarmed = version, reference, {}
        self._windows.forget_aggregates()
        self._run = MonitorRun(
            self._make, since=self._run.tested, number=self._run.number, attempt=self._attempt
        )
        self._moved = True
        return True

    def _bring_back(self, clocks: Clocks, changes: Changes) -> bool:
        """Drop what lies in the future, which a clock that was ahead told; return whether anything did.

        What was tested stays tested, and the next to be tested is what was appended after the clock was set back; what
        was not tested counts now. So nothing counts twice, and nothing is left out.
        """
        run, latest = self._run, clocks.now + TOLERANCE
        if max(run.tested, self._windows.newest, self.totals.heard_at) <= latest:
            return False
        if run.tested > latest:
            self._windows.forget(run.tested, changes)
            run.settle(self._start_of(clocks.latest_back) - 1)
            self._index.forget_after(run.since)
            self._alarmed = {monitor: min(start, run.since) for monitor, start in self._alarmed.items()}
            self._moved = True
        self._windows.bring_back(latest, self._start_of(clocks.now), changes, self._merge)
        self.totals.bring_back(clocks.now)
        return True

    def _start_of(self, moment: int) -> int:
        return moment - moment % int(self._settings.window_seconds * SECOND)

    def _take_in(
        self, partials: Sequence[tuple[str, PartialAggregate]], clocks: Clocks, changes: Changes
    ) -> None:
        """Add partial aggregates to the windows; when one of these was tested already, go back to before it."""
        run, late = self._run, set()
        for key, one in partials:
            changes.delete(partial_aggregate.collection(self.model), key)
            self.totals.add(one)
            added = self._windows.add(
                one,
                self._version,
                after=run.since,
                instead=run.tested + 1,
                upto=clocks.now + TOLERANCE,
                present=self._start_of(clocks.now),
                merge=self._merge,
            )
            for window, size in added:
                if window <= run.tested:
                    late.add(window)
                    self.totals.late += size
        if partials:
            self.totals.bring_back(clocks.now)
        if late:
            self.totals.restated += len(late)
            run.go_back()
            self._index.forget_after(run.since)

    def _follow(self, tested: Tested, head: int, outcome: Outcome) -> None:
        """Take in what a window showed; of one tested again only alarms after the last that was raised."""
        start = tested.window.start
        self._index.add(tested.first, start)
        raised = [one for one in tested.raised if start > self._alarmed.get(one.monitor, -1)]
        self._alarmed.update({one.monitor: start for one in raised})
        if raised or start > head:
            self._tracker.follow(
                tested, raised, self._version, lambda *case: self._look(tested, *case), outcome
            )

    def _look(self, tested: Tested, item: Raised, calm_since: int, change: int) -> Findings:
        assert self._reference is not None
        log, settings = self._context.runtime.log, self._settings
        name, partitions = log.identity(INFERENCES), [partition for _, partition in log.end(INFERENCES)]
        source = Source(
            log=log,
            model=self.model,
            numbers=self._index,
            seen=partition_index.by_partition(self._store, self.model, partitions, name),
            marks={partition: mark.in_log(name) for partition, mark in read_marks(self._store).items()},
            horizon=int(settings.restate_seconds * SECOND),
            lateness=int(settings.lateness_seconds * SECOND),
            stop=tested.window.start + int(settings.window_seconds * SECOND),
        )
        reference, plugins = self._reference, self._context.plugins
        scorers, monitor = plugins.calls("scorer", reference), self._run.monitors[item.monitor]

        def score(batch: Batch) -> Floats:
            speak = partial(monitor.sample_scores, reference.scored(batch, scorers), item.alarm)
            found = self._attempt(item.monitor, speak)
            return np.full(len(batch), np.nan) if found is None else found

        case = Case(
            alarm=item.alarm,
            score=score,
            ranks=lambda batch: reference.scored(batch, scorers).ranks,
            begun=item.begun,
            calm_since=calm_since,
            change=change,
        )
        return gather(source, case)

    def _forget(self, changes: Changes) -> None:
        """Move the snapshot on, now and then, and forget the windows before it."""
        run, horizon = self._run, int(self._settings.restate_seconds * SECOND)
        if run.tested - run.since > _SLACK * horizon:
            final = run.tested - horizon
            run.advance(self._windows.between(run.since, final), final)
            self._moved = True
        if self._moved:
            self._windows.forget(run.since, changes)
            self._keep_snapshot(changes)
            self._moved = False

    def _keep_snapshot(self, changes: Changes) -> None:
        since, number, monitors = self._run.snapshot
        kept = {"since": since, "number": number, "monitors": monitors}
        changes.put(SNAPSHOTS, self.model, dump_any(kept))

    def _settle(self, outcome: Outcome, changes: Changes) -> None:
        self.totals.incidents.update(outcome.opened)
        self.totals.flags.update(outcome.flags)
        for name, incident in outcome.incidents.items():
            changes.put(INCIDENTS, name, dump(incident))
        if outcome.incidents:
            matcher.announce(self.model, self._version, self._tracker.matchers, changes)
        self._windows.write(changes)
        changes.put(COLLECTION, self.model, self._dump())

    def _dump(self) -> bytes:
        return dump_any(
            {
                "v": _VERSION,
                **self.totals.dump(),
                "reference": self._version,
                "ratio": self.readings()[0],
                "tested": self._run.tested,
                "alarmed": self._alarmed,
                "index": self._index.dump(),
                "open": list(self._tracker.open_ones.values()),
                "matchers": [dump(matcher) for matcher in self._tracker.matchers],
                "calm_since": self._tracker.calm_since,
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

    def _resumed(self, tested: int) -> MonitorRun:
        """Make the run again: from the snapshot over the windows that were tested since."""
        reference = self._context.references.current(self.model)
        if reference is not None and reference.version == self._version:
            self._reference = reference
        stored = self._store.get(SNAPSHOTS, self.model)
        found: dict[str, Any] = load_any(stored) if stored is not None else {}
        run = MonitorRun(
            self._make,
            since=found.get("since", -1),
            number=found.get("number", 0),
            snapshot=found.get("monitors"),
            unreadable=self._starts_anew,
            attempt=self._attempt,
        )
        run.run(self._windows.between(run.since, tested))
        return run

    def _make(self) -> dict[str, Monitor]:
        return {} if self._reference is None else self._context.plugins.fresh(self._reference)

    def _attempt(self, name: str, work: Callable[[], T], /) -> T | None:
        """Call a monitor; there are none without a reference."""
        assert self._reference is not None
        return self._context.plugins.calls("monitor", self._reference)(name, work)

    def _merge(self, name: str, one: bytes, other: bytes) -> bytes | None:
        monitor = self._run.monitors.get(name)
        return None if monitor is None else self._attempt(name, partial(merged, monitor, one, other))

    def _starts_anew(self, name: str, error: DecodeError) -> None:
        self._context.runtime.failed("detect", error)
        _logger.warning("%s: monitor %s starts anew: %s", self.model, name, error)

    def _incident(self, name: str) -> Incident:
        data = self._store.get(INCIDENTS, name)
        if data is None:
            raise DecodeError(f"state of detect/{self.model}", name, "names an incident that is not stored")
        return load(Incident, data)
