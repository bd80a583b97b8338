"""Asks roles to stand aside, and holds their leases meanwhile: then nobody else changes what they keep."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from davy.codec import dump_any, load_any
from davy.errors import LeaseLost, StoreError
from davy.forgetting.names import STATE
from davy.log import Partition
from davy.runtime import Runtime
from davy.store import Batch, Lease, Store

_UNTIL: Final = "until"
_MODEL: Final = "model/"
_SECONDS: Final = 10.0
_LONGEST_SECONDS: Final = 60.0
"""Of a request: ten seconds, and by how much the clocks of two machines may differ."""
_LOOK_SECONDS: Final = 0.05


def outbox_of(role: str, place: Partition | None = None) -> str:
    """Name the outbox of a role, of one that spreads that of a partition.

    Examples
    --------
    >>> outbox_of("mine"), outbox_of("detect", ("davy.inferences", 3))
    ('mine', 'detect/davy.inferences/3')
    """
    return role if place is None else f"{role}/{place[0]}/{place[1]}"


def role_lease(role: str, place: Partition | None = None) -> str:
    """Name the lease under which a role, or its part for a partition, changes what it keeps.

    Examples
    --------
    >>> role_lease("mine"), role_lease("detect", ("davy.inferences", 3))
    ('role/mine', 'role/detect/davy.inferences/3')
    """
    return f"role/{outbox_of(role, place)}"


def model_lease(model: str) -> str:
    """Name the lease under which a model is tested, and the outbox of whoever does.

    Examples
    --------
    >>> model_lease("fraud:3")
    'model/fraud:3'
    """
    return f"{_MODEL}{model}"


def outbox_lease(outbox: str) -> str:
    """Name the lease under which an outbox is written.

    Examples
    --------
    >>> outbox_lease(outbox_of("mine")), outbox_lease(model_lease("fraud:3"))
    ('role/mine', 'model/fraud:3')
    """
    return outbox if outbox.startswith(_MODEL) else role_lease(outbox)


def asked_aside(store: Store, now: int) -> bool:
    """Whether roles are to give up their leases for now; `now` is in nanoseconds since the epoch.

    A time further away than any process asks for was written before the clock was set back.
    """
    stored = STATE.get(store, _UNTIL)
    return stored is not None and bool(0 < load_any(stored) - now <= _LONGEST_SECONDS * 1e9)


@contextmanager
def standing_aside(runtime: Runtime, names: Sequence[str], patience: float) -> Iterator[Callable[[], None]]:
    """Hold the leases `names` while roles stand aside; a killed process holds them for ten seconds at most.

    Gives a function that raises LeaseLost once they are not held any more.

    Raises
    ------
    StoreError
        A lease was not given up within `patience` seconds.
    """
    rights = _Rights(runtime)
    keeping = threading.Thread(target=rights.keep, name="davy-rights")
    keeping.start()
    try:
        rights.take("forget", patience)
        for name in names:
            rights.take(name, patience)
        yield rights.check
    finally:
        rights.ended.set()
        keeping.join()
        rights.give_back()


class _Rights:
    def __init__(self, runtime: Runtime) -> None:
        self.ended = threading.Event()
        self._runtime = runtime
        self._owner = secrets.token_hex(8)
        self._leases: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._lost: StoreError | None = None
        self._ask()

    def take(self, name: str, patience: float) -> None:
        end = time.monotonic() + patience
        while True:
            self.check()
            with self._lock:
                lease = self._runtime.store.acquire(name, self._owner, seconds=_SECONDS)
                if lease is not None:
                    self._leases[name] = lease
                    return
            if time.monotonic() >= end:
                remedy = f"somebody has held it for {patience:g} s; stop that process, or try again later"
                raise StoreError("lease", name, remedy)
            self.ended.wait(_LOOK_SECONDS)

    def keep(self) -> None:
        """Renew everything until the end; what fails is told by `check`."""
        while not self.ended.wait(_SECONDS / 4):
            try:
                self._renew()
            except StoreError as error:
                self._lost = error
                return

    def check(self) -> None:
        if self._lost is not None:
            raise self._lost

    def give_back(self) -> None:
        for lease in self._leases.values():
            self._runtime.store.release(lease)
        self._runtime.store.apply(STATE.delete(Batch(), _UNTIL))

    def _renew(self) -> None:
        with self._lock:
            self._ask()
            for name, held in self._leases.items():
                if self._runtime.store.acquire(name, self._owner, seconds=_SECONDS) != held:
                    raise LeaseLost("lease", name, "another process took it; run the command again")

    def _ask(self) -> None:
        until = self._runtime.clock() + int(_SECONDS * 1e9)
        self._runtime.store.apply(STATE.put(Batch(), _UNTIL, dump_any(until)))
