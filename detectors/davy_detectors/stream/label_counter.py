"""What became known about inferences, partition by partition: feedback and labels in; partial aggregates out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from davy import metrics
from davy.codec import load
from davy.event import FEEDBACK, LABELS, Feedback, Label
from davy_detectors.labelled.rows import label_rows
from davy_detectors.reference import active
from davy_detectors.stream import partial_aggregate
from davy_detectors.stream.clocks import Watermark, watermarks
from davy_detectors.stream.context import SECOND, DetectContext
from davy_detectors.stream.partial_aggregate import MODELS, PartialAggregate, place_of

if TYPE_CHECKING:
    from davy.log import Message, Partition, Record
    from davy.store import Batch as Changes

Told: TypeAlias = Feedback | Label
UNKNOWN: Final = "unknown model"
UNWATCHED: Final = "no reference"
_logger: Final = logging.getLogger("davy.detectors")


class LabelCounter:
    """Implements `davy.consume.Role` over one partition of feedback or labels.

    Parameters
    ----------
    context
        What all partitions of this process share.
    place
        Topic and partition.
    """

    name: str = "detect-labels"
    topics: Sequence[str] = (FEEDBACK, LABELS)

    def __init__(self, context: DetectContext, place: Partition) -> None:
        self._context = context
        self._topic, self._partition = place
        self._mark = Watermark()

    def restore(self) -> None:
        """Take up how far this partition is counted."""
        runtime = self._context.runtime
        stored = runtime.store.get(watermarks(self._topic), str(self._partition))
        mark = Watermark.of(stored) if stored is not None else Watermark()
        self._mark = mark.in_log(runtime.log.identity(self._topic))

    def decode(self, record: Record) -> Told:
        """Read feedback or a label."""
        return load(Feedback, record.value) if record.topic == FEEDBACK else load(Label, record.value)

    def handle(self, items: Sequence[tuple[Record, Told]], batch: Changes) -> list[Message]:
        """Hand what was said to whoever tests the models, and say up to which append time this partition is counted."""
        set_back = sum(self._mark.pass_by(record) for record, _ in items)
        if set_back:
            self._context.runtime.meter.add(metrics.CLOCK_SET_BACK, set_back, role=self.name)
        by_model: dict[str, list[tuple[Told, int]]] = {}
        for record, told in items:
            if isinstance(told, Feedback) or told.answer is not None or told.verdict:  # else it was skipped
                by_model.setdefault(told.model, []).append((told, self._mark.dated(record).at))
        left: Counter[str] = Counter()
        store, last = self._context.runtime.store, items[-1][0].offset
        watched = active.names(store)
        for model, mine in by_model.items():
            if not model:
                left[UNKNOWN] += len(mine)
                _logger.info("feedback names no model and nobody knows it: every model looks for the ids")
            elif model not in watched:
                left[UNWATCHED] += len(mine)
            rows = label_rows(mine, self._horizon, offered=not model)
            for one in sorted(watched) if not model else {model} & watched:
                place = f"{self._topic}/{place_of(self._partition, self._mark.log, last)}/{len(model)}"
                batch.put(partial_aggregate.collection(one), place, PartialAggregate(labels=rows).to_bytes())
                batch.put(MODELS, one, place.encode())
        for reason, count in left.items():
            self._context.runtime.meter.add(metrics.FEEDBACK_UNPLACED, count, reason=reason)
        batch.put(watermarks(self._topic), str(self._partition), self._mark.to_bytes())
        return []

    def idle(self, batch: Changes) -> list[Message]:  # noqa: ARG002 - the contract's
        """Do nothing."""
        return []

    @property
    def _horizon(self) -> int:
        return int(self._context.runtime.settings.detect.restate_seconds * SECOND)
