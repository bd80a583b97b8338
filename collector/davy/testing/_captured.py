"""What an app captures, kept in memory for a test to look at."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

from davy.blobs.base import reference
from davy.codec import decode, load
from davy.errors import SettingError
from davy.event import FEEDBACK, INFERENCES, Feedback, Inference
from davy.sdk import guard
from davy.sdk.home import HOME, StandIn
from davy.sdk.leaving import wait_upstream
from davy.sdk.sink import PAYLOADS

if TYPE_CHECKING:
    from davy.log import Message

_SECONDS: Final = 10.0
_FIXED: Final[Mapping[str, Any]] = {
    "url": "memory://",
    "spool": "",
    # An envelope an inference: what was captured stays in its order, whatever its model and its fields.
    "envelope_rows": 1,
}
_USUAL: Final[Mapping[str, Any]] = {
    "enabled": True,
    "sample_rate": 1.0,
    "queue_items": 10_000_000,
    "queue_bytes": 2**40,
}


class Captured:
    """What was captured within a block of `capturing`; still there after its end.

    Whatever is asked of it waits until all that was captured before has arrived, with the answers of shadows.

    Attributes
    ----------
    errors
        The exceptions that Davy swallowed on its way, each with its traceback: why something is among the `problems`.
    """

    def __init__(self, overrides: Mapping[str, Any]) -> None:
        self.errors: list[BaseException] = []
        self._sink = _Sink()
        self._stand_in = StandIn(lambda: self._sink, overrides)
        self._counts: Mapping[str, int] | None = None

    @property
    def inferences(self) -> list[Inference]:
        """The inferences, in the order in which they were captured."""
        self._settle()
        return list(self._sink.inferences)

    @property
    def feedback(self) -> list[Feedback]:
        """The feedback, in the order in which it was given."""
        self._settle()
        return list(self._sink.feedback)

    @property
    def blobs(self) -> Mapping[str, bytes]:
        """The payloads, by hash: that of a field which is a `BlobRef` is ``captured.blobs[field.hash]``."""
        self._settle()
        return MappingProxyType(dict(self._sink.blobs))

    @property
    def problems(self) -> dict[str, int]:
        """What went wrong and how often, in the words of `davy.stats`; empty when everything was captured whole.

        The keys are ``dropped: REASON``, ``feedback dropped: REASON``, ``incomplete: REASON``, ``left_out: MODEL FIELD:
        REASON``, ``not_watchable`` and ``integration_failed``.
        """
        self._settle()
        found: Counter[str] = Counter()
        for client in self._stand_in.clients:
            stats = client.stats()
            dropped, missed = stats["dropped"], stats["feedback"]["dropped"]
            for what, counts in {
                "dropped": dropped,
                "feedback dropped": missed,
                "incomplete": stats["incomplete"],
                "left_out": stats["left_out"],
            }.items():
                found.update({f"{what}: {which}": count for which, count in counts.items()})
        found.update(HOME.counts(self._stand_in) if self._counts is None else self._counts)
        return {what: count for what, count in found.items() if count}

    def __enter__(self) -> Self:
        HOME.divert(self._stand_in)
        guard.observers.append(self._observe)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._settle()  # what a shadow answers after the end would go where the app sends
        finally:
            self._counts = HOME.restore(self._stand_in)
            guard.observers.remove(self._observe)
            for client in self._stand_in.clients:
                client.sender.stop(_SECONDS)

    def _observe(self, reason: str, error: BaseException) -> None:
        del reason
        self.errors.append(error)

    def _settle(self) -> None:
        if self._counts is not None:
            return  # nothing more arrives
        deadline = time.monotonic() + _SECONDS
        queued = wait_upstream(_SECONDS)
        for client in list(self._stand_in.clients):
            queued &= client.sender.flush(max(0.0, deadline - time.monotonic()))
        if not queued:
            remedy = "see what the shadow of a watched model waits for"
            raise TimeoutError(f"not all that was captured has arrived within {_SECONDS:g} s: {remedy}")


def capturing(**overrides: Any) -> Captured:
    """Capture in memory, within a ``with``, what this process would send to the log or the gateway.

    Whatever captures is captured: `davy.capture`, a watched function or model, a middleware, on any thread and in any
    task. It goes through all that it goes through in production, such as the rules for fields of ``davy.toml`` and the
    `before_capture` of the app; a `davy.init` within the block counts, but for where it sends. Blocks nest, and may end
    in any order: the one that began last has what is captured. At the end everything is as it was before.

    Parameters
    ----------
    overrides
        Settings of ``[sdk]`` by name, others by dotted key, which win over those of the process and of `davy.init`.
        Every inference is captured unless ``sample_rate`` is given here.

    Returns
    -------
    Captured
        To enter, once: what was captured, at any moment.

    Raises
    ------
    SettingError
        A setting is wrong, or decides where things go.

    Examples
    --------
    >>> import davy
    >>> with capturing() as captured:
    ...     double = davy.watch(lambda x: {"value": 2 * x}, "double:1")
    ...     double(x=21)
    {'value': 42}
    >>> captured.inferences[0].inputs["x"], captured.inferences[0].outputs["value"], captured.problems
    (21, 42, {})
    """
    for name, value in overrides.items():
        if name.removeprefix("sdk.") in _FIXED:
            raise SettingError(
                name, value, "leave it out: all is kept in memory here, each inference by itself"
            )
    return Captured({**_USUAL, **overrides, **_FIXED})


class _Sink:
    """Takes what the sender brings, and keeps it as a test reads it."""

    together = 16

    def __init__(self) -> None:
        self.inferences: list[Inference] = []
        self.feedback: list[Feedback] = []
        self.blobs: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def append(self, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
        del timeout
        with self._lock:  # two senders come here at once when the app calls `davy.init` again
            for message in messages:
                if message.topic == INFERENCES:
                    self.inferences += decode(message.value).inferences()
                elif message.topic == FEEDBACK:
                    self.feedback.append(load(Feedback, message.value))
                elif message.topic == PAYLOADS:
                    self.blobs[reference(message.value, message.key).hash] = message.value

    def close(self, *, timeout: float = 5.0) -> None:
        del timeout
