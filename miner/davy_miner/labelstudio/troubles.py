"""Models whose tasks cannot be sent at present: said, tried again with growing waits, no hindrance to the others."""

from __future__ import annotations

import logging
from typing import Final

from davy.runtime import Runtime
from davy.store import Batch
from davy_miner.labelstudio.records import TROUBLES, Trouble, troubles_in

_LONGEST_WAIT: Final = 20.0
_SECOND: Final = 10**9
_log = logging.getLogger("davy.labelstudio")


class Troubles:
    """Notes what is wrong by model, in the store, where `davy doctor` and the status page read it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._noted = {one.model: one for one in troubles_in(runtime.store)}

    def resting(self, model: str) -> bool:
        """Return whether a model is not to be tried yet; a clock that was set back prolongs no wait."""
        found = self._noted.get(model)
        return found is not None and 0 < found.until - self._runtime.clock() <= _LONGEST_WAIT * _SECOND

    def note(self, model: str, error: Exception) -> None:
        """Write down why a model's tasks cannot be sent, and let it rest."""
        now, reason, before = self._runtime.clock(), str(error), self._noted.get(model)
        attempts = before.attempts + 1 if before else 1
        wait = min(2.0 ** min(attempts, 20), _LONGEST_WAIT)
        since = before.since if before else now
        found = Trouble(model, reason, since, attempts, now + int(wait * _SECOND))
        self._noted[model] = found
        self._runtime.store.apply(TROUBLES.put(Batch(), model, found))
        self._runtime.failed("mine", error)
        self.say(model, reason, "tasks of %s cannot be sent, tried again later: %s", model, reason)

    def over(self, model: str) -> None:
        """Note that a model's tasks were sent."""
        if self._noted.pop(model, None) is not None:
            self._runtime.store.apply(TROUBLES.delete(Batch(), model))

    def say(self, model: str, reason: str, text: str, *arguments: object) -> None:
        """Log a warning; those of one model and reason are one to `davy.logs`."""
        _log.warning(text, *arguments, extra={"reason": f"{model}: {reason}"})
