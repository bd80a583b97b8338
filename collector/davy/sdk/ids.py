"""Ids of inferences: 16 bytes that sort by time (UUID version 7, RFC 9562), unlike those of any other process."""

from __future__ import annotations

import os
import re
import struct
import threading
from typing import Any, Final
from uuid import UUID

import numpy as np

from davy.errors import InvalidInference
from davy.event import Array
from davy.sdk.forksafe import ForkSafe
from davy.sdk.sampling import Sampler

_PACK: Final = struct.Struct(">QQ").pack
_VARIANT: Final = 1 << 63
_DRAWN_AT_ONCE: Final = 512
_RESERVE: Final = 4096
"""Drawn from the system at once: the call lets go of the interpreter's lock, which another thread may then take."""
_GIVE: Final = "give 16 bytes, a UUID or 32 hexadecimal digits"
_TEXT: Final = re.compile(
    r"(urn:uuid:)?(?P<brace>\{)?"
    r"(?P<digits>[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    r"(?(brace)\})",
    re.IGNORECASE | re.ASCII,
)


class Ids(ForkSafe):
    """Draws ids: 48 bits of milliseconds, 12 bits of their fraction, 62 random bits.

    The randomness comes from the system, and what was drawn is forgotten in a forked child: parent and child never
    make the same id.
    """

    __slots__ = ("_drawn", "_left_out", "_lock", "_reserve", "_sampler")

    def __init__(self, sampler: Sampler) -> None:
        super().__init__()
        self._sampler = sampler
        self.renew()

    def renew(self) -> None:
        """Forget what was drawn: the parent uses it."""
        self._lock = threading.RLock()
        self._drawn: list[int] = []
        self._reserve: Array = np.empty(0, np.uint64)
        self._left_out = 0

    def admitted(self) -> int:
        """Draw the low half of an id: 62 random bits and the variant; 0 when sampling leaves the id out."""
        while True:
            try:
                return self._drawn.pop()
            except IndexError:
                self._draw()

    def at(self, now: int) -> bytes | None:
        """Draw the id of an inference captured at `now`, in nanoseconds; None when sampling leaves it out."""
        try:
            low = self._drawn.pop()
        except IndexError:
            low = self.admitted()
        return join(now, low) if low else None

    def put_back(self, low: int) -> None:
        """Take back what `admitted` gave last: no inference got it, and the next one does."""
        self._drawn.append(low)

    @property
    def left_out(self) -> int:
        """How many times `admitted` gave 0."""
        with self._lock:
            return self._left_out - self._drawn.count(0)

    def _draw(self) -> None:
        with self._lock:
            if not self._drawn:
                lows = self.lows(_DRAWN_AT_ONCE)
                kept = self._sampler.keeps_each(lows)
                self._left_out += _DRAWN_AT_ONCE - int(kept.sum())
                self._drawn = np.where(kept, lows, np.uint64(0)).tolist()

    def lows(self, count: int) -> Array:
        """Draw the low halves of `count` ids, shape ``(count,)``, uint64."""
        with self._lock:
            if count > len(self._reserve):
                drawn = np.frombuffer(os.urandom(8 * (count + _RESERVE)), np.uint64)
                self._reserve = drawn >> np.uint64(2) | np.uint64(_VARIANT)
            found, self._reserve = self._reserve[:count], self._reserve[count:]
        return found


def join(now: int, low: int) -> bytes:
    """Put an id together from a time in nanoseconds and a low half."""
    milliseconds, rest = divmod(now, 1_000_000)
    return _PACK(milliseconds << 16 | 0x7000 | (rest << 12) // 1_000_000, low)


def join_many(now: int, lows: Array) -> bytes:
    """Put ids made at one time together, 16 bytes each."""
    halves = np.empty((len(lows), 2), ">u8")
    halves[:, 0], halves[:, 1] = _high(now), lows
    return halves.tobytes()


def parse(id: Any) -> bytes:
    """Read an id given as 16 bytes, a UUID, or text: 32 hexadecimal digits of either case.

    Text may have what a UUID has around its digits: hyphens, braces, ``urn:uuid:``.

    Raises
    ------
    InvalidInference
        It is none of these.

    Examples
    --------
    >>> parse("00112233445566778899aabbccddeeff") == parse("{00112233-4455-6677-8899-AABBCCDDEEFF}")
    True
    """
    if isinstance(id, UUID):
        return id.bytes
    if isinstance(id, str):
        match = _TEXT.fullmatch(id.strip())
        if match is None:
            raise InvalidInference("id", id[:100], _GIVE)
        return bytes.fromhex(match["digits"].replace("-", ""))
    try:
        found = bytes(memoryview(id))
    except TypeError:
        found = b""
    if len(found) != 16:
        raise InvalidInference("id", type(id).__name__, _GIVE)
    return found


def fresh(now: int) -> bytes:
    """Make an id that no sampling was applied to, from a time in nanoseconds."""
    return join(now, int.from_bytes(os.urandom(8), "big") >> 2 | _VARIANT)


def _high(now: int) -> int:
    ticks = (now << 12) // 1_000_000
    return (ticks & ~0xFFF) << 4 | 0x7000 | ticks & 0xFFF
