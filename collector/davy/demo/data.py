"""The demo's world: scikit-learn's digits, a camera that shows them, and a camera that fails.

A clean frame is a digit of the pool with a little sensor noise. From the onset on, 15 % of the frames come from
failing sources: each failure is a burst of near-identical frames of one digit, shifted, blurred, occluded or inverted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
FAILURES: Final = ("shifted", "blurred", "occluded", "inverted")
BAD_SHARE: Final = 0.15
_NOISE: Final = 0.02
_LONGEST_BURST: Final = 60


@dataclass(frozen=True, slots=True)
class Frames:
    """Images (n, 8, 8) in [0, 1], their true digits, and the source of each: equal sources are near-duplicates."""

    images: Images
    digits: NDArray[np.int64]
    sources: NDArray[np.str_]
    bad: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.images)

    def joined(self, other: Frames) -> Frames:
        """Return these frames and then the others."""
        return Frames(
            np.concatenate([self.images, other.images]),
            np.concatenate([self.digits, other.digits]),
            np.concatenate([self.sources, other.sources]),
            np.concatenate([self.bad, other.bad]),
        )

    def take(self, rows: Any) -> Frames:
        """Return some frames."""
        return Frames(self.images[rows], self.digits[rows], self.sources[rows], self.bad[rows])


@dataclass(frozen=True, slots=True)
class World:
    """Disjoint digits: to train on, for the camera in production, and held out for the final judgement."""

    train: Frames
    pool: Frames
    held_out: Frames

    @classmethod
    def make(cls, seed: int) -> World:
        """Split the 1,797 digits 40 : 30 : 30."""
        from sklearn.datasets import load_digits

        found = load_digits()
        images = (found.images / 16).astype(np.float32)
        order = np.random.default_rng([seed, 1]).permutation(len(images))
        parts = np.split(order, [int(0.4 * len(order)), int(0.7 * len(order))])
        return cls(*(_originals(images, found.target, part) for part in parts))


def clean_traffic(frames: Frames, count: int, rng: np.random.Generator) -> Frames:
    """Show `count` frames of a camera that works: independent draws with sensor noise."""
    rows = rng.integers(len(frames), size=count)
    return Frames(
        _noisy(frames.images[rows], _NOISE, rng),
        frames.digits[rows],
        frames.sources[rows],
        np.zeros(count, bool),
    )


def bad_traffic(frames: Frames, count: int, rng: np.random.Generator) -> Frames:
    """Show `count` frames of which 15 % come in bursts from failing sources."""
    clean = clean_traffic(frames, count, rng)
    images, digits, sources = clean.images.copy(), clean.digits.copy(), clean.sources.astype("U32")
    bad = np.zeros(count, bool)
    row, burst = 0, 0
    while row < count:
        length = int(min(_LONGEST_BURST, 1 + rng.pareto(1.3) * 3))
        shown = slice(row, min(row + length, count))
        source = int(rng.integers(len(frames)))
        frame = fail(frames.images[source], FAILURES[burst % len(FAILURES)], rng)
        images[shown] = _noisy(np.repeat(frame[None], shown.stop - shown.start, axis=0), _NOISE / 4, rng)
        digits[shown], bad[shown] = frames.digits[source], True
        sources[shown] = f"burst {burst}"
        row += length + max(1, round(length * (1 - BAD_SHARE) / BAD_SHARE))
        burst += 1
    return Frames(images, digits, sources, bad)


def held_out_bad(frames: Frames, rng: np.random.Generator) -> Frames:
    """Every held-out digit in every kind of failure."""
    images = np.concatenate([[fail(image, kind, rng) for image in frames.images] for kind in FAILURES])
    times = len(FAILURES)
    return Frames(
        _noisy(images, _NOISE / 4, rng),
        np.tile(frames.digits, times),
        np.tile(frames.sources, times),
        np.ones(len(images), bool),
    )


def fail(image: Images, kind: str, rng: np.random.Generator) -> Images:
    """Spoil one image as a failing source does."""
    match kind:
        case "shifted":
            down, right = (int(step) for step in rng.choice([-2, -1, 1, 2], size=2))
            return np.roll(image, (down, right), axis=(0, 1))
        case "blurred":
            padded = np.pad(image, 1, mode="edge")
            windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
            return np.asarray(windows.mean(axis=(2, 3)), np.float32)
        case "occluded":
            spoiled, first = image.copy(), int(rng.integers(0, 5))
            spoiled[first : first + 3] = 0
            return spoiled
        case _:
            return np.asarray(1 - image, np.float32)


def _originals(images: Images, digits: NDArray[np.int64], rows: NDArray[np.int64]) -> Frames:
    names = np.asarray([f"digit {row}" for row in rows])
    return Frames(images[rows], digits[rows], names, np.zeros(len(rows), bool))


def _noisy(images: Images, scale: float, rng: np.random.Generator) -> Images:
    noise = rng.normal(0, scale, images.shape).astype(np.float32)
    return np.clip(images + noise, 0, 1)
