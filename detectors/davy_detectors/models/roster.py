"""Which models are counted by their own name, and how many are not.

Names come from strangers. At most `detect.models` of them, and every model with a reference, are counted and shown by
name; what comes under another name, or under that of a model a person retired, is counted together as `UNLISTED`.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from davy import retired
from davy.codec import dump_any, load_any
from davy.models import MODELS, Retirement
from davy.retired import Retirements
from davy.store import Batch as Changes
from davy.store import Collection as Stored
from davy.store import declare

if TYPE_CHECKING:
    from davy.runtime import Runtime
    from davy.store import Store
    from davy_detectors.reference.active import References

UNLISTED: Final = "other"
"""No model is called so: a name has a colon."""
_BITS: Final = 2**15
_DAY_NS: Final = 86_400 * 10**9
_SAY_EVERY_NS: Final = 3600 * 10**9
_logger = logging.getLogger("davy.detectors")


class Roster:
    """Says by which name inferences are counted.

    Parameters
    ----------
    runtime
        Settings, store and clock.
    references
        Models that have one are always counted by name.
    """

    def __init__(self, runtime: Runtime, references: References) -> None:
        self._runtime = runtime
        self._references = references
        self._listed: set[str] = set()
        self._said: int | None = None
        self.retirements = Retirements(runtime)

    def listed(self, models: Collection[str], changes: Changes) -> set[str]:
        """Return those of `models` that are counted by name; new ones are while there is room.

        What silence retired comes back with its next inference, in the transaction of `changes`.
        """
        gone = self.retirements.current()
        self._listed -= gone.keys()
        asked = [model for model in models if model not in self._listed and not _stays_out(gone.get(model))]
        if asked:
            self._admit(asked, changes, gone)
        return self._listed.intersection(models)

    def say(self, models: Collection[str]) -> None:
        """Say in the log, once an hour, that models are not shown; one of them is named."""
        now = self._runtime.clock()
        if models and (self._said is None or not 0 <= now - self._said < _SAY_EVERY_NS):
            self._said = now
            gone = self.retirements.current()
            back = sorted(model for model in models if model in gone)
            if back:
                text = "%s is retired and sends inferences: they are counted together, `davy models keep` shows it"
                _logger.warning(text, back[0])
            else:
                text = "inferences of %s are not shown by model: there are %d; retire some or raise detect.models"
                _logger.warning(text, min(models), self._runtime.settings.detect.models)

    def _admit(self, asked: Collection[str], changes: Changes, gone: Mapping[str, Retirement]) -> None:
        store = self._runtime.store
        there = MODELS.get_many(store, sorted({*asked, UNLISTED}))
        room = (
            self._runtime.settings.detect.models - MODELS.count(store) + (UNLISTED in there)
        )  # which is no model
        for model in sorted(asked):
            known = model in there or self._references.exists(model)
            if known or room > 0:
                room -= not known
                self._listed.add(model)
                if model in gone:
                    retired.keep([model], changes)


def _stays_out(retirement: Retirement | None) -> bool:
    return retirement is not None and retirement.by != "silence"


class Sketch:
    """About how many names were met in a day, in four kilobytes (linear counting; Whang, Vander-Zanden, Taylor 1990).

    Examples
    --------
    >>> sketch = Sketch()
    >>> sketch.add({f"m:{number}" for number in range(1_000)}, 0)
    True
    >>> 950 < sketch.about < 1050
    True
    """

    def __init__(self, day: int = 0, bits: bytes = bytes(_BITS // 8)) -> None:
        self.day = day
        self._bits = np.frombuffer(bits, np.uint8).copy()

    @classmethod
    def load(cls, data: bytes) -> Sketch:
        """Go on from what `dump` gave."""
        found = load_any(data)
        return cls(found["day"], found["bits"])

    def dump(self) -> bytes:
        """Return the state."""
        return dump_any({"day": self.day, "bits": self._bits.tobytes()})

    def add(self, names: Collection[str], at: int) -> bool:
        """Take in names met at a moment, nanoseconds since the epoch; whether that changed anything."""
        if at // _DAY_NS != self.day:
            self.day, self._bits = at // _DAY_NS, np.zeros(_BITS // 8, np.uint8)
        before = self._bits.copy()
        for name in names:
            place = _place(name)
            self._bits[place // 8] |= np.uint8(1 << place % 8)
        return not np.array_equal(before, self._bits)

    def __contains__(self, name: str) -> bool:
        """Whether a name was met, or of one that was not, with the probability of the share of bits that are set."""
        place = _place(name)
        return bool(self._bits[place // 8] & np.uint8(1 << place % 8))

    def remove(self, names: Iterable[str]) -> None:
        """Take names for not met, and with them the few that share a place."""
        for name in names:
            place = _place(name)
            self._bits[place // 8] &= ~np.uint8(1 << place % 8)

    def merge(self, other: Sketch) -> None:
        """Take in what another one met."""
        self._bits |= other._bits

    @property
    def about(self) -> int:
        """How many different names."""
        empty = _BITS - int(np.unpackbits(self._bits).sum())
        return round(-_BITS * math.log(max(empty, 1) / _BITS))


def _place(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest()) % _BITS


_SKETCHES: Final[Stored[Sketch]] = declare(Stored("unlisted", Sketch, "detect", Sketch.dump, Sketch.load))
"""What each partition met."""


def put_sketch(partition: int, sketch: Sketch, changes: Changes) -> None:
    """Keep what a partition met."""
    _SKETCHES.put(changes, str(partition), sketch)


def get_sketch(store: Store, partition: int) -> Sketch:
    """Return what a partition met."""
    return _SKETCHES.get(store, str(partition)) or Sketch()


def unlisted(store: Store, now: int) -> Sketch:
    """Return the models that were not shown by name today or yesterday, and are not now; `now` is in nanoseconds."""
    found = Sketch()
    for one in _SKETCHES.values(store):
        if abs(now // _DAY_NS - one.day) <= 1:
            found.merge(one)
    if found.about:  # someone kept one since, gave it a reference, or there was room
        gone = retired.retirements(store)
        found.remove(model for model in MODELS.keys(store) if not _stays_out(gone.get(model)))
    return found
