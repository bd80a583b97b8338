"""The client report: what an app lost and has not yet told; it rides in the next envelope of the same model."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

from davy.sdk.forksafe import ForkSafe

_MODELS: Final = 1024


class ClientReport(ForkSafe):
    """Counts by model and reason until an envelope that tells of them is stored.

    What is of no known model comes along with the next envelope of any model.

    Examples
    --------
    >>> report = ClientReport()
    >>> report.owe("iris:1", "queue_full", 3)
    >>> report.take("iris:1"), report.take("iris:1")
    ({'queue_full': 3}, {})
    """

    __slots__ = ("_due", "_lock")

    def __init__(self) -> None:
        super().__init__()
        self.renew()

    def renew(self) -> None:
        """Forget everything: the parent tells it."""
        self._lock = threading.RLock()
        self._due: dict[str, Counter[str]] = {}

    def owe(self, model: str, reason: str, count: int) -> None:
        """Count what is to be told."""
        if count:
            with self._lock:
                known = model in self._due or len(self._due) < _MODELS
                self._due.setdefault(model if known else "", Counter())[reason] += count

    def take(self, model: str) -> dict[str, int]:
        """Return what is to be told with an envelope of `model`, which is then told unless `give_back` follows."""
        with self._lock:
            return dict(self._due.pop(model, Counter()) + self._due.pop("", Counter()))

    def give_back(self, model: str, report: dict[str, int]) -> None:
        """Take up again what an envelope should have told that was not stored."""
        for reason, count in report.items():
            self.owe(model, reason, count)


class LeftOut(ForkSafe):
    """Counts values that were left out of what this process sent, for the app: the envelopes tell the log."""

    __slots__ = ("_counts", "_lock")

    def __init__(self) -> None:
        super().__init__()
        self.renew()

    def renew(self) -> None:
        """Forget everything: the parent counts what it left out."""
        self._lock = threading.RLock()
        self._counts: Counter[str] = Counter()

    def add(self, what: str, count: int) -> None:
        """Count values."""
        with self._lock:
            self._counts[what] += count

    def counts(self) -> dict[str, int]:
        """Return the counts by model, field and reason."""
        with self._lock:
            return dict(self._counts)
