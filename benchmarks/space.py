"""Ten simulated days at 200 inferences a second: the disk by day against what `davy doctor` foretold after the first.

By a clock set by hand, on a log of SQLite. Of twenty envelopes one is appended, of 200 inferences with 30 numbers and
two tags as they come in a second, busier by day than by night; the limit of size is a twentieth, and figures are times
twenty. Retention runs every ten minutes, as the role does. The free room that files keep (8 MiB) is not scaled, so here
it shows twenty times as large as it is.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from davy.codec import Encoder, pack
from davy.config import LogSettings, Settings
from davy.event import INFERENCES
from davy.log import Message
from davy.log.sqlite import SqliteLog
from davy.retention import RetentionTarget, retain_now
from davy.runner import open_runtime
from davy.runtime import Runtime
from davy.space import forecast

NAME: Final = "space"
SHARE: Final = 20
ROWS: Final = 200
FEATURES: Final = 30
DAYS: Final = 10
LIMITS: Final = {"20 GiB, the default": 20 * 2**30, "64 GiB": 64 * 2**30}
DAY: Final = 24 * 3600 * 10**9
_STEP: Final = 600 * 10**9
_PEAK: Final = 0.5
"""By how much the rate differs from its mean at noon and at midnight."""


class Clock:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.now = 20_000 * DAY

    def __call__(self) -> int:
        """Return nanoseconds since the epoch."""
        return self.now


def run() -> dict[str, Any]:
    """Let each limit see ten days, then ask for `davy retain --now`, and again with a quarter of the limit."""
    return {name: week(limit) for name, limit in LIMITS.items()}


def week(limit: int) -> dict[str, Any]:
    clock = Clock()
    with opened(clock, limit // SHARE) as runtime:
        role, envelope, days, ahead = RetentionTarget(runtime), envelopes(), [], None
        settings, begun, took = runtime.settings.log, time.perf_counter(), []
        for day in range(1, DAYS + 1):
            appended = 0
            for step in range(DAY // _STEP):
                at, wanted = step * _STEP / DAY, (step + 1) * _STEP / DAY
                more = envelopes_until(wanted) - envelopes_until(at)
                clock.now += _STEP
                runtime.log.producer().append(
                    [Message(INFERENCES, "bench:1", next(envelope)) for _ in range(more)]
                )
                appended += more * ROWS
                before = time.perf_counter()
                role.retain()
                took.append(time.perf_counter() - before)
            extent = runtime.log.extent(clock.now - DAY)
            ahead = ahead or forecast(extent, clock.now, settings.keep_hours, settings.keep_bytes)
            if ahead is None:
                raise RuntimeError("nothing was foretold after a day")
            days.append(
                {
                    "day": day,
                    "inferences": appended * SHARE,
                    "disk_gib": gib(extent.disk),
                    "foretold_gib": gib(ahead.disk_bytes_after(day)),
                    "kept_days": round((clock.now - (runtime.log.extent(0).since or clock.now)) / DAY, 2),
                }
            )
        freed = retain_now(runtime).disk_bytes
        lower = replace(
            runtime, settings=replace(runtime.settings, log=replace(settings, keep_bytes=limit // SHARE // 4))
        )
        quarter = retain_now(lower)
        return {
            "bytes_an_inference": round(ahead.disk_bytes / ahead.days / (appended), 1),
            "gib_a_day": gib(ahead.day_bytes),
            "days_foretold": round(ahead.days, 2),
            "by_day": days,
            "given_back_by_retain_now_gib": gib(freed),
            "given_back_after_a_quarter_of_the_limit_gib": gib(quarter.disk_bytes),
            "disk_then_gib": gib(runtime.log.extent(0).disk),
            "retention_ms": {
                "median": round(float(np.median(took)) * 1e3, 1),
                "worst": round(max(took) * 1e3, 1),
            },
            "seconds": round(time.perf_counter() - begun, 1),
        }


def envelopes_until(part: float) -> int:
    """Return how many envelopes a day has brought after a part of it: one a second in the mean, of which a share."""
    return round(86_400 / SHARE * (part + _PEAK * (1 - math.cos(2 * math.pi * part)) / (2 * math.pi) * 0.5))


def envelopes() -> Iterator[bytes]:
    """Yield envelopes of a second each, as the SDK packs them."""
    encoder, random = Encoder(), np.random.default_rng(0)
    while True:
        values, ids = random.standard_normal((ROWS, FEATURES)), random.bytes(16 * ROWS)
        fields = [{f"x{place}": float(one) for place, one in enumerate(row)} for row in values]
        tags = [{"country": "NZ", "user": f"u{row % 50}"} for row in range(ROWS)]
        chunks = [
            encoder.encode(
                "bench:1", ids[16 * at : 16 * at + 16], at, fields[at], {"value": 0.5}, tags=tags[at]
            )
            for at in range(ROWS)
        ]
        ready = pack(chunks)
        for _ in range(200):  # the bytes of the numbers do not matter, their count does
            yield ready


def gib(count: float) -> float:
    """Return bytes as those of the whole traffic, in GiB."""
    return round(SHARE * count / 2**30, 2)


@contextmanager
def opened(clock: Clock, keep_bytes: int) -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        settings = Settings(url=f"sqlite:///{folder}", log=LogSettings(keep_bytes=keep_bytes))
        with open_runtime(settings) as runtime, closing(SqliteLog(settings.url, clock=clock)) as log:
            yield replace(runtime, log=log, clock=clock)


if __name__ == "__main__":
    for key, value in run().items():
        print(key, value)
