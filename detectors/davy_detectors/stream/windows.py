"""Sums over all partitions, by window, of those windows that may still change."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from davy.codec import dump_any, load_any
from davy.store import Batch as Changes
from davy.store import Store
from davy_detectors.stream.partial_aggregate import Compact, PartialAggregate, compact


def collection(model: str) -> str:
    """Return the collection of a model's windows."""
    return f"windows/{model}"


def newest(store: Store, model: str) -> int:
    """Return when the newest stored window of a model starts, -1 when none is stored."""
    return max((int(key) for key, _ in store.items(collection(model))), default=-1)


def sizes(store: Store, model: str, since: int) -> int:
    """Return how many inferences of a model fell into the stored windows that start at `since` or later."""
    return sum(int(load_any(data)[1]) for key, data in store.items(collection(model)) if int(key) >= since)


@dataclass(slots=True)
class Window:
    """What was counted in one window, known by the moment `start`, nanoseconds since 1970.

    `size` inferences, the newest at `latest`; `tested` of them, those counted with the reference in force, are in
    `counts`, by monitor.
    """

    start: int
    size: int = 0
    latest: int = 0
    tested: int = 0
    counts: dict[str, Compact] = field(default_factory=dict)

    def take_in(self, other: Window, latest: int) -> None:
        """Add what was counted in another window, as if it had happened at `latest`."""
        self.size += other.size
        self.latest = max(self.latest, latest)
        self.tested += other.tested
        for name, counts in other.counts.items():
            self.counts[name] = compact(counts.astype(np.int64) + self.counts.get(name, 0))


class Windows:
    """The windows of one model, kept in ``windows/<model>``.

    Parameters
    ----------
    store, model
        Where they are kept.
    """

    def __init__(self, store: Store, model: str) -> None:
        self._collection = collection(model)
        self._windows: dict[int, Window] = {}
        self._changed: set[int] = set()
        for _, data in store.items(self._collection):
            window = Window(*load_any(data))
            self._windows[window.start] = window

    @property
    def newest(self) -> int:
        """The start of the last window; -1 when there is none."""
        return max(self._windows, default=-1)

    def add(
        self, partial: PartialAggregate, reference: str, *, after: int, instead: int, upto: int, present: int
    ) -> list[tuple[int, int]]:
        """Add a partial aggregate; return (start of window, inferences) of what it held.

        Inferences of a window up to `after`, which can no longer change, count in the window `instead`; those of one
        after `upto`, which has not come yet, in the window `present`. Their counts are left out when they were made
        with another reference.
        """
        added = []
        for index, (moment, size) in enumerate(
            zip(partial.windows.tolist(), partial.sizes.tolist(), strict=True)
        ):
            latest = int(partial.latest[index])
            if moment > upto:
                moment = latest = present
            start = moment if moment > after else instead
            window = self._windows.setdefault(start, Window(start))
            window.size += size
            window.latest = max(window.latest, latest)
            if partial.counts and partial.reference == reference and partial.tested[index]:
                window.tested += int(partial.tested[index])
                for name, counts in partial.counts.items():
                    window.counts[name] = compact(counts[index].astype(np.int64) + window.counts.get(name, 0))
            self._changed.add(start)
            added.append((start, size))
        return added

    def between(self, after: int, upto: int) -> list[Window]:
        """Return the windows with ``after < start <= upto``, in order."""
        return [self._windows[start] for start in sorted(self._windows) if after < start <= upto]

    def forget(self, upto: int, changes: Changes) -> None:
        """Forget the windows up to this one."""
        for start in [start for start in self._windows if start <= upto]:
            del self._windows[start]
            self._changed.discard(start)
            changes.delete(self._collection, _key(start))

    def bring_back(self, upto: int, present: int, changes: Changes) -> None:
        """Let what was counted in windows after `upto` count in the window `present`."""
        for start in [start for start in self._windows if start > upto]:
            future = self._windows.pop(start)
            self._changed.discard(start)
            changes.delete(self._collection, _key(start))
            self._windows.setdefault(present, Window(present)).take_in(future, present)
            self._changed.add(present)

    def forget_counts(self) -> None:
        """Forget what was counted with the reference that no longer is in force."""
        for window in self._windows.values():
            window.tested, window.counts = 0, {}
            self._changed.add(window.start)

    def write(self, changes: Changes) -> None:
        """Put what changed since the last time into a transaction."""
        for start in sorted(self._changed):
            window = self._windows[start]
            state = [window.start, window.size, window.latest, window.tested, window.counts]
            changes.put(self._collection, _key(start), dump_any(state))
        self._changed.clear()


def _key(start: int) -> str:
    return f"{start:020}"
