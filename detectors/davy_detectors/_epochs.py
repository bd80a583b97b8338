"""Sums over all partitions, by epoch, of those epochs that may still change."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from davy.codec import dump_any, load_any
from davy.store import Batch as Changes
from davy.store import Store
from davy_detectors._tally import Compact, Tally, compact


def collection(model: str) -> str:
    """Return the collection of a model's epochs."""
    return f"epochs/{model}"


def newest(store: Store, model: str) -> int:
    """Return when the newest stored epoch of a model starts, -1 when none is stored."""
    return max((int(key) for key, _ in store.items(collection(model))), default=-1)


def sizes(store: Store, model: str, since: int) -> int:
    """Return how many inferences of a model fell into the stored epochs that start at `since` or later."""
    return sum(int(load_any(data)[1]) for key, data in store.items(collection(model)) if int(key) >= since)


@dataclass(slots=True)
class Epoch:
    """What was counted in one epoch, known by the moment `start`, nanoseconds since 1970.

    `size` inferences, the newest at `latest`; `tested` of them, those counted with the reference in force, are in
    `counts`, by monitor.
    """

    start: int
    size: int = 0
    latest: int = 0
    tested: int = 0
    counts: dict[str, Compact] = field(default_factory=dict)

    def take_in(self, other: Epoch, latest: int) -> None:
        """Add what was counted in another epoch, as if it had happened at `latest`."""
        self.size += other.size
        self.latest = max(self.latest, latest)
        self.tested += other.tested
        for name, counts in other.counts.items():
            self.counts[name] = compact(counts.astype(np.int64) + self.counts.get(name, 0))


class Epochs:
    """The epochs of one model, kept in ``epochs/<model>``.

    Parameters
    ----------
    store, model
        Where they are kept.
    """

    def __init__(self, store: Store, model: str) -> None:
        self._collection = collection(model)
        self._epochs: dict[int, Epoch] = {}
        self._changed: set[int] = set()
        for _, data in store.items(self._collection):
            epoch = Epoch(*load_any(data))
            self._epochs[epoch.start] = epoch

    @property
    def newest(self) -> int:
        """The start of the last epoch; -1 when there is none."""
        return max(self._epochs, default=-1)

    def add(
        self, tally: Tally, reference: str, *, after: int, instead: int, upto: int, present: int
    ) -> list[tuple[int, int]]:
        """Add a tally; return (start of epoch, inferences) of what it held.

        Inferences of an epoch up to `after`, which can no longer change, count in the epoch `instead`; those of one
        after `upto`, which has not come yet, in the epoch `present`. Their counts are left out when they were made with
        another reference.
        """
        added = []
        for index, (moment, size) in enumerate(zip(tally.epochs.tolist(), tally.sizes.tolist(), strict=True)):
            latest = int(tally.latest[index])
            if moment > upto:
                moment = latest = present
            start = moment if moment > after else instead
            epoch = self._epochs.setdefault(start, Epoch(start))
            epoch.size += size
            epoch.latest = max(epoch.latest, latest)
            if tally.counts and tally.reference == reference and tally.tested[index]:
                epoch.tested += int(tally.tested[index])
                for name, counts in tally.counts.items():
                    epoch.counts[name] = compact(counts[index].astype(np.int64) + epoch.counts.get(name, 0))
            self._changed.add(start)
            added.append((start, size))
        return added

    def between(self, after: int, upto: int) -> list[Epoch]:
        """Return the epochs with ``after < start <= upto``, in order."""
        return [self._epochs[start] for start in sorted(self._epochs) if after < start <= upto]

    def forget(self, upto: int, changes: Changes) -> None:
        """Forget the epochs up to this one."""
        for start in [start for start in self._epochs if start <= upto]:
            del self._epochs[start]
            self._changed.discard(start)
            changes.delete(self._collection, _key(start))

    def bring_back(self, upto: int, present: int, changes: Changes) -> None:
        """Let what was counted in epochs after `upto` count in the epoch `present`."""
        for start in [start for start in self._epochs if start > upto]:
            future = self._epochs.pop(start)
            self._changed.discard(start)
            changes.delete(self._collection, _key(start))
            self._epochs.setdefault(present, Epoch(present)).take_in(future, present)
            self._changed.add(present)

    def forget_counts(self) -> None:
        """Forget what was counted with the reference that no longer is in force."""
        for epoch in self._epochs.values():
            epoch.tested, epoch.counts = 0, {}
            self._changed.add(epoch.start)

    def write(self, changes: Changes) -> None:
        """Put what changed since the last time into a transaction."""
        for start in sorted(self._changed):
            epoch = self._epochs[start]
            state = [epoch.start, epoch.size, epoch.latest, epoch.tested, epoch.counts]
            changes.put(self._collection, _key(start), dump_any(state))
        self._changed.clear()


def _key(start: int) -> str:
    return f"{start:020}"
