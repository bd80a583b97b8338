"""Runs the monitors of a model over its windows, and back to where they were when inferences come late."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from davy.errors import DecodeError, PluginFailed
from davy_detectors.scorer import Attempt, attempted
from davy_detectors.stream.windows import Window

if TYPE_CHECKING:
    from davy_detectors.base import Alarm, Monitor, Reading

States: TypeAlias = Mapping[str, tuple[int, bytes]]
"""For every monitor how many inferences it tested, and its state."""
_BLOCK: Final = 32


@dataclass(frozen=True, slots=True)
class Raised:
    """An alarm of the monitor called `monitor`, with events as it counts them; `begun` makes them the model's."""

    monitor: str
    alarm: Alarm
    begun: int

    @property
    def number(self) -> int:
        """The running number of the inference that raised it."""
        return self.alarm.event + self.begun


@dataclass(frozen=True, slots=True)
class Tested:
    """An window that was tested: the running number of its first inference, and the alarms it raised."""

    window: Window
    first: int
    raised: list[Raised] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The running number of its last inference."""
        return self.first + self.window.size - 1


class MonitorRun:
    """The monitors of one model where they have come to, and a snapshot of them before all that may still change.

    Parameters
    ----------
    make
        Makes fresh monitors, by name.
    since, number
        The start of the last window before the snapshot, and the running number of the first inference after it.
    snapshot
        The monitors there; those it lacks are fresh.
    unreadable
        Called with the name of a monitor whose state cannot be read: it starts anew.
    attempt
        Calls a monitor, known by its name; gives None where it failed and that is taken care of. A monitor that failed
        goes on from the snapshot, or is gone.

    Attributes
    ----------
    tested
        The start of the last window that was tested.
    number
        Running number of the next inference.
    monitors
        By name.
    """

    def __init__(
        self,
        make: Callable[[], dict[str, Monitor]],
        *,
        since: int = -1,
        number: int = 0,
        snapshot: States | None = None,
        unreadable: Callable[[str, DecodeError], None] | None = None,
        attempt: Attempt = attempted,
    ) -> None:
        self._make, self._attempt = make, attempt
        self.since, self._begun = since, number
        self.tested, self.number = since, number
        self.monitors = make()
        self._done = dict.fromkeys(self.monitors, 0)
        for name, (done, state) in (snapshot or {}).items():
            if name in self.monitors:
                try:
                    self.monitors[name].restore(state)
                    self._done[name] = done
                except DecodeError as error:
                    self.monitors[name] = make()[name]
                    if unreadable is not None:
                        unreadable(name, error)
        self._snapshot = self._states()

    @property
    def snapshot(self) -> tuple[int, int, States]:
        """The arguments `since`, `number` and `snapshot` with which another run goes on from there."""
        return self.since, self._begun, self._snapshot

    def run(self, windows: Sequence[Window]) -> list[Tested]:
        """Test windows in order."""
        found = []
        for start in range(0, len(windows), _BLOCK):
            found += self._run(windows[start : start + _BLOCK])
        return found

    def go_back(self) -> None:
        """Return to the snapshot."""
        self._go_to(self.since, self._begun, self._snapshot)

    def advance(self, windows: Sequence[Window], upto: int) -> None:
        """Move the snapshot on over `windows`, which are all that start after it and up to `upto`."""
        here = (self.tested, self.number, self._states())
        self.go_back()
        self.run(windows)
        self.since, self._begun, self._snapshot = upto, self.number, self._states()
        self._go_to(*here)

    def settle(self, upto: int) -> None:
        """Take all that was tested for final, and go on with what starts after `upto`."""
        self._begun, self._snapshot = self.number, self._states()
        self.since = self.tested = upto

    def readings(self) -> list[Reading]:
        """Return what every monitor shows."""
        found = [self._attempt(name, monitor.reading) for name, monitor in self.monitors.items()]
        return [reading for reading in found if reading is not None]

    def _run(self, windows: Sequence[Window]) -> list[Tested]:
        found: dict[int, Tested] = {}
        for window in windows:
            found[window.start] = Tested(window, self.number)
            self.number += window.size
            self.tested = window.start
        for name, monitor in list(self.monitors.items()):
            counted = [window for window in windows if name in window.aggregates]
            if not counted:
                continue
            sizes = [window.aggregates[name][0] for window in counted]
            lasts = self._done[name] + np.cumsum(sizes, dtype=np.int64) - 1
            alarms = self._attempt(name, partial(_tested, name, monitor, counted, lasts))
            if alarms is None:
                self._begin_again(name)
                continue
            self._done[name] += sum(sizes)
            for alarm in alarms:
                tested = found[counted[int(np.searchsorted(lasts, alarm.event))].start]
                tested.raised.append(Raised(name, alarm, tested.last - alarm.event))
        return list(found.values())

    def _begin_again(self, name: str) -> None:
        """Put a monitor that failed where the snapshot has it; one that is suspended is gone."""
        del self.monitors[name], self._done[name]
        made = self._make().get(name)
        done, state = self._snapshot.get(name, (0, b""))
        if made is not None and (not state or self._attempt(name, lambda: _restored(made, state))):
            self.monitors[name], self._done[name] = made, done

    def _states(self) -> States:
        states = {name: self._attempt(name, monitor.to_bytes) for name, monitor in self.monitors.items()}
        return {name: (self._done[name], state) for name, state in states.items() if state is not None}

    def _go_to(self, tested: int, number: int, states: States) -> None:
        self.tested, self.number = tested, number
        for name in list(self.monitors):
            done, state = states.get(name, (0, b""))
            if not state or self._attempt(name, partial(_restored, self.monitors[name], state)) is None:
                self._begin_again(name)
            else:
                self._done[name] = done


def merged(monitor: Monitor, one: bytes, other: bytes) -> bytes:
    """Return the bytes of two aggregates of a monitor in one."""
    kind = monitor.aggregate_type
    return kind.from_bytes(one).merge(kind.from_bytes(other)).to_bytes()


def _tested(name: str, monitor: Monitor, windows: Sequence[Window], lasts: NDArray[np.int64]) -> list[Alarm]:
    found = [window.aggregates[name] for window in windows]
    aggregates = [monitor.aggregate_type.from_bytes(aggregate) for _, aggregate in found]
    alarms = monitor.test(aggregates, [size for size, _ in found])
    for alarm in alarms:
        if alarm.event not in lasts:
            raise PluginFailed(
                "alarm.event", alarm.event, "give the last inference of a window that was tested"
            )
    return alarms


def _restored(monitor: Monitor, state: bytes) -> bool:
    monitor.restore(state)
    return True
