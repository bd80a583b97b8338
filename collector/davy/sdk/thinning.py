"""Less of everything under overload, instead of whatever came last: the rate falls before the queue is full."""

from __future__ import annotations

import math
import threading
from typing import Final

from davy.sdk.forksafe import ForkSafe
from davy.sdk.lane import Lane
from davy.sdk.sampling import Sampler

_LOOK_NS: Final = 100_000_000
_MOST_HALVINGS: Final = 10
_CROWDED, _RELIEVED = 1 / 2, 1 / 4
_GROWTH: Final = 1 / 16


class Thinning(ForkSafe):
    """Halves the rate in force while the lane is more than half full, and doubles it back below a quarter.

    It looks every 100 ms, and in a burst each time the lane has grown by another sixteenth. The rate depends on what
    came before and never on the inference it is applied to, so that weights of ``1 / rate`` leave no bias [1]_. A batch
    that the lane has no room for has a rate of its own, by which it fills half of the room.

    Parameters
    ----------
    lane
        Whose fullness counts, in inferences or bytes, whichever is more.
    base
        The sampler without overload.

    Attributes
    ----------
    sampler
        The one that was in force at the last look.
    mark
        The inferences and bytes beyond which the lane is looked at again at once: at the full rate, until then, the
        sampler stays the same whatever the time is.

    References
    ----------
    .. [1] D. G. Horvitz, D. J. Thompson, "A generalization of sampling without replacement from a finite universe",
       Journal of the American Statistical Association 47, 1952.
    """

    __slots__ = ("_halvings", "_lane", "_lock", "_looked", "_samplers", "base", "mark", "sampler")

    def __init__(self, lane: Lane, base: Sampler) -> None:
        super().__init__()
        self.base = base
        self._lane = lane
        self._samplers = [base, *(Sampler(base.rate / 2**n) for n in range(1, _MOST_HALVINGS + 1))]
        self.renew()

    def renew(self) -> None:
        """Begin at the full rate: the child's queue is empty."""
        self._lock = threading.RLock()
        self._halvings = self._looked = 0
        self.mark = self._lane.at_fullness(_CROWDED)
        self.sampler = self.base

    def at(self, now: int) -> Sampler:
        """Return the sampler in force at `now`, nanoseconds since the epoch."""
        lane, (rows, size) = self._lane, self.mark
        # A clock that was set back must not put the next look off.
        if not 0 <= now - self._looked < _LOOK_NS or lane.rows > rows or lane.size > size:
            self._look(now)
        return self.sampler

    def for_batch(self, sampler: Sampler, rows: int, size: int = 0) -> Sampler:
        """Return the sampler for a batch of which `sampler` keeps so many inferences, with so many bytes.

        It is `sampler` itself where these fit; and where the lane is full, for then no rate helps.
        """
        over = self._lane.over(rows, size)
        return sampler if over <= 1 or math.isinf(over) else Sampler(sampler.rate * _CROWDED / over)

    def _look(self, now: int) -> None:
        with self._lock:
            since, fullness = now - self._looked, self._lane.fullness()
            due = not 0 <= since < _LOOK_NS
            if fullness > _CROWDED:
                self._halvings = min(_MOST_HALVINGS, self._halvings + 1)
            elif fullness < _RELIEVED and due:
                # Nobody may have called for long; then the queue was as empty all that time.
                self._halvings = max(0, self._halvings - max(1, since // _LOOK_NS))
            if due:
                self._looked = now
            self.mark = self._lane.at_fullness(max(_CROWDED, fullness + _GROWTH))
            self.sampler = self._samplers[self._halvings]
