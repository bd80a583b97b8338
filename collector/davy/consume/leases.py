"""The rights one process holds in the store."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from davy.errors import LeaseLost, StoreError
from davy.store import Lease, Store

_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Held:
    lease: Lease
    renewed: float


class Leases:
    """Takes rights for ten seconds and renews them before a third of that has passed.

    Parameters
    ----------
    store
        Where the rights are.

    Examples
    --------
    >>> from davy.store import open_store
    >>> store = open_store("memory://leases")
    >>> one, other = Leases(store), Leases(store)
    >>> one.hold("role/mine") is None, other.hold("role/mine") is None
    (False, True)
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._owner = secrets.token_hex(8)
        self._held: dict[str, _Held] = {}

    def hold(self, name: str) -> Lease | None:
        """Take a right or go on holding it; None while another process has it.

        A lease with another fence than before means that somebody else may have been at it meanwhile.
        """
        held = self._held.get(name)
        if held is not None and time.monotonic() - held.renewed < _SECONDS / 3:
            return held.lease
        return self._acquire(name, steal=False)

    def steal(self, name: str) -> Lease:
        """Take a right whoever has it: the log gave this process what the right stands for."""
        lease = self._acquire(name, steal=True)
        if lease is None:
            raise LeaseLost("lease", name, "the store refused to hand it over; use an adapter that can")
        return lease

    def require(self, name: str) -> Lease:
        """Return a right that must be held, renewed when it is time.

        Raises
        ------
        LeaseLost
            It is not held.
        """
        lease = self.hold(name)
        if lease is None:
            raise LeaseLost("lease", name, "another process took over; nothing was written")
        return lease

    def confirm(self, lease: Lease) -> None:
        """Renew a right when it is time.

        Raises
        ------
        LeaseLost
            It is no longer held, or was lost in between.
        """
        if self.require(lease.name) != lease:
            raise LeaseLost("lease", lease.name, "another process had it meanwhile; nothing was written")

    def release(self, name: str) -> None:
        """Release a right; harmless when it is not held."""
        held = self._held.pop(name, None)
        if held is not None:
            self._store.release(held.lease)

    def close(self) -> None:
        """Release every right; what the store does not take back runs out by itself."""
        for name in list(self._held):
            with suppress(StoreError):
                self.release(name)

    def _acquire(self, name: str, *, steal: bool) -> Lease | None:
        now = time.monotonic()
        lease = self._store.acquire(name, self._owner, seconds=_SECONDS, steal=steal)
        if lease is None:
            self._held.pop(name, None)
        else:
            self._held[name] = _Held(lease, now)
        return lease
