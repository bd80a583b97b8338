"""Sums over all partitions, by window, of those windows that may still change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from davy.codec import dump_any, load_any
from davy.store import Batch as Changes
from davy.store import Store
from davy_detectors.stream.partial_aggregate import PartialAggregate

Merge: TypeAlias = Callable[[str, bytes, bytes], bytes | None]
"""Merges two aggregates of the monitor with this name; None where nobody here can."""


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

    `size` inferences, the newest at `latest`; `aggregates` has by monitor how many of them, looked at with the
    reference in force, are in its aggregate, and that as bytes.
    """

    start: int
    size: int = 0
    latest: int = 0
    aggregates: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def take_in(self, other: Window, latest: int, merge: Merge) -> None:
        """Add what was counted in another window, as if it had happened at `latest`."""
        self.size += other.size
        self.latest = max(self.latest, latest)
        for name, (size, aggregate) in other.aggregates.items():
            self.add(name, size, aggregate, merge)

    def add(self, monitor: str, size: int, aggregate: bytes, merge: Merge) -> None:
        """Add what a monitor made of `size` inferences; nothing where it cannot be merged with what is there."""
        if monitor not in self.aggregates:
            self.aggregates[monitor] = size, aggregate
            return
        known, before = self.aggregates[monitor]
        merged = merge(monitor, before, aggregate)
        if merged is not None:
            self.aggregates[monitor] = known + size, merged


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
            start, size, latest, aggregates = load_any(data)
            known = {name: (count, aggregate) for name, (count, aggregate) in aggregates.items()}
            self._windows[start] = Window(start, size, latest, known)

    @property
    def newest(self) -> int:
        """The start of the last window; -1 when there is none."""
        return max(self._windows, default=-1)

    def add(
        self,
        partial: PartialAggregate,
        reference: str,
        *,
        after: int,
        instead: int,
        upto: int,
        present: int,
        merge: Merge,
    ) -> list[tuple[int, int]]:
        """Add a partial aggregate; return (start of window, inferences) of what it held.

        Inferences of a window up to `after`, which can no longer change, count in the window `instead`; those of one
        after `upto`, which has not come yet, in the window `present`. Their aggregates are left out when they were made
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
            if partial.aggregates and partial.reference == reference and partial.tested[index]:
                for name, aggregates in partial.aggregates.items():
                    window.add(name, int(partial.tested[index]), aggregates[index], merge)
            self._changed.add(start)
            added.append((start, size))
        return added

    def replace(self, start: int, monitor: str, size: int, aggregate: bytes) -> None:
        """Let a monitor's aggregate of the window that starts there be this one, of `size` pairs; none of 0."""
        window = self._windows.setdefault(start, Window(start, latest=start))
        if size:
            window.aggregates[monitor] = size, aggregate
        else:
            window.aggregates.pop(monitor, None)
        self._changed.add(start)

    def between(self, after: int, upto: int) -> list[Window]:
        """Return the windows with ``after < start <= upto``, in order."""
        return [self._windows[start] for start in sorted(self._windows) if after < start <= upto]

    def forget(self, upto: int, changes: Changes) -> None:
        """Forget the windows up to this one."""
        for start in [start for start in self._windows if start <= upto]:
            del self._windows[start]
            self._changed.discard(start)
            changes.delete(self._collection, _key(start))

    def bring_back(self, upto: int, present: int, changes: Changes, merge: Merge) -> None:
        """Move what was counted in windows after `upto` to the window `present`."""
        for start in [start for start in self._windows if start > upto]:
            future = self._windows.pop(start)
            self._changed.discard(start)
            changes.delete(self._collection, _key(start))
            self._windows.setdefault(present, Window(present)).take_in(future, present, merge)
            self._changed.add(present)

    def forget_aggregates(self) -> None:
        """Forget what was aggregated with the reference that no longer is in force."""
        for window in self._windows.values():
            window.aggregates = {}
            self._changed.add(window.start)

    def write(self, changes: Changes) -> None:
        """Put what changed since the last time into a transaction."""
        for start in sorted(self._changed):
            window = self._windows[start]
            state = [window.start, window.size, window.latest, window.aggregates]
            changes.put(self._collection, _key(start), dump_any(state))
        self._changed.clear()


def _key(start: int) -> str:
    return f"{start:020}"
