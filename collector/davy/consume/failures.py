"""Failures a role recovers from: counted each time, logged once a reason."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from davy import metrics
from davy.forgetting import asked_aside
from davy.runtime import Runtime

_REASONS: Final = 1000
_PAUSE_SECONDS: Final = 0.5
_logger = logging.getLogger("davy.consume")


class Failures:
    """What went wrong in one role of this process."""

    def __init__(self, runtime: Runtime, role: str) -> None:
        self._meter = runtime.meter
        self.role = role
        self._reasons: set[str] = set()

    def count(self, error: BaseException, what: str) -> None:
        """Count a failure and, when its reason is new, log `what` happened with its traceback."""
        kind = type(error).__name__
        self._meter.add(metrics.ROLE_ERRORS, role=self.role, error=kind)
        level = logging.ERROR if self.is_news(f"{kind}: {error}") else logging.DEBUG
        _logger.log(level, "%s: %s", self.role, what, exc_info=error)

    def is_news(self, reason: str) -> bool:
        """Say whether this reason was not asked about before; the memory of reasons is bounded."""
        if reason in self._reasons:
            return False
        if len(self._reasons) >= _REASONS:
            self._reasons.clear()
        self._reasons.add(reason)
        return True


def keep_going(
    runtime: Runtime, failures: Failures, *steps: Callable[[], object], stand_aside: Callable[[], None]
) -> None:
    """Take `steps` in turn until the runtime stops; after a failure of one, pause and go on with the next.

    While `davy forget` works, `stand_aside` is called instead: it gives up everything that is held.
    """
    while not runtime.stop.is_set():
        runtime.pulse.beat(failures.role)
        for step in steps:
            try:
                if asked_aside(runtime.store, runtime.clock()):
                    stand_aside()
                    runtime.stop.wait(_PAUSE_SECONDS)
                    break
                step()
            except Exception as error:  # noqa: BLE001 - counted and logged; the step starts from what is stored
                failures.count(error, "goes on from the stored position")
                runtime.stop.wait(_PAUSE_SECONDS)
