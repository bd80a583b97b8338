"""The counting half of detection: one partition's inferences in; partial aggregates and flags out."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from davy import metrics
from davy.codec import decode
from davy.errors import PluginFailed
from davy.event import INFERENCES, Envelope
from davy.log import Message, Record
from davy.plugins import OfModel
from davy.store import Batch as Changes
from davy_detectors.base import Floats
from davy_detectors.flagging.arms import Arms, flags_of
from davy_detectors.flagging.contract import OpenIncident, Traffic
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
    from davy_detectors.base import Monitor
    from davy_detectors.reference.scored import ScoredBatch


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
        self._arms = Arms(context.plugins, context.runtime.settings.detect)

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
        seen, counted = self._seen[model], PartialAggregate(heard_at=max(record.at for record, _ in items))
        kept = []
        for record, envelope in items:
            if seen.is_repeated(envelope):
                counted.repeated += envelope.count
                continue
            counted.dropped.update(envelope.report)
            if envelope.count:
                kept.append((record, envelope))
        messages = self._look_at(model, kept, seen, counted) if kept else []
        place = partial_aggregate.place_of(self._partition, self._mark.log, items[-1][0].offset)
        batch.put(partial_aggregate.collection(model), place, counted.to_bytes())
        batch.put(MODELS, model, place.encode())
        batch.put(partition_index.collection(self._partition), model, seen.dump())
        return messages

    def _look_at(
        self,
        model: str,
        items: Sequence[tuple[Record, Envelope]],
        seen: PartitionIndex,
        counted: PartialAggregate,
    ) -> list[Message]:
        settings, reference = self._settings, self._context.references.current(model)
        records = RecordSlice(items, int(settings.restate_seconds * SECOND))
        lateness = int(settings.lateness_seconds * SECOND)
        for (record, _), window_times in zip(items, records.window_times_by_record(), strict=True):
            seen.pass_by(record.offset, window_times, late=record.at - int(window_times.min()) > lateness)
        scored = None
        if reference is not None:
            scored = reference.scored(records.batch, self._context.plugins.calls("scorer", reference))
        self._count_windows(records, counted, scored)
        if model == UNLISTED:  # which is many: counted, and nothing else
            return []
        ranks: Mapping[str, Floats] = {} if scored is None else scored.ranks
        self._show(model, ranks)
        traffic = Traffic(model, records, scored, partial(self._incidents, scored))
        chosen = self._arms.draw(traffic, reference or OfModel(model))
        flags, reasons = flags_of(records, model, ranks, chosen)
        counted.flags.update(reasons)
        return flags

    def _count_windows(
        self, records: RecordSlice, counted: PartialAggregate, scored: ScoredBatch | None
    ) -> None:
        length = int(self._settings.window_seconds * SECOND)
        windows, steps = np.unique(records.window_times - records.window_times % length, return_inverse=True)
        counted.events, counted.windows = records.count, windows
        counted.first_seen, counted.last_at = int(records.at.min()), int(records.at.max())
        counted.sizes = np.bincount(steps)
        counted.latest = np.zeros(len(windows), np.int64)
        np.maximum.at(counted.latest, steps, records.window_times)
        if scored is not None:
            counted.reference = scored.reference.version
            fresh = records.at > self._mark.believed(scored.reference.learned_until)
            if not fresh.all():  # what it has learned from is no sample to test
                scored, steps = scored.take(fresh), steps[fresh]
            counted.tested = np.bincount(steps, minlength=len(windows))
            counted.aggregates = self._aggregates(scored, steps, len(windows))

    def _aggregates(
        self, scored: ScoredBatch, windows: NDArray[np.int64], total: int
    ) -> dict[str, list[bytes]]:
        """Return the bytes of every monitor's aggregates of `total` windows."""
        call = self._context.plugins.calls("monitor", scored.reference)
        monitors = self._context.plugins.counting(scored.reference)
        found = {
            name: call(name, partial(aggregated, monitor, scored, windows, total))
            for name, monitor in monitors.items()
        }
        return {name: aggregates for name, aggregates in found.items() if aggregates is not None}

    def _incidents(self, scored: ScoredBatch | None) -> list[OpenIncident]:
        """Return the open incidents of the model, with how strongly these inferences speak for each."""
        if scored is None:
            return []
        reference = scored.reference
        monitors = self._context.plugins.counting(reference)
        call, found = self._context.plugins.calls("monitor", reference), []
        for matcher in self._context.matchers.current(reference.model, reference.version):
            monitor = monitors.get(matcher.monitor)
            if monitor is None or not np.isfinite(matcher.level):
                continue
            scores = call(matcher.monitor, partial(monitor.sample_scores, scored, matcher.alarm))
            if scores is not None:
                found.append(
                    OpenIncident(matcher.incident, matcher.cause, scores, matcher.level, matcher.probability)
                )
        return found

    def _show(self, model: str, ranks: Mapping[str, Floats]) -> None:
        for name, rank in ranks.items():
            self._context.runtime.meter.observe_many(
                metrics.SCORE, rank[np.isfinite(rank)], model=model, score=name
            )

    @property
    def _settings(self) -> DetectSettings:
        return self._context.runtime.settings.detect


def aggregated(monitor: Monitor, scored: ScoredBatch, windows: NDArray[np.int64], total: int) -> list[bytes]:
    """Return the bytes of a monitor's aggregates of `total` windows; raises PluginFailed where they are not that."""
    aggregates = monitor.aggregate(scored, windows, total)
    if len(aggregates) != total:
        raise PluginFailed("aggregates", len(aggregates), f"give one a window, {total} here")
    found = [aggregate.to_bytes() for aggregate in aggregates]
    for data in found:
        if not isinstance(data, bytes):
            raise PluginFailed("aggregate.to_bytes", type(data).__name__, "give bytes")
    return found
