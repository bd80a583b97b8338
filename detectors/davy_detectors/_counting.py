"""The counting half of detection: one partition's inferences in; tallies and flags out."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from davy import metrics
from davy.codec import decode
from davy.event import INFERENCES, Envelope
from davy.log import Message, Record
from davy.store import Batch as Changes
from davy_detectors import _flags, _seen, _tally
from davy_detectors._clocks import WATERMARKS, Watermark
from davy_detectors._roster import UNLISTED, get_sketch, put_sketch
from davy_detectors._seen import Seen
from davy_detectors._stretch import Stretch
from davy_detectors._tally import MODELS, Tally
from davy_detectors._tools import SECOND, Tools
from davy_detectors.base import Floats

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy_detectors.reference import Reference


_SAY_EVERY_SECONDS: Final = 60.0
"""Where several clocks stamp the records of one partition, one is set back with every other record."""
_logger: Final = logging.getLogger("davy.detectors")


class Counting:
    """Implements `davy.consume.Role` over one partition of the inferences.

    Every model is counted from its first inference on. Once it has a reference (`davy reference fit`), its inferences
    are counted for the monitors too and scorers flag samples.

    Parameters
    ----------
    tools
        What all partitions of this process share.
    partition
        Which one.
    """

    name: str = "detect"
    topics: Sequence[str] = (INFERENCES,)

    def __init__(self, tools: Tools, partition: int) -> None:
        self._tools = tools
        self._partition = partition
        self._seen: dict[str, Seen] = {}
        self._mark = Watermark()
        self._silent_until = 0.0

    def restore(self) -> None:
        """Take up what this partition remembers."""
        store, log = self._tools.runtime.store, self._tools.runtime.log.identity(INFERENCES)
        self._seen = {}  # each is taken up with the first record of its model
        stored = store.get(WATERMARKS, str(self._partition))
        self._mark = (Watermark.of(stored) if stored is not None else Watermark()).in_log(log)

    def decode(self, record: Record) -> Envelope:
        """Read an envelope."""
        return decode(record.value)

    def handle(self, items: Sequence[tuple[Record, Envelope]], batch: Changes) -> list[Message]:
        """Count envelopes, model by model, and say up to which append time this partition is counted."""
        set_back = sum(self._mark.pass_by(record) for record, _ in items)
        if set_back:
            self._set_back(set_back, batch)
        by_model: dict[str, list[tuple[Record, Envelope]]] = {}
        listed = self._listed(items, batch)
        for record, envelope in items:
            name = envelope.model if envelope.model in listed else UNLISTED
            by_model.setdefault(name, []).append((self._mark.dated(record), envelope))
        messages: list[Message] = []
        for model, mine in by_model.items():
            messages += self._count(model, mine, batch)
        batch.put(WATERMARKS, str(self._partition), self._mark.to_bytes())
        return messages

    def idle(self, batch: Changes) -> list[Message]:  # noqa: ARG002 - the contract's
        """Do nothing: silence is noticed by those who test."""
        return []

    def _listed(self, items: Sequence[tuple[Record, Envelope]], batch: Changes) -> set[str]:
        """Return the models that are counted by name, and remember how many are not."""
        models = {envelope.model for _, envelope in items}
        roster = self._tools.roster
        for model in self._seen.keys() & roster.retirements.current().keys():
            del self._seen[model]
        listed = roster.listed(models, batch)
        others = models - listed
        if others:
            roster.say(others)
            sketch = get_sketch(self._tools.runtime.store, self._partition)
            if sketch.add(others, max(record.at for record, _ in items)):
                put_sketch(self._partition, sketch, batch)
        return listed

    def _set_back(self, times: int, batch: Changes) -> None:
        """Believe nothing any longer that was remembered of times which have not come yet."""
        mark, remembered = self._mark, _seen.collection(self._partition)
        for model, data in self._tools.runtime.store.items(remembered):
            seen = self._seen.get(model) or Seen.load(data, mark.log)
            seen.set_back(mark.back)
            batch.put(remembered, model, seen.dump())
        self._tools.runtime.meter.add(metrics.CLOCK_SET_BACK, times, role=self.name)
        if time.monotonic() < self._silent_until:
            return
        self._silent_until = time.monotonic() + _SAY_EVERY_SECONDS
        seconds = (mark.ahead - mark.back) / SECOND
        said = "the clock by which inferences are appended has been set back to %s, by %.0f s"
        _logger.warning(said, datetime.fromtimestamp(mark.back / SECOND, UTC).isoformat(), seconds)

    def _count(self, model: str, items: Sequence[tuple[Record, Envelope]], batch: Changes) -> list[Message]:
        if model not in self._seen:
            stored, log = (
                self._tools.runtime.store.get(_seen.collection(self._partition), model),
                self._mark.log,
            )
            self._seen[model] = Seen(log) if stored is None else Seen.load(stored, log)
        seen, tally = self._seen[model], Tally(heard_at=max(record.at for record, _ in items))
        kept = []
        for record, envelope in items:
            if seen.is_repeated(envelope):
                tally.repeated += envelope.count
                continue
            tally.dropped.update(envelope.report)
            if envelope.count:
                kept.append((record, envelope))
        messages = self._look_at(model, kept, seen, tally) if kept else []
        place = _tally.place_of(self._partition, self._mark.log, items[-1][0].offset)
        batch.put(_tally.collection(model), place, tally.to_bytes())
        batch.put(MODELS, model, place.encode())
        batch.put(_seen.collection(self._partition), model, seen.dump())
        return messages

    def _look_at(
        self, model: str, items: Sequence[tuple[Record, Envelope]], seen: Seen, tally: Tally
    ) -> list[Message]:
        settings, reference = self._settings, self._tools.references.current(model)
        stretch = Stretch(items, int(settings.restate_seconds * SECOND))
        lateness = int(settings.lateness_seconds * SECOND)
        for (record, _), moments in zip(items, stretch.moments_by_record(), strict=True):
            seen.pass_by(record.offset, moments, late=record.at - int(moments.min()) > lateness)
        self._tally(stretch, tally, reference)
        if model == UNLISTED:  # which is many: counted, and nothing else
            return []
        arms = [_flags.control_arm(stretch, model, settings.control_share)]
        ranks: Mapping[str, Floats] = {}
        if reference is not None:
            ranks = reference.ranks(stretch.batch)
            self._show(model, ranks)
            arms += _flags.score_arms(ranks, settings.flag_share)
            arms += self._incident_arms(stretch, reference)
        flags, reasons = _flags.messages(stretch, model, ranks, arms)
        tally.flags.update(reasons)
        return flags

    def _tally(self, stretch: Stretch, tally: Tally, reference: Reference | None) -> None:
        length = int(self._settings.epoch_seconds * SECOND)
        epochs, steps = np.unique(stretch.moments - stretch.moments % length, return_inverse=True)
        tally.events, tally.epochs = stretch.count, epochs
        tally.first_seen, tally.last_at = int(stretch.at.min()), int(stretch.at.max())
        tally.sizes = np.bincount(steps)
        tally.latest = np.zeros(len(epochs), np.int64)
        np.maximum.at(tally.latest, steps, stretch.moments)
        if reference is not None:
            tally.reference = reference.version
            batch = stretch.batch
            fresh = batch.at > self._mark.believed(reference.learned_until)
            if not fresh.all():  # what it has learned from is no sample to test
                batch, steps = batch.take(fresh), steps[fresh]
            tally.tested = np.bincount(steps, minlength=len(epochs))
            tally.counts = {
                name: monitor.count(batch, steps, len(epochs))
                for name, monitor in self._tools.monitors.counting(reference).items()
            }

    def _incident_arms(self, stretch: Stretch, reference: Reference) -> list[_flags.Arm]:
        monitors = self._tools.monitors.counting(reference)
        return [
            pursuit.arm(stretch, reference.model, monitors[pursuit.monitor])
            for pursuit in self._tools.pursuits.current(reference.model, reference.version)
            if pursuit.monitor in monitors and np.isfinite(pursuit.level)
        ]

    def _show(self, model: str, ranks: Mapping[str, Floats]) -> None:
        for name, rank in ranks.items():
            self._tools.runtime.meter.observe_many(
                metrics.SCORE, rank[np.isfinite(rank)], model=model, score=name
            )

    @property
    def _settings(self) -> DetectSettings:
        return self._tools.runtime.settings.detect
