"""What a forked child may keep: nothing that another thread could have held, half written or still owns."""

from __future__ import annotations

import os
from typing import Any, Final
from weakref import WeakSet

_living: Final[WeakSet[ForkSafe]] = WeakSet()
_abandoned: Final[list[Any]] = []


class ForkSafe:
    """The base of everything with a lock, a queue, a thread, a socket or a source of randomness.

    In a forked child `renew` only replaces objects: it takes no lock, logs nothing, starts nothing and closes nothing.
    """

    __slots__ = ("__weakref__",)

    def __init__(self) -> None:
        _living.add(self)

    def renew(self) -> None:
        """Replace everything the parent may still hold; called in the child, right after the fork."""
        raise NotImplementedError


def abandon(thing: Any) -> None:
    """Keep what the parent owns out of the garbage collector's hands: closing it would reach into the parent."""
    if thing is not None:
        _abandoned.append(thing)


def renew_all() -> None:
    """Renew every living object; runs in a forked child before anything else does."""
    for each in list(_living):
        each.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=renew_all)
