"""Sums over all partitions, by epoch, of those epochs that may still change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from davy.codec import dump_any, load_any
from davy.store import Batch as Changes
from davy.store import Store
from davy_detectors._tally import Tally, compact
from davy_detectors.base import Counts


@dataclass(slots=True)
class Epoch:
    """What was counted in one epoch.

    `size` inferences, the newest at `latest`; `tested` of them, those counted with the reference in force, are in
    `counts`, by monitor.
    """

    number: int
    size: int = 0
    latest: int = 0
    tested: int = 0
    counts: dict[str, Counts] = field(default_factory=dict)


class Epochs:
    """The epochs of one model, kept in ``epochs/<model>``.

    Parameters
    ----------
    store, model
        Where they are kept.
    """

    def __init__(self, store: Store, model: str) -> None:
        self._collection = f"epochs/{model}"
        self._epochs: dict[int, Epoch] = {}
        self._changed: set[int] = set()
        for _, data in store.items(self._collection):
            epoch = _load(load_any(data))
            self._epochs[epoch.number] = epoch

    def add(self, tally: Tally, reference: str, *, after: int, instead: int) -> list[tuple[int, int]]:
        """Add a tally; give (epoch, inferences) of what it held.

        Inferences of an epoch up to `after`, which can no longer change, count in the epoch `instead`. Their counts are
        left out when they were made with another reference.
        """
        added = []
        for index, (number, size) in enumerate(zip(tally.epochs.tolist(), tally.sizes.tolist(), strict=True)):
            number = number if number > after else instead
            epoch = self._epochs.setdefault(number, Epoch(number))
            epoch.size += size
            epoch.latest = max(epoch.latest, int(tally.latest[index]))
            if tally.counts and tally.reference == reference:
                epoch.tested += size
                for name, counts in tally.counts.items():
                    one = counts[index].astype(np.int64)
                    epoch.counts[name] = epoch.counts[name] + one if name in epoch.counts else one
            self._changed.add(number)
            added.append((number, size))
        return added

    def between(self, after: int, upto: int) -> list[Epoch]:
        """Give the epochs with ``after < number <= upto``, in order."""
        return [self._epochs[number] for number in sorted(self._epochs) if after < number <= upto]

    def forget(self, upto: int, changes: Changes) -> None:
        """Forget the epochs up to this one."""
        for number in [number for number in self._epochs if number <= upto]:
            del self._epochs[number]
            self._changed.discard(number)
            changes.delete(self._collection, _key(number))

    def forget_counts(self) -> None:
        """Forget what was counted with the reference that no longer is in force."""
        for epoch in self._epochs.values():
            epoch.tested, epoch.counts = 0, {}
            self._changed.add(epoch.number)

    def write(self, changes: Changes) -> None:
        """Put what changed since the last time into a transaction."""
        for number in sorted(self._changed):
            epoch = self._epochs[number]
            counts = {name: compact(one) for name, one in epoch.counts.items()}
            state = [epoch.number, epoch.size, epoch.latest, epoch.tested, counts]
            changes.put(self._collection, _key(number), dump_any(state))
        self._changed.clear()


def stacked(epochs: Sequence[Epoch], monitor: str) -> tuple[list[Epoch], Counts]:
    """Give the epochs a monitor has counts of, and these counts, shape ``(k, ...)``."""
    counted = [epoch for epoch in epochs if monitor in epoch.counts]
    return counted, np.stack([epoch.counts[monitor] for epoch in counted]) if counted else np.empty(
        0, np.int64
    )


def _key(number: int) -> str:
    return f"{number:020}"


def _load(state: Sequence[Any]) -> Epoch:
    number, size, latest, tested, counts = state
    found: Mapping[str, Any] = counts
    return Epoch(number, size, latest, tested, {n: one.astype(np.int64) for n, one in found.items()})
