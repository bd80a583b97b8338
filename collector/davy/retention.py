"""The role that keeps the log within its age and size."""

from __future__ import annotations

import logging
from typing import Final

from davy import metrics
from davy.errors import LogError
from davy.runtime import Runtime, Target

_EVERY_SECONDS: Final = 600.0
_HOUR: Final = 3600 * 10**9
_logger = logging.getLogger("davy.retention")


class RetentionTarget(Target):
    """Deletes records older than `log.keep_hours`, and the oldest beyond `log.keep_bytes`, every ten minutes."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def run(self) -> None:
        """Work until the runtime's stop signal; what fails is counted and tried again ten minutes later."""
        while not self._runtime.stop.wait(_EVERY_SECONDS):
            try:
                self.retain()
            except LogError as error:
                self._runtime.meter.add(metrics.ROLE_ERRORS, role="retain", error=type(error).__name__)
                _logger.warning("retention failed and will be tried again: %s", error)

    def retain(self) -> int:
        """Delete what is due; give the number of records."""
        settings = self._runtime.settings.log
        before = self._runtime.clock() - int(settings.keep_hours * _HOUR)
        return self._runtime.log.retain(before=before, max_bytes=settings.keep_bytes)
