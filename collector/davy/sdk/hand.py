"""Parcels on their way: those that wait, and those the sender has in hand until they are settled or put back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence

from davy.sdk.forksafe import ForkSafe
from davy.sdk.parcels import Parcel


class Hand(ForkSafe):
    """Passes parcels to the sender in order; once it lets go, whatever the sender still does to them changes nothing.

    `lock` may be held over several calls: the thread that sends and the one that stops it both reach in.
    """

    def __init__(self) -> None:
        super().__init__()
        self.renew()

    def renew(self) -> None:
        """Forget everything: it is in the parent's hand."""
        self.lock = threading.RLock()
        self.let_go = False
        self._waiting: deque[Parcel] = deque()
        self._held: list[Parcel] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, parcels: Iterable[Parcel], *, first: bool = False) -> None:
        """Queue parcels behind all others or, as they are, before them."""
        with self.lock:
            if first:
                self._waiting.extendleft(reversed(list(parcels)))
            else:
                self._waiting.extend(parcels)

    def take(self, most: int) -> list[Parcel]:
        """Take the next parcels in hand, nothing once it has let go."""
        with self.lock:
            most = 0 if self.let_go else min(most, len(self._waiting))
            self._held = [self._waiting.popleft() for _ in range(most)]
            return list(self._held)

    def settle(self, parcel: Parcel, reason: str = "") -> None:
        """Account for a parcel in hand as sent or, with a reason, as dropped or spooled."""
        with self.lock:
            if self.let_go:
                return  # it is in the spool by now
            self._held.remove(parcel)
            parcel.settle(reason)

    def put_back(self, parcels: Sequence[Parcel] | None = None) -> None:
        """Put parcels, all that are in hand by default, at the head again."""
        with self.lock:
            if self.let_go:
                return
            back = list(self._held if parcels is None else parcels)
            for parcel in back:
                self._held.remove(parcel)
            self._waiting.extendleft(reversed(back))

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
