"""The demo's users: they send frames to the serving app over HTTP, one after the other, with ids of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import httpx

from davy.demo.data import Frames

_MANY: Final = 50


def frame_id(seed: int, row: int) -> str:
    """Name a frame: sorts by its place in the traffic, is the same in every run of a seed."""
    digest = hashlib.blake2b(f"{seed}/{row}".encode(), digest_size=8).hexdigest()
    return f"{row:016x}{digest}"


def send(url: str, frames: Frames, seed: int, *, first: int, progress: Callable[[int], None]) -> None:
    """Send frames one a request; the first carries the running number `first`."""
    with httpx.Client(base_url=url, timeout=30) as client:
        for row, image in enumerate(frames.images):
            headers = {"X-Davy-Id": frame_id(seed, first + row)}
            client.post("/predict", json=image.tolist(), headers=headers).raise_for_status()
            progress(1)


def send_many(url: str, frames: Frames, *, progress: Callable[[int], None]) -> None:
    """Send frames fifty a request."""
    with httpx.Client(base_url=url, timeout=30) as client:
        for first in range(0, len(frames), _MANY):
            images = frames.images[first : first + _MANY]
            client.post("/predict-many", json=images.tolist()).raise_for_status()
            progress(len(images))
