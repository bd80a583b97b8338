"""An event that a signal handler may set, whatever its thread was doing."""

from __future__ import annotations

import threading


class SignalSafeEvent(threading.Event):
    """An event with a re-entrant lock.

    A signal handler runs between two instructions of the main thread. With the lock of `threading.Event` it would wait
    for ever for a thread that is inside ``wait`` or ``set``: for itself.

    Examples
    --------
    >>> stop = SignalSafeEvent()
    >>> _ = signal.signal(signal.SIGTERM, lambda *_: stop.set())  # doctest: +SKIP
    """

    def __init__(self) -> None:
        super().__init__()
        self._cond = threading.Condition(threading.RLock())
