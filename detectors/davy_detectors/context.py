"""What a plug-in is given of the process it runs in: its settings, a clock and a random generator of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from inspect import signature
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class PluginContext:
    """What a plug-in that works for one model is given, where it has a parameter `context`.

    Attributes
    ----------
    kind, name
        ``monitor`` or ``scorer``, and which.
    model
        ``"name:version"``.
    settings
        Its own section of the settings, as its `settings_type`; None where it declares none.
    clock
        The time that Davy takes for the present, nanoseconds since the epoch: in a replay that of the log. A result
        that should be the same in a replay owes nothing to it.

    Examples
    --------
    >>> context = PluginContext("monitor", "mine", "risk:1")
    >>> here, again, later = (context.generator(window).random() for window in (7, 7, 8))
    >>> here == again, here == later
    (True, False)
    """

    kind: str
    name: str
    model: str
    settings: Any = None
    clock: Callable[[], int] = time.time_ns

    def generator(self, window: int = 0) -> np.random.Generator:
        """Return a fresh generator, seeded by kind, name, model and `window`: a replay draws the same numbers.

        Parameters
        ----------
        window
            Where in the stream the numbers are drawn, a whole number that a replay finds again. For a monitor's `test`
            that is how many inferences it has tested, which its state keeps. What `aggregate` returns may depend on
            no numbers drawn for a window, for its inferences come in parts and in any order.
        """
        place = "\0".join((self.kind, self.name, self.model, str(window)))
        return np.random.default_rng(int.from_bytes(blake2b(place.encode(), digest_size=16).digest(), "big"))


def called(make: Callable[..., Any], *given: object, context: PluginContext) -> Any:
    """Return what `make` gives, called with `context` too where it has a parameter of that name.

    Examples
    --------
    >>> context = PluginContext("scorer", "mine", "risk:1")
    >>> called(lambda batch: batch, 1, context=context)
    1
    >>> called(lambda batch, context: context.name, 1, context=context)
    'mine'
    """
    return make(*given, context=context) if _takes_context(make) else make(*given)


def _takes_context(make: Callable[..., Any]) -> bool:
    try:
        return "context" in signature(make).parameters
    except (TypeError, ValueError):  # made in C, and says nothing of its parameters
        return False
