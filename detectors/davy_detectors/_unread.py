"""Tells of partitions that nobody reads: every process that detects tells of all of them, whoever is to read them."""

from __future__ import annotations

from collections.abc import Mapping

from davy import metrics
from davy.log import Partition
from davy.meter import Meter


class Unread:
    """Shows for how long no process has read on in a partition that holds unread inferences.

    Parameters
    ----------
    meter
        Where it is shown.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._since: dict[Partition, tuple[int, int]] = {}

    def show(self, unread: Mapping[Partition, int | None], now: int) -> None:
        """Tell where every partition is read next, None where all is read; `now` is in nanoseconds since the epoch."""
        for place, offset in unread.items():
            before, since = self._since.get(place, (None, now))
            since = min(since, now)  # later than now when the clock was set back
            if offset is None or offset != before:
                since = now
            if offset is None:
                self._since.pop(place, None)
            else:
                self._since[place] = offset, since
            self._meter.set(metrics.UNREAD_SECONDS, (now - since) / 1e9, partition=str(place[1]))
