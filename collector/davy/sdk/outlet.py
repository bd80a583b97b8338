"""The sink as the sender meets it: opened when it is first needed, and asked again after a while when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from davy.errors import DavyError, LogError, Refused
from davy.log import Message
from davy.sdk.forksafe import ForkSafe, abandon
from davy.sdk.guard import describe, swallowed, warn
from davy.sdk.sink import Sink

REFUSED: Final = "refused"
_FIRST_BACK_OFF, _LONGEST_BACK_OFF = 0.25, 30.0


class Outlet(ForkSafe):
    """Offers messages to the sink; after a failure `next_try` grows with full jitter [1]_.

    Parameters
    ----------
    open_sink
        Opens the sink; called on the sender's thread, again after a failure.
    opened
        Called after that.
    random
        Gives numbers in [0, 1) for the jitter.

    References
    ----------
    .. [1] M. Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015.
    """

    def __init__(
        self, open_sink: Callable[[], Sink], opened: Callable[[], None], random: Callable[[], float]
    ) -> None:
        super().__init__()
        self._open_sink = open_sink
        self._opened = opened
        self._random = random
        self._sink: Sink | None = None
        self.renew()

    def renew(self) -> None:
        """Leave the sink to the parent."""
        abandon(self._sink)
        self._sink = None
        self._attempt = 0
        self.next_try = 0.0
        self.retries = 0

    @property
    def together(self) -> int:
        """How many messages to offer at once; one while the sink is not open."""
        return 1 if self._sink is None else self._sink.together

    @property
    def replaced(self) -> int:
        """How often another log took the place of the one the sink wrote to."""
        return getattr(self._sink, "replaced", 0)

    def offer(self, messages: Sequence[Message], timeout: float) -> str | None:
        """Try to store messages.

        Returns
        -------
        str or None
            Empty when they are stored, `REFUSED` when they never will be; None when they may be offered again at
            `next_try` (monotonic seconds).
        """
        try:
            (self._sink or self._open()).append(messages, timeout=timeout)
        except Refused as error:
            warn(REFUSED, describe(error))
            return REFUSED
        except (DavyError, OSError) as error:
            warn(getattr(error, "reason", "retry"), describe(error))
            self.retries += 1
            self.next_try = time.monotonic() + self._wait_seconds(getattr(error, "seconds", 0.0))
            return None
        self._attempt, self.next_try = 0, 0.0
        return ""

    def close(self, timeout: float) -> None:
        """Close the sink."""
        if self._sink is not None:
            self._sink.close(timeout=timeout)
            self._sink = None

    def _open(self) -> Sink:
        try:
            self._sink = self._open_sink()
        except (DavyError, OSError):
            raise
        except Exception as error:  # no message was touched, so it may be tried again, unlike an append
            swallowed("sender", error)
            raise LogError("sink", type(error).__name__, "could not be opened") from error
        self._opened()
        return self._sink

    def _wait_seconds(self, least: float) -> float:
        longest = min(_LONGEST_BACK_OFF, _FIRST_BACK_OFF * 2.0 ** min(self._attempt, 16))
        self._attempt += 1
        return max(least, longest * self._random())
