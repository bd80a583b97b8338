"""The demo's users: they send frames to the serving app over HTTP, one after the other, with ids of their own.

A frame is sent when it was taken, and says when that was: by a clock that ticks the same in every run. So a run of a
seed is the same, on a machine that falls behind by less than `detect.lateness_seconds`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Final

import httpx

from davy.demo.data import Frames

_MANY: Final = 50
_SECOND: Final = 10**9
_EVERY: Final = 3_000_000
"""Time between two frames, nanoseconds: longer than it takes to send one."""


def begin() -> int:
    """Return the time of the first frame of a run, nanoseconds since the epoch."""
    return -(-time.time_ns() // _SECOND) * _SECOND


def taken(begun: int, row: int) -> int:
    """Return the time at which a frame was taken."""
    return begun + row * _EVERY


def frame_id(seed: int, row: int) -> str:
    """Name a frame: sorts by its place in the traffic, is the same in every run of a seed."""
    digest = hashlib.blake2b(f"{seed}/{row}".encode(), digest_size=8).hexdigest()
    return f"{row:016x}{digest}"


def send(
    url: str, frames: Frames, seed: int, *, first: int, begun: int, progress: Callable[[int], None]
) -> None:
    """Send frames one a request; the first carries the running number `first`, number 0 was taken at `begun`."""
    with httpx.Client(base_url=url, timeout=30) as client:
        for row, image in enumerate(frames.images, start=first):
            time.sleep(max(0, taken(begun, row) - time.time_ns()) / 1e9)
            headers = {"X-Davy-Id": frame_id(seed, row), "X-Taken-At": str(taken(begun, row))}
            client.post("/predict", json=image.tolist(), headers=headers).raise_for_status()
            progress(1)


def send_many(url: str, frames: Frames, *, progress: Callable[[int], None]) -> None:
    """Send frames fifty a request."""
    with httpx.Client(base_url=url, timeout=30) as client:
        for first in range(0, len(frames), _MANY):
            images = frames.images[first : first + _MANY]
            client.post("/predict-many", json=images.tolist()).raise_for_status()
            progress(len(images))
