"""The counting half of detection: one partition's inferences in; partial aggregates and flags out."""

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
from davy_detectors.base import Floats
from davy_detectors.flagging.arms import Arm, control_arm, flags_of, score_arms
from davy_detectors.history import partition_index
from davy_detectors.history.partition_index import PartitionIndex
from davy_detectors.history.record_slice import RecordSlice
from davy_detectors.models.roster import UNLISTED, get_sketch, put_sketch
from davy_detectors.stream import partial_aggregate
from davy_detectors.stream.clocks import WATERMARKS, Watermark
from davy_detectors.stream.context import SECOND, DetectContext
from davy_detectors.stream.partial_aggregate import MODELS, PartialAggregate

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy_detectors.reference import Reference


_SAY_EVERY_SECONDS: Final = 60.0
"""Where several clocks stamp the records of one partition, one is set back with every other record."""
_logger: Final = logging.getLogger("davy.detectors")


class PartitionCounter:
    """Implements `davy.consume.Role` over one partition of the inferences.

    Every model is counted from its first inference on. Once it has a reference (`davy reference fit`), its inferences
    are counted for the monitors too and scorers flag samples.

    Parameters
    ----------
    context
        What all partitions of this process share.
    partition
        Which one.
    """

    name: str = "detect"
    topics: Sequence[str] = (INFERENCES,)

    def __init__(self, context: DetectContext, partition: int) -> None:
        self._context = context
        self._partition = partition
        self._seen: dict[str, PartitionIndex] = {}
        self._mark = Watermark()
        self._silent_until = 0.0

    def restore(self) -> None:
        """Take up what this partition remembers."""
        store, log = self._context.runtime.store, self._context.runtime.log.identity(INFERENCES)
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
        roster = self._context.roster
        for model in self._seen.keys() & roster.retirements.current().keys():
            del self._seen[model]
        listed = roster.listed(models, batch)
        others = models - listed
        if others:
            roster.say(others)
            sketch = get_sketch(self._context.runtime.store, self._partition)
            if sketch.add(others, max(record.at for record, _ in items)):
                put_sketch(self._partition, sketch, batch)
        return listed

    def _set_back(self, times: int, batch: Changes) -> None:
        """Believe nothing any longer that was remembered of times which have not come yet."""
        mark, remembered = self._mark, partition_index.collection(self._partition)
        for model, data in self._context.runtime.store.items(remembered):
            seen = self._seen.get(model) or PartitionIndex.load(data, mark.log)
            seen.set_back(mark.back)
            batch.put(remembered, model, seen.dump())
        self._context.runtime.meter.add(metrics.CLOCK_SET_BACK, times, role=self.name)
        if time.monotonic() < self._silent_until:
            return
        self._silent_until = time.monotonic() + _SAY_EVERY_SECONDS
        seconds = (mark.ahead - mark.back) / SECOND
        said = "the clock by which inferences are appended has been set back to %s, by %.0f s"
        _logger.warning(said, datetime.fromtimestamp(mark.back / SECOND, UTC).isoformat(), seconds)

    def _count(self, model: str, items: Sequence[tuple[Record, Envelope]], batch: Changes) -> list[Message]:
        if model not in self._seen:
            stored, log = (
                self._context.runtime.store.get(partition_index.collection(self._partition), model),
                self._mark.log,
            )
            self._seen[model] = PartitionIndex(log) if stored is None else PartitionIndex.load(stored, log)
        seen, partial = self._seen[model], PartialAggregate(heard_at=max(record.at for record, _ in items))
        kept = []
        for record, envelope in items:
            if seen.is_repeated(envelope):
                partial.repeated += envelope.count
                continue
            partial.dropped.update(envelope.report)
            if envelope.count:
                kept.append((record, envelope))
        messages = self._look_at(model, kept, seen, partial) if kept else []
        place = partial_aggregate.place_of(self._partition, self._mark.log, items[-1][0].offset)
        batch.put(partial_aggregate.collection(model), place, partial.to_bytes())
        batch.put(MODELS, model, place.encode())
        batch.put(partition_index.collection(self._partition), model, seen.dump())
        return messages

    def _look_at(
        self,
        model: str,
        items: Sequence[tuple[Record, Envelope]],
        seen: PartitionIndex,
        partial: PartialAggregate,
    ) -> list[Message]:
        settings, reference = self._settings, self._context.references.current(model)
        records = RecordSlice(items, int(settings.restate_seconds * SECOND))
        lateness = int(settings.lateness_seconds * SECOND)
        for (record, _), window_times in zip(items, records.window_times_by_record(), strict=True):
            seen.pass_by(record.offset, window_times, late=record.at - int(window_times.min()) > lateness)
        self._count_windows(records, partial, reference)
        if model == UNLISTED:  # which is many: counted, and nothing else
            return []
        arms = [control_arm(records, model, settings.control_share)]
        ranks: Mapping[str, Floats] = {}
        if reference is not None:
            ranks = reference.ranks(records.batch)
            self._show(model, ranks)
            arms += score_arms(ranks, settings.flag_share)
            arms += self._incident_arms(records, reference)
        flags, reasons = flags_of(records, model, ranks, arms)
        partial.flags.update(reasons)
        return flags

    def _count_windows(
        self, records: RecordSlice, partial: PartialAggregate, reference: Reference | None
    ) -> None:
        length = int(self._settings.window_seconds * SECOND)
        windows, steps = np.unique(records.window_times - records.window_times % length, return_inverse=True)
        partial.events, partial.windows = records.count, windows
        partial.first_seen, partial.last_at = int(records.at.min()), int(records.at.max())
        partial.sizes = np.bincount(steps)
        partial.latest = np.zeros(len(windows), np.int64)
        np.maximum.at(partial.latest, steps, records.window_times)
        if reference is not None:
            partial.reference = reference.version
            batch = records.batch
            fresh = batch.at > self._mark.believed(reference.learned_until)
            if not fresh.all():  # what it has learned from is no sample to test
                batch, steps = batch.take(fresh), steps[fresh]
            partial.tested = np.bincount(steps, minlength=len(windows))
            partial.counts = {
                name: monitor.count(batch, steps, len(windows))
                for name, monitor in self._context.monitors.counting(reference).items()
            }

    def _incident_arms(self, records: RecordSlice, reference: Reference) -> list[Arm]:
        monitors = self._context.monitors.counting(reference)
        return [
            matcher.arm(records, reference.model, monitors[matcher.monitor])
            for matcher in self._context.matchers.current(reference.model, reference.version)
            if matcher.monitor in monitors and np.isfinite(matcher.level)
        ]

    def _show(self, model: str, ranks: Mapping[str, Floats]) -> None:
        for name, rank in ranks.items():
            self._context.runtime.meter.observe_many(
                metrics.SCORE, rank[np.isfinite(rank)], model=model, score=name
            )

    @property
    def _settings(self) -> DetectSettings:
        return self._context.runtime.settings.detect
