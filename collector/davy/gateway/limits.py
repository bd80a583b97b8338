"""How much the gateway takes at once, and how fast from one client: refused before memory grows."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from davy.gateway.refusals import Later, TooMany

_CLIENTS: Final = 10_000


class TokenBuckets:
    """A token bucket a client (Turner, "New directions in communications", 1986); at most 10 000 are remembered.

    Parameters
    ----------
    rate
        Requests a second; a client may save up one second's worth. 0 sets no limit.
    clock
        Seconds that only grow.

    Examples
    --------
    >>> buckets = TokenBuckets(2.0, clock=lambda: 0.0)
    >>> buckets.take("a"), buckets.take("a")
    (None, None)
    >>> buckets.take("a")
    Traceback (most recent call last):
    davy.gateway.refusals.TooMany: requests per second: 'a': at most 2 a second; wait 0.5 s
    """

    def __init__(self, rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._most = max(rate, 1.0)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> None:
        """Take a token of a client.

        Raises
        ------
        TooMany
            There is none; says when there will be.
        """
        if not self._rate:
            return
        now = self._clock()
        tokens, since = self._buckets.pop(client, (self._most, now))
        tokens = min(tokens + (now - since) * self._rate, self._most)
        enough = tokens >= 1
        self._buckets[client] = (tokens - enough, now)
        if len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        if not enough:
            wait = (1 - tokens) / self._rate
            remedy = f"at most {self._rate:g} a second; wait {wait:.3g} s"
            raise TooMany("requests per second", client, remedy, wait)


class Reservation:
    """What one request holds of the gateway's room."""

    __slots__ = ("_room", "held")

    def __init__(self, room: Admission) -> None:
        self._room = room
        self.held = 0

    def grow(self, size: int) -> None:
        """Hold at least `size` bytes.

        Raises
        ------
        Later
            There is no room for them now.
        """
        if size > self.held:
            self._room.reserve(size - self.held)
            self.held = size


class Admission:
    """The requests and bytes being read and written at once.

    Parameters
    ----------
    requests, size
        How many, and how many bytes of them.
    """

    def __init__(self, requests: int, size: int) -> None:
        self._most_requests, self._most_bytes = requests, size
        self._requests = self._bytes = 0

    @contextmanager
    def place(self, size: int) -> Iterator[Reservation]:
        """Hold a place for one request of `size` bytes, as far as is known.

        Raises
        ------
        Later
            There is no room now.
        """
        if self._requests >= self._most_requests:
            raise Later("requests at once", self._requests, "the gateway is busy; send it again later")
        place = Reservation(self)
        self._requests += 1
        try:
            place.grow(size)
            yield place
        finally:
            self._requests -= 1
            self.reserve(-place.held)

    def reserve(self, size: int) -> None:
        """Take bytes, or give them back when `size` is negative."""
        if size > 0 and self._bytes + size > self._most_bytes:
            raise Later("bytes at once", self._bytes, "the gateway is busy; send it again later")
        self._bytes += size
