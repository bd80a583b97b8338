"""Every kind of value: what an app holds, what it becomes, how the log keeps it, what watches it.

One list, from which docs/fields.md is written (`python tests/fields/page.py`) and by which the tests of this folder go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, TypeAlias

import numpy as np

Rng: TypeAlias = np.random.Generator
Draw: TypeAlias = Callable[[Rng, int], Sequence[Any]]
Make: TypeAlias = Callable[[Sequence[Any]], Any]

NOW: Final = 1_790_000_000
"""Seconds since the epoch at which the inferences of the tests happen."""
AUTO: Final = "as it comes"
NEVER: Final = None


@dataclass(frozen=True)
class Kind:
    """One kind of value.

    Attributes
    ----------
    group, name
        Where and as what it stands in the table.
    becomes
        What travels of it, in words.
    kept
        The type by which the log keeps it.
    watched
        What follows the field's name in the names of its streams.
    normal, changed
        Draw values as an app has them: like the reference, and after a change.
    field
        Where it is captured.
    column
        Makes of values what an app hands over as a column of a batch.
    json
        Makes of one value what an HTTP body has; None when a body cannot hold it.
    arrow, numpy
        Make of values a column of Parquet, of NPZ; None when these cannot hold it.
    csv
        Whether a cell can hold it.
    needs
        The library it takes.
    """

    group: str
    name: str
    becomes: str
    kept: str
    watched: tuple[str, ...]
    normal: Draw
    changed: Draw
    field: str = "inputs.x"
    column: Make = list
    json: Any = AUTO
    arrow: Any = AUTO
    numpy: Any = AUTO
    csv: bool = True
    needs: str = ""

    @property
    def here(self) -> bool:
        """Whether the library it takes is installed."""
        return all(find_spec(name) is not None for name in self.needs.split())


def spelt(kept: Any) -> str:
    """Return a kind of the codec as the page spells it: a type, of tensors with the shape."""
    if not kept.tensor:
        return str(kept.dtype)
    shape = "any" if kept.shape is None else ", ".join(map(str, kept.shape))
    return f"{kept.dtype}[{shape}]"


def mapped(draw: Draw, make: Callable[[Any], Any]) -> Draw:
    """Return values of another kind, one made of each."""
    return lambda rng, count: [make(value) for value in draw(rng, count)]


def gapped(draw: Draw, gap: Any = None, share: float = 0.1) -> Draw:
    """Return values of which a share is missing: `gap`, or what it gives."""

    def drawn(rng: Rng, count: int) -> list[Any]:
        holes = rng.random(count) < share
        mark = gap() if callable(gap) else gap
        return [mark if hole else value for hole, value in zip(holes, draw(rng, count), strict=True)]

    return drawn


def reals(mean: float = 50.0) -> Draw:
    return lambda rng, count: rng.normal(mean, 8.0, count).tolist()


def wholes(most: int) -> Draw:
    """Whole numbers below `most`, small ones more often."""
    return lambda rng, count: np.floor(most * rng.random(count) ** 2).astype(int).tolist()


def upside_down(most: int) -> Draw:
    """Whole numbers below `most`, large ones more often."""
    return lambda rng, count: [most - 1 - value for value in wholes(most)(rng, count)]


def picked(values: Sequence[Any]) -> Draw:
    """The first of some values most often."""

    def drawn(rng: Rng, count: int) -> list[Any]:
        return [values[place] for place in wholes(len(values))(rng, count)]

    return drawn


def flipped(values: Sequence[Any]) -> Draw:
    """The last of some values most often."""
    return picked(list(reversed(values)))


def seconds_ago(days: float) -> Draw:
    """Moments of the days before now, whole seconds since the epoch."""
    return lambda rng, count: (NOW - rng.integers(0, int(days * 86_400), count)).tolist()


def vectors(mean: float = 0.0, width: int = 4) -> Draw:
    return lambda rng, count: list(rng.normal(mean, 1.0, (count, width)))


def ragged(mean: float = 0.0, *, least: int = 1) -> Draw:
    return lambda rng, count: [rng.normal(mean, 1.0, size).tolist() for size in rng.integers(least, 7, count)]


def pixels(level: int, shape: tuple[int, ...] = (8, 8, 3)) -> Draw:
    return lambda rng, count: list(np.clip(rng.normal(level, 20, (count, *shape)), 0, 255).astype(np.uint8))


def probabilities(lean: float) -> Draw:
    def drawn(rng: Rng, count: int) -> list[Any]:
        found = np.exp(rng.normal(size=(count, 3)) + np.array([lean, 0.0, 0.0]))
        return list(found / found.sum(axis=1, keepdims=True))

    return drawn


WORDS: Final = (
    "the",
    "lamp",
    "shows",
    "gas",
    "near",
    "coal",
    "and",
    "men",
    "work",
    "deep",
    "below",
    "ground",
)
OTHER: Final = (
    "new",
    "cars",
    "drive",
    "far",
    "over",
    "hill",
    "big",
    "sun",
    "heat",
    "warm",
    "sands",
    "desert",
)


def sentences(words: Sequence[str]) -> Draw:
    return lambda rng, count: [
        " ".join(words[place] for place in rng.integers(0, len(words), size))
        for size in rng.integers(8, 20, count)
    ]


COLOURS: Final = ("red", "green", "blue", "black", "white")
NUMBER: Final = ("",)
CATEGORY: Final = ("",)
_OF_TEXT: Final = (
    "digits", "length", "letters", "punctuation", "repetition", "script", "space", "topic[0]", "topic[1]", "topic[2]",
    "topic[3]", "typicality", "upper", "words",
)  # fmt: skip
TEXT: Final = tuple(f".{name}" for name in _OF_TEXT)
ANSWER: Final = tuple(sorted((*TEXT, ".shape")))
VECTOR: Final = ("[0]", "[1]", "[2]", "[3]")
IMAGE: Final = (".brightness", ".contrast", ".maximum", ".minimum", ".sharpness")
SUMMARY: Final = (".mean", ".norm", ".sd")
RAGGED: Final = (".length", ".mean", ".norm", ".sd")
NESTED: Final = (".count", *RAGGED)
