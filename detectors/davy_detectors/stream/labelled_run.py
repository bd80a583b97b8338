"""The labelled half of a model's run: pairs in; aggregates of the windows they became known in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from numpy.typing import NDArray

from davy.event import INFERENCES
from davy_detectors.base import watches
from davy_detectors.flagging.arms import control_arm, score_arms
from davy_detectors.history import partition_index
from davy_detectors.history.record_slice import RecordSlice
from davy_detectors.labelled.join import Join, Place
from davy_detectors.labelled.lookup import look_up
from davy_detectors.labelled.rows import inference_rows
from davy_detectors.stream.clocks import read_marks
from davy_detectors.stream.context import SECOND, DetectContext
from davy_detectors.stream.partition_counter import bytes_of

if TYPE_CHECKING:
    from davy.store import Batch as Changes
    from davy_detectors.base import Attempt, LabelledMonitor, Monitor
    from davy_detectors.labelled import JoinCounts, LabelledBatch
    from davy_detectors.reference import Reference
    from davy_detectors.stream.partial_aggregate import PartialAggregate
    from davy_detectors.stream.windows import Windows

_LOOKED_UP: Final = 256
"""Labels that are looked up in the log in one turn, at most."""
_READ: Final = 2_000
"""Records of the log that are read for them, at most."""


class LabelledRun:
    """Joins the labels of a model with its inferences, and has the pairs aggregated.

    Parameters
    ----------
    model
        ``"name:version"``.
    context
        What detection shares in this process.
    """

    def __init__(self, model: str, context: DetectContext) -> None:
        self._model, self._context = model, context
        self._join = Join(context.runtime.store, model, context.runtime.settings.detect.join_inferences)
        self._looks = True

    @property
    def counts(self) -> JoinCounts:
        """What became of feedback and labels."""
        return self._join.counts

    @property
    def looks(self) -> bool:
        """Whether there may be labels left to be looked up in the log."""
        return self._looks

    def take_in(
        self, partials: Sequence[PartialAggregate], reference: Reference | None, place: Place, final: int
    ) -> NDArray[np.int64]:
        """Join what partial aggregates hold; return the windows whose pairs are others now, in order.

        Windows that start up to `final` can no longer change.
        """
        inferences = [one.inferences for one in partials if one.inferences]
        labels = [one.labels for one in partials if one.labels]
        changed = self._join.take_in(inferences, labels, place, final=final)
        self._looks = self._looks or bool(labels)
        if reference is None or not self._looks:
            return changed
        beyond = self._join.beyond(_LOOKED_UP)
        self._looks = len(beyond.places) == _LOOKED_UP
        if not len(beyond.places):
            return changed
        runtime = self._context.runtime
        horizon = int(runtime.settings.detect.restate_seconds * SECOND)
        name, partitions = runtime.log.identity(INFERENCES), [p for _, p in runtime.log.end(INFERENCES)]
        items = look_up(
            runtime.log,
            self._model,
            partition_index.by_partition(runtime.store, self._model, partitions, name),
            {partition: mark.in_log(name) for partition, mark in read_marks(runtime.store).items()},
            beyond,
            horizon=horizon,
            most=_READ,
        )
        found = [self._rows(RecordSlice(items, horizon), reference)] if items else []
        return np.union1d(changed, self._join.found(beyond, found, place))

    def aggregate(
        self,
        changed: NDArray[np.int64],
        reference: Reference,
        monitors: Mapping[str, Monitor],
        attempt: Attempt,
        windows: Windows,
    ) -> None:
        """Have the pairs of the windows that changed aggregated, all of each, in the order of their ids."""
        pairs, cells = self._join.pairs(changed)
        if len(pairs):  # what the reference has learned from is no sample to test
            fresh = np.flatnonzero(pairs.at > reference.learned_until)
            pairs, cells = pairs.take(fresh), cells[fresh]
        sizes = np.bincount(cells, minlength=len(changed)).tolist()
        for name, monitor in monitors.items():
            if watches(monitor) != "labelled":
                continue
            labelled = cast("LabelledMonitor", monitor)
            found = attempt(name, partial(_aggregated, labelled, pairs, cells, len(changed)))
            for place, start in enumerate(changed.tolist()):
                size = sizes[place] if found is not None else 0
                windows.replace(start, name, size, found[place] if found is not None else b"")

    def bring_back(self, latest: int, present: int, tested: int) -> None:
        """See `Join.bring_back`."""
        self._join.bring_back(latest, present, tested)

    def finish(self) -> None:
        """See `Join.finish`."""
        self._join.finish()

    def write(self, changes: Changes) -> None:
        """Put what changed since the last time into a transaction."""
        self._join.write(changes)

    def _rows(self, records: RecordSlice, reference: Reference) -> bytes:
        settings = self._context.runtime.settings.detect
        ranks = reference.scored(records.batch, self._context.plugins.calls("scorer", reference)).ranks
        arms = [control_arm(records, self._model, settings.control_share)]
        return inference_rows(records, ranks, [*arms, *score_arms(ranks, settings.flag_share)])


def _aggregated(
    monitor: LabelledMonitor, pairs: LabelledBatch, cells: NDArray[np.int64], total: int
) -> list[bytes]:
    return bytes_of(monitor.aggregate(pairs, cells, total), total) if len(pairs) else [b""] * total
