"""Failures a role recovers from, and what it sets aside: counted each time, and logged (`davy.logs` spares repeats)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from davy import metrics
from davy.console import age
from davy.dead_letters import is_letter, letter_of, without_bytes
from davy.errors import DavyError, LeaseLost, LogReplaced, Refused
from davy.forgetting import asked_aside
from davy.log import Message
from davy.runtime import Runtime

_PAUSE_SECONDS: Final = 0.5
_STEADY_SECONDS: Final = 0.4
"""Less than the pause after a failure, so that what went through after it says so."""
_logger = logging.getLogger("davy.consume")


class Failures:
    """What went wrong in one role of this process."""

    def __init__(self, runtime: Runtime, role: str) -> None:
        self._runtime = runtime
        self.role = role

    def count(self, error: BaseException, what: str) -> None:
        """Count a failure and log in one line `what` happened.

        Only what nobody foresaw has a traceback. That another process took over is no failure of either, and that
        another log took the place of this one was said where that was found out, once for all roles.
        """
        self._runtime.failed(self.role, error)
        level = logging.INFO if isinstance(error, LeaseLost | LogReplaced) else logging.ERROR
        if not isinstance(error, LeaseLost):
            self._runtime.pulse.stumble(self.role)
        trace = None if isinstance(error, DavyError) else error
        _logger.log(level, "%s: %s: %s: %s", self.role, what, type(error).__name__, error, exc_info=trace)

    def over(self) -> None:
        """Say that the role works again, once, when nothing was counted for a moment, whoever counted it."""
        found = self._runtime.pulse.recover(self.role, _STEADY_SECONDS)
        if found is not None:
            count = "1 failure" if found[0] == 1 else f"{found[0]} failures"
            reason = {"reason": f"{self.role} works again"}
            _logger.info("%s: works again, after %s in %s", self.role, count, age(found[1]), extra=reason)

    def set_aside(self, message: Message, error: Exception, what: str, *, failed: int = 1) -> Message:
        """Return the dead letter of a message that has `failed` so often; log `what` it was."""
        self._tell(message, error, f"{what} and others like it are set aside")
        return letter_of(message, error, component=self.role, failed=failed)

    def instead_of(self, message: Message, error: Refused) -> Message:
        """Return what stands in for a message that the log refuses: its dead letter, or a letter without its bytes.

        Raises
        ------
        Refused
            Nothing is left that could be left out.
        """
        if not is_letter(message):
            return self.set_aside(message, error, f"a message for {message.topic}")
        rest = without_bytes(message)
        if rest is None:
            raise error
        self._tell(message, error, f"letters of {message.topic} that the log refuses lose their bytes")
        return rest

    def count_letters(self, messages: Iterable[Message]) -> None:
        """Count those of the published messages that are dead letters."""
        for message in filter(is_letter, messages):
            topic, error = message.headers["davy.topic"], message.headers["davy.error"]
            self._runtime.meter.add(metrics.DEAD_LETTERS, topic=topic, error=error)

    def _tell(self, message: Message, error: Exception, what: str) -> None:
        reason = f"{self.role}: {message.topic}: {type(error).__name__}"
        _logger.warning("%s: %s: %s", self.role, what, error, extra={"reason": reason})


def keep_going(
    runtime: Runtime, failures: Failures, *steps: Callable[[], object], stand_aside: Callable[[], None]
) -> None:
    """Take `steps` in turn until the runtime stops; after a failure of one, pause and go on with the next.

    While `davy forget` works, `stand_aside` is called instead: it gives up everything that is held. What went through
    without a failure is a beat of the role's pulse.
    """
    while not runtime.stop.is_set():
        failed = False
        for step in steps:
            try:
                if asked_aside(runtime.store, runtime.clock()):
                    stand_aside()
                    runtime.stop.wait(_PAUSE_SECONDS)
                    break
                step()
            except Exception as error:  # noqa: BLE001 - counted and logged; the step starts from what is stored
                failed = True
                failures.count(error, "goes on from the stored position")
                runtime.stop.wait(_PAUSE_SECONDS)
        if not failed:
            runtime.pulse.beat(failures.role)
            failures.over()
