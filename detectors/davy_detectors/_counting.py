"""The counting half of detection: one partition's inferences in; tallies and flags out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from davy import metrics
from davy.codec import decode, dump_any, load_any
from davy.event import INFERENCES, Envelope
from davy.log import Message, Record
from davy.store import Batch as Changes
from davy_detectors import _flags, _seen, _tally
from davy_detectors._seen import Seen
from davy_detectors._stretch import Stretch
from davy_detectors._tally import MODELS, WATERMARKS, Tally
from davy_detectors._tools import SECOND, Tools
from davy_detectors.base import Floats

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy_detectors.reference import Reference


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
        self._through = 0

    def restore(self) -> None:
        """Take up what this partition remembers."""
        store = self._tools.runtime.store
        self._seen = {
            model: Seen.load(data) for model, data in store.items(_seen.collection(self._partition))
        }
        stored = store.get(WATERMARKS, str(self._partition))
        self._through = load_any(stored) if stored is not None else 0

    def decode(self, record: Record) -> Envelope:
        """Read an envelope."""
        return decode(record.value)

    def handle(self, items: Sequence[tuple[Record, Envelope]], batch: Changes) -> list[Message]:
        """Count envelopes, model by model, and say up to which append time this partition is counted."""
        by_model: dict[str, list[tuple[Record, Envelope]]] = {}
        for record, envelope in items:
            by_model.setdefault(envelope.model, []).append((record, envelope))
            self._through = max(self._through, record.at)
        messages: list[Message] = []
        for model, mine in by_model.items():
            messages += self._count(model, mine, batch)
        batch.put(WATERMARKS, str(self._partition), dump_any(self._through))
        return messages

    def idle(self, batch: Changes) -> list[Message]:  # noqa: ARG002 - the contract's
        """Do nothing: silence is noticed by those who test."""
        return []

    def _count(self, model: str, items: Sequence[tuple[Record, Envelope]], batch: Changes) -> list[Message]:
        if model not in self._seen:
            self._seen[model] = Seen()
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
        place = f"{self._partition}/{items[-1][0].offset:020}"
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
            tally.counts = {
                name: monitor.count(stretch.batch, steps, len(epochs))
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
